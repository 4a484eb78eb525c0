"""``orlop fs``: how much space images take."""

from typing import TYPE_CHECKING

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption

if TYPE_CHECKING:
    from orlop.ports.service import FsUsage, ImageService


def filesystems(
    context: typer.Context,
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what the store occupies.

    With -o json: a list of objects with "mountpoint", "bytes", "inodes" and "time".
    """

    async def work(service: "ImageService") -> "list[FsUsage]":
        return await service.filesystems()

    found = run(context, endpoint(address, root), work)
    if output is Output.JSON:
        render.document(
            [
                {
                    "mountpoint": one.mountpoint,
                    "bytes": one.usage.bytes,
                    "inodes": one.usage.inodes,
                    "time": render.time(one.timestamp),
                }
                for one in found
            ]
        )
        return
    rows = [(one.mountpoint, render.size(one.usage.bytes), str(one.usage.inodes)) for one in found]
    render.table(("DIRECTORY", "USED", "INODES"), rows)
