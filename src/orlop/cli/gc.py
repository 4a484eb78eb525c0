"""``orlop gc``: remove what nothing refers to."""

from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption

if TYPE_CHECKING:
    from orlop.ports.service import GCReport, ImageService


def gc(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would go, and remove nothing.")
    ] = False,
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove blobs and snapshots that no image needs.

    With -o json: an object with "images", "blobs", "snapshots", "bytes" and "dry_run".
    """

    async def work(service: "ImageService") -> "GCReport":
        return await service.collect(dry_run=dry_run)

    report = run(context, endpoint(address, root), work)
    if output is Output.JSON:
        render.document(
            {
                "images": report.images,
                "blobs": report.blobs,
                "snapshots": report.snapshots,
                "bytes": report.bytes,
                "dry_run": dry_run,
            }
        )
        return
    render.say(
        f"{'would remove' if dry_run else 'removed'} {report.images} images,"
        f" {report.blobs} blobs, {report.snapshots} snapshots: {render.size(report.bytes)}"
    )
