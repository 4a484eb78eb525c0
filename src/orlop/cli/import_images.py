"""``orlop import``: images come from an archive into the store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import (
    AddressOption,
    AllPlatformsOption,
    Output,
    OutputOption,
    PlatformsOption,
    RootOption,
)
from orlop.cli.progress import shown
from orlop.errors import InvalidArgument
from orlop.ports.service import ImportOptions

if TYPE_CHECKING:
    from orlop.ports.metadata import Image
    from orlop.ports.service import ImageService

_STANDARD = "-"


def import_images(
    context: typer.Context,
    archive: Annotated[
        str,
        typer.Argument(
            metavar="FILE|DIR|-", help="An archive, a directory with an OCI layout, or a pipe."
        ),
    ],
    name: Annotated[
        str, typer.Option("--name", metavar="REF", help="Name of the only image in the archive.")
    ] = "",
    base_name: Annotated[
        str,
        typer.Option(
            "--base-name", metavar="NAME", help="Repository of images that have a tag only."
        ),
    ] = "",
    platform: PlatformsOption = None,
    all_platforms: AllPlatformsOption = False,
    snapshotter: Annotated[
        str, typer.Option("--snapshotter", metavar="NAME", help="Where to unpack the images.")
    ] = "",
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take images from an archive (OCI or Docker), and print their ids.

    The archive may be compressed with gzip or zstd. Images without a name are known by
    their ids.

    With -o json: a list of images.
    """
    where = endpoint(address, root)
    options = ImportOptions(
        name=name,
        base_name=base_name,
        platforms=tuple(platform or ()),
        all_platforms=all_platforms,
        snapshotter=snapshotter,
    )

    async def work(service: "ImageService") -> "list[tuple[Image, bool]]":
        with _opened(archive) as source, shown() as progress:
            images = await service.import_images(source, options, progress)
        return [(image, service.pinned(image)) for image in images]

    images = run(context, where, work)
    if output is Output.JSON:
        render.document([render.image_json(image, pinned=pinned) for image, pinned in images])
        return
    for image, _ in images:
        names = ", ".join(render.names(image)) or "without a name"
        render.note(f"imported {names}: {render.size(image.record.content_bytes)}")
        render.say(str(image.record.id))


@contextmanager
def _opened(archive: str) -> Iterator[int]:
    """A descriptor of the archive."""
    if archive == _STANDARD:
        if os.isatty(0):
            raise InvalidArgument("standard input is a terminal", hint="orlop import - < FILE")
        yield 0
        return
    fd = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
