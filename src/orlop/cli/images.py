"""``orlop images``: what is in the store."""

from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orlop.model.digest import Digest
    from orlop.ports.gc import DiskUsage, ImageUsage
    from orlop.ports.metadata import Image
    from orlop.ports.service import ImageService


def images(
    context: typer.Context,
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="Only the image that this names.")
    ] = "",
    address: AddressOption = None,
    root: RootOption = None,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Show what each has alone, and what it shares.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the images in the store.

    With --sizes: UNIQUE is what removing the image with all its names frees, SHARED what
    others need, too; of an image in several snapshotters, what it has in all of them. The
    last line counts everything once.

    With -o json: a list of images; with --sizes each has "bytes", "unique_bytes" and
    "shared_bytes", which are null for an image that is about to go.
    """

    async def work(
        service: "ImageService",
    ) -> "tuple[list[tuple[Image, bool]], DiskUsage | None]":
        found = await service.images(reference)
        usage = await service.disk_usage() if sizes else None
        return [(image, service.pinned(image)) for image in found], usage

    found, usage = run(context, endpoint(address, root), work)
    known = {one.id: one for one in usage.images} if usage else {}
    if output is Output.JSON:
        documents = [render.image_json(image, pinned=pinned) for image, pinned in found]
        if usage:
            for (image, _), document in zip(found, documents, strict=True):
                document.update(_sizes_json(known.get(image.record.id)))
        render.document(documents)
        return
    _show([image for image, _ in found], known if usage else None)
    if usage and not reference:
        render.say("")
        render.fields([("Images together", render.size(usage.image_bytes))])


def _show(found: "Sequence[Image]", sizes: "Mapping[Digest, ImageUsage] | None") -> None:
    # Which snapshotter matters to those who use several.
    several = len({image.record.snapshotter for image in found}) > 1
    rows = [
        (
            render.familiar(name) if name else "<none>",
            render.short_id(str(image.record.id)),
            image.record.platform,
            *([image.record.snapshotter] if several else []),
            *_figures(image, sizes),
        )
        for image in found
        for name in render.names(image) or ("",)
    ]
    where = ("SNAPSHOTTER",) if several else ()
    figures = ("DOWNLOAD", "UNPACKED") if sizes is None else ("UNIQUE", "SHARED", "TOTAL")
    render.table(("NAME", "ID", "PLATFORM", *where, *figures), sorted(rows))


def _figures(image: "Image", sizes: "Mapping[Digest, ImageUsage] | None") -> tuple[str, ...]:
    record = image.record
    if sizes is None:
        return render.size(record.content_bytes), render.size(record.unpacked_bytes)
    usage = sizes.get(record.id)
    if usage is None:
        return "-", "-", "-"
    return (
        render.size(usage.unique_bytes),
        render.size(usage.bytes - usage.unique_bytes),
        render.size(usage.bytes),
    )


def _sizes_json(usage: "ImageUsage | None") -> dict[str, object]:
    if usage is None:
        return dict.fromkeys(("bytes", "unique_bytes", "shared_bytes"))
    return {
        "bytes": usage.bytes,
        "unique_bytes": usage.unique_bytes,
        "shared_bytes": usage.bytes - usage.unique_bytes,
    }
