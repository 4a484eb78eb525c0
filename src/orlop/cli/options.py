"""Options that several commands have, as types for their parameters."""

# No "from __future__ import annotations": typer reads the types at run time.
import enum
from typing import Annotated

import typer


class Output(enum.Enum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        help="Socket of the daemon; unix:///run/orlop/orlop.sock if neither this nor --root"
        " is given.",
    ),
]
RootOption = Annotated[
    str | None,
    typer.Option(
        "--root", metavar="DIR", help="Work on the store in this directory, without a daemon."
    ),
]
OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="What to print: a table to read, or JSON.")
]
ReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="REF", help="Image: a name, a name with a digest, an id or the start of an id."
    ),
]
PlatformsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        help="May be given several times. Default: this machine.",
    ),
]
AllPlatformsOption = Annotated[
    bool, typer.Option("--all-platforms", help="Every platform that is there.")
]
