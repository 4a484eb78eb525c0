"""``orlop bundle``: an image as a bundle that an OCI runtime can start."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.connect import mounting_endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption
from orlop.errors import InvalidArgument

if TYPE_CHECKING:
    from orlop.ports.service import ImageService


def bundle(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="REF DIR", help="The image, and the directory; with --remove the directory."
        ),
    ],
    read_only: Annotated[
        bool,
        typer.Option("--read-only", help="The container cannot write to its root file system."),
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove a bundle, with all that was written there.")
    ] = False,
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a bundle for an OCI runtime such as runc or crun, or remove one.

    The bundle has the image's root file system, mounted, and a config.json from the
    image's own config. Start it with `runc run --bundle DIR NAME`.

    With -o json: an object with "bundle" (an absolute path), "image" (an id; null when the
    bundle was removed) and "read_only".
    """
    if len(words) != (1 if remove else 2):
        raise InvalidArgument(
            "an image and a directory are needed; with --remove a directory alone",
            hint="orlop bundle REF DIR, or orlop bundle --remove DIR",
        )
    # The daemon has another working directory.
    path = os.path.abspath(words[-1])

    async def work(service: "ImageService") -> str | None:
        from orlop.images.bundle import make_bundle, remove_bundle
        from orlop.linux.rootfiles import SystemRootFiles

        if remove:
            await remove_bundle(service, SystemRootFiles(), path)
            return None
        detail = await make_bundle(service, SystemRootFiles(), words[0], path, read_only=read_only)
        return str(detail.image.record.id)

    image = run(context, mounting_endpoint(address, root), work)
    if output is Output.JSON:
        render.document({"bundle": path, "image": image, "read_only": read_only})
    elif not remove:
        render.say(render.printable(path))
