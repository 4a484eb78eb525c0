"""``orlop images``: what is in the store."""

from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption

if TYPE_CHECKING:
    from orlop.ports.metadata import Image
    from orlop.ports.service import ImageService


def images(
    context: typer.Context,
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="Only the image that this names.")
    ] = "",
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the images in the store.

    With -o json: a list of images.
    """

    async def work(service: "ImageService") -> "list[tuple[Image, bool]]":
        found = await service.images(reference)
        return [(image, service.pinned(image)) for image in found]

    found = run(context, endpoint(address, root), work)
    if output is Output.JSON:
        render.document([render.image_json(image, pinned=pinned) for image, pinned in found])
        return
    # Which snapshotter matters to those who use several.
    several = len({image.record.snapshotter for image, _ in found}) > 1
    rows = [
        (
            render.familiar(name) if name else "<none>",
            render.short_id(str(image.record.id)),
            image.record.platform,
            *([image.record.snapshotter] if several else []),
            render.size(image.record.content_bytes),
            render.size(image.record.unpacked_bytes),
        )
        for image, _ in found
        for name in render.names(image) or ("",)
    ]
    where = ("SNAPSHOTTER",) if several else ()
    render.table(("NAME", "ID", "PLATFORM", *where, "DOWNLOAD", "UNPACKED"), sorted(rows))
