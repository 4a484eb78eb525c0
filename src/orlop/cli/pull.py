"""``orlop pull``: an image comes from its registry into the store."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import critical, render, summary
from orlop.cli.connect import endpoint, run
from orlop.cli.credentials import credentials
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption
from orlop.cli.progress import shown
from orlop.errors import InvalidArgument
from orlop.ports.service import PullOptions

if TYPE_CHECKING:
    from orlop.ports.metadata import Image
    from orlop.ports.observe import PullProgress
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
    timeline: Annotated[
        Path | None,
        typer.Option(
            "--timeline",
            metavar="FILE",
            help="Write where the time went: a picture to FILE.svg, a document to FILE.json.",
        ),
    ] = None,
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Pull an image and print its id; it is complete and safe on disk then.

    With -o json: the image, and under "pull" what the lines on standard error say.
    """
    where = endpoint(address, root)
    if timeline is not None and timeline.suffix not in {".svg", ".json"}:
        raise InvalidArgument(
            f"--timeline {timeline}: the name says what is written",
            hint="end it in .svg for a picture or in .json for a document",
        )
    options = PullOptions(
        platform=platform, snapshotter=snapshotter, credentials=credentials(creds)
    )

    seen: list[PullProgress] = []

    async def work(service: "ImageService") -> "tuple[Image, bool]":
        with shown() as progress:

            def show(picture: "PullProgress") -> None:
                seen[:] = [picture]
                progress(picture)

            image = await service.pull(reference, options, show)
        return image, service.pinned(image)

    try:
        image, pinned = run(context, where, work)
    finally:
        if timeline is not None and seen:
            _write(timeline, seen[0])
    figures = critical.summary(seen[0])
    for line in summary.lines(reference, image, figures):
        render.note(line)
    if output is Output.JSON:
        render.document(
            {**render.image_json(image, pinned=pinned), "pull": summary.fields(figures)}
        )
    else:
        render.say(str(image.record.id))


def _write(path: Path, picture: "PullProgress") -> None:
    """Write the timeline, of a pull that failed too."""
    from orlop.cli import timeline

    if path.suffix == ".svg":
        path.write_text(timeline.svg(picture), encoding="utf-8")
    else:
        path.write_text(json.dumps(timeline.document(picture), indent=2) + "\n", encoding="utf-8")
