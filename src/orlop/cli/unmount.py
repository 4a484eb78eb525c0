"""``orlop unmount``: undoes ``orlop mount``."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption

if TYPE_CHECKING:
    from orlop.ports.service import ImageService


def unmount(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Where `orlop mount` mounted.")],
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Unmount what `orlop mount` mounted; what was written is dropped, unless `--layer` keeps it.

    With -o json: an object with "target" (an absolute path).
    """
    path = os.path.abspath(target)

    async def work(service: "ImageService") -> None:
        await service.unmount(path)

    run(context, endpoint(address, root), work)
    if output is Output.JSON:
        render.document({"target": path})
