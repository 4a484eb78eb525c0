"""``orlop export``: images go from the store into an archive."""

import enum
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, AllPlatformsOption, PlatformsOption, RootOption
from orlop.errors import InvalidArgument
from orlop.ports.service import ExportOptions

if TYPE_CHECKING:
    from orlop.ports.service import ImageService

_STANDARD = "-"


class Format(enum.Enum):
    """Forms of archives."""

    OCI = "oci"
    DOCKER = "docker"


def export(
    context: typer.Context,
    references: Annotated[
        list[str],
        typer.Argument(metavar="REF...", help="Images; a tag becomes the name in the archive."),
    ],
    file: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE|-", help="Where to write the archive.")
    ],
    form: Annotated[
        Format,
        typer.Option(
            "--format", help="An OCI layout that Docker can load, too, or what Docker alone reads."
        ),
    ] = Format.OCI,
    platform: PlatformsOption = None,
    all_platforms: AllPlatformsOption = False,
    address: AddressOption = None,
    root: RootOption = None,
) -> None:
    """Write images into an archive; the same images make the same bytes.

    A file is replaced when all of it is written.
    """
    where = endpoint(address, root)
    options = ExportOptions(
        format=form.value, platforms=tuple(platform or ()), all_platforms=all_platforms
    )

    async def work(service: "ImageService") -> None:
        with _written(file) as target:
            await service.export(references, target, options)

    run(context, where, work)


@contextmanager
def _written(file: str) -> Iterator[int]:
    """A descriptor to write to; what is left unfinished in a new file is removed."""
    if file == _STANDARD:
        if os.isatty(1):
            raise InvalidArgument(
                "standard output is a terminal", hint="orlop export REF -o - > FILE"
            )
        yield 1
        return
    if os.path.lexists(file) and not stat.S_ISREG(os.lstat(file).st_mode):
        fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
        return
    draft = f"{file}.part"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            yield fd
        finally:
            os.close(fd)
        os.rename(draft, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
