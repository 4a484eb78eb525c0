"""``orlop mount``: an image's root file system on a directory."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.connect import mounting_endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, ReferenceArgument, RootOption

if TYPE_CHECKING:
    from orlop.ports.service import ImageService


def mount(
    context: typer.Context,
    reference: ReferenceArgument,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="An existing directory.")],
    writable: Annotated[
        bool,
        typer.Option(
            "--rw", help="Allow writing, into a layer of its own that `orlop unmount` drops."
        ),
    ] = False,
    layer: Annotated[
        str,
        typer.Option(
            "--layer",
            metavar="DIR",
            help="Allow writing, and keep what is written in this directory, for this image.",
        ),
    ] = "",
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Mount an image's root file system.

    With -o json: an object with "reference", "target" (an absolute path), "writable" and
    "layer" (an absolute path, or null).
    """
    # The daemon has another working directory.
    path = os.path.abspath(target)
    kept = os.path.abspath(layer) if layer else ""

    async def work(service: "ImageService") -> None:
        await service.mount(reference, path, writable=writable, layer=kept)

    run(context, mounting_endpoint(address, root), work)
    if output is Output.JSON:
        render.document(
            {
                "reference": reference,
                "target": path,
                "writable": writable or bool(layer),
                "layer": kept or None,
            }
        )
    else:
        render.say(render.printable(path))
