"""``orlop version``: which orlop this is."""

import platform
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption

if TYPE_CHECKING:
    from orlop.ports.service import ImageService


@runtime_checkable
class _Versioned(Protocol):
    """A service that runs elsewhere, and may be of another version."""

    async def version(self) -> str: ...


def version(
    context: typer.Context,
    address: AddressOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the version of this program, and with --address the daemon's too.

    With -o json: an object with "version", "python", "machine" and "daemon" (null
    if it was not asked).
    """
    daemon = None if address is None else run(context, endpoint(address, None), _ask)
    own, python, machine = _own(), platform.python_version(), platform.machine()
    if output is Output.JSON:
        render.document({"version": own, "python": python, "machine": machine, "daemon": daemon})
        return
    render.say(f"orlop {own} (Python {python}, {machine})")
    if daemon is not None:
        render.say(f"daemon {render.printable(daemon)}")


def _own() -> str:
    from importlib import metadata

    try:
        return metadata.version("orlop")
    except metadata.PackageNotFoundError:
        return "unknown"  # a source tree that nobody has installed


async def _ask(service: "ImageService") -> str:
    return await service.version() if isinstance(service, _Versioned) else "unknown"
