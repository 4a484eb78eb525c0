"""``orlop pull``: an image comes from its registry into the store."""

from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.credentials import credentials
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption
from orlop.cli.progress import shown
from orlop.ports.service import PullOptions

if TYPE_CHECKING:
    from orlop.ports.metadata import Image
    from orlop.ports.service import ImageService


def pull(
    context: typer.Context,
    reference: Annotated[
        str,
        typer.Argument(metavar="REF", help="Image to pull, as NAME[:TAG][@DIGEST]."),
    ],
    platform: Annotated[
        str, typer.Option("--platform", metavar="OS/ARCH[/VARIANT]", help="Default: this machine.")
    ] = "",
    creds: Annotated[
        str | None,
        typer.Option(
            "--creds",
            metavar="USER[:PASS]",
            help="Without PASS, asks for it; - reads USER:PASS from standard input.",
        ),
    ] = None,
    snapshotter: Annotated[
        str, typer.Option("--snapshotter", metavar="NAME", help="Where to unpack the image.")
    ] = "",
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Pull an image and print its id; it is complete and safe on disk then.

    With -o json: the image.
    """
    where = endpoint(address, root)
    options = PullOptions(
        platform=platform, snapshotter=snapshotter, credentials=credentials(creds)
    )

    async def work(service: "ImageService") -> "tuple[Image, bool]":
        with shown() as progress:
            image = await service.pull(reference, options, progress)
        return image, service.pinned(image)

    begun = monotonic()
    image, pinned = run(context, where, work)
    seconds = monotonic() - begun
    render.note(
        f"pulled {reference}: {render.size(image.record.content_bytes)},"
        f" {render.size(image.record.unpacked_bytes)} unpacked, in {render.duration(seconds)}"
    )
    if output is Output.JSON:
        render.document(render.image_json(image, pinned=pinned))
    else:
        render.say(str(image.record.id))
