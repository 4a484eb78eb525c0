"""``orlop inspect``: everything about one image."""

import json
from typing import TYPE_CHECKING

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, ReferenceArgument, RootOption

if TYPE_CHECKING:
    from orlop.ports.service import ImageDetail, ImageService


def inspect(
    context: typer.Context,
    reference: ReferenceArgument,
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show an image: names, sizes, configuration and layers.

    With -o json: an object with the image at "image", and the image's own
    documents, as its author wrote them, at "manifest" and "config".
    """

    async def work(service: "ImageService") -> "tuple[ImageDetail, bool]":
        detail = await service.detail(reference)
        return detail, service.pinned(detail.image)

    detail, pinned = run(context, endpoint(address, root), work)
    if output is Output.JSON:
        render.document(
            {
                "image": render.image_json(detail.image, pinned=pinned),
                "manifest": json.loads(detail.manifest.raw),
                "config": json.loads(detail.config.raw),
            }
        )
        return
    render.fields(_lines(detail, pinned=pinned))


def _lines(detail: "ImageDetail", *, pinned: bool) -> list[tuple[str, str]]:
    record, config = detail.image.record, detail.config
    lines = [("Name", name.name) for name in detail.image.names]
    lines += [
        ("Id", str(record.id)),
        ("Manifest", str(record.manifest)),
        ("Platform", record.platform),
        ("Created", config.created),
        ("Author", config.author),
        ("Pulled", render.time(record.created_at) or ""),
        ("Download", render.size(record.content_bytes)),
        ("Unpacked", f"{render.size(record.unpacked_bytes)} in {record.snapshotter}"),
        ("Synced", "" if record.synced else "no: a power failure may damage it"),
        ("Pinned", "yes" if pinned else ""),
        ("User", config.user),
        ("Entrypoint", json.dumps(config.entrypoint) if config.entrypoint else ""),
        ("Command", json.dumps(config.command) if config.command else ""),
        ("Directory", config.working_dir),
        ("Stop signal", config.stop_signal),
    ]
    lines += [("Environment", item) for item in config.env]
    lines += [("Port", item) for item in config.exposed_ports]
    lines += [("Volume", item) for item in config.volumes]
    lines += [("Label", f"{key}={value}") for key, value in sorted(config.labels.items())]
    lines += [("Layer", f"{one.digest} {render.size(one.size)}") for one in detail.manifest.layers]
    return [(name, value) for name, value in lines if value]
