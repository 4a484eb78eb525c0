"""``orlop df``: what images occupy, and what removing them would free."""

from typing import TYPE_CHECKING

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption

if TYPE_CHECKING:
    from orlop.ports.gc import DiskUsage, ImageUsage
    from orlop.ports.service import ImageService


def df(
    context: typer.Context,
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what each image occupies, and what removing it would free.

    FREES is what only this image needs, SHARED what others need, too. The sums count
    everything once.

    With -o json: an object with "namespace", "images" (a list of objects with "id",
    "names", "snapshotters", "bytes", "unique_bytes" and "shared_bytes"), and the sums
    "image_bytes", "kept_bytes", "garbage_bytes", "elsewhere_bytes", "bytes" (all of
    these) and "trash_bytes".
    """

    async def work(service: "ImageService") -> "DiskUsage":
        return await service.disk_usage()

    usage = run(context, endpoint(address, root), work)
    if output is Output.JSON:
        render.document(_json(usage))
        return
    rows = [
        (
            _name(image),
            render.short_id(str(image.id)),
            render.size(image.unique_bytes),
            render.size(image.bytes - image.unique_bytes),
            render.size(image.bytes),
        )
        for image in usage.images
    ]
    render.table(("NAME", "ID", "FREES", "SHARED", "SIZE"), rows)
    render.say("")
    render.fields([(name, render.size(size)) for name, size in _sums(usage)])


def _name(image: "ImageUsage") -> str:
    names = [name for name in image.names if "/" in name]
    tagged = [name for name in names if "@" not in name] or names
    if not tagged:
        return "<none>"
    more = f" (+{len(tagged) - 1})" if tagged[1:] else ""
    return render.familiar(tagged[0]) + more


def _sums(usage: "DiskUsage") -> list[tuple[str, int]]:
    """The sums that a person wants to see: those of what is there."""
    others = [
        ("Kept by leases and mounts", usage.kept_bytes),
        ("Garbage", usage.garbage_bytes),
        ("Other namespaces", usage.elsewhere_bytes),
    ]
    return [
        ("Images", usage.image_bytes),
        *((name, size) for name, size in others if size),
        ("Together", usage.bytes),
        *([("Trash, at most", usage.trash_bytes)] if usage.trash_bytes else []),
    ]


def _json(usage: "DiskUsage") -> dict[str, object]:
    return {
        "namespace": usage.namespace,
        "images": [
            {
                "id": str(image.id),
                "names": list(image.names),
                "snapshotters": list(image.snapshotters),
                "bytes": image.bytes,
                "unique_bytes": image.unique_bytes,
                "shared_bytes": image.bytes - image.unique_bytes,
            }
            for image in usage.images
        ],
        "image_bytes": usage.image_bytes,
        "kept_bytes": usage.kept_bytes,
        "garbage_bytes": usage.garbage_bytes,
        "elsewhere_bytes": usage.elsewhere_bytes,
        "bytes": usage.bytes,
        "trash_bytes": usage.trash_bytes,
    }
