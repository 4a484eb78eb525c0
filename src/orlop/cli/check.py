"""``orlop check``: is everything still what it was when it was pulled?"""

from typing import TYPE_CHECKING, Annotated

import typer

from orlop.cli import exits, render
from orlop.cli.connect import endpoint, run
from orlop.cli.options import AddressOption, Output, OutputOption, RootOption

if TYPE_CHECKING:
    from orlop.ports.service import CheckReport, ImageService


def check(
    context: typer.Context,
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="Only this image; all of them without.")
    ] = "",
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch or unpack again what is damaged.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only look whether everything is there.")
    ] = False,
    max_rate: Annotated[
        int,
        typer.Option(
            "--max-rate", metavar="BYTES", min=0, help="Read so many bytes per second at most."
        ),
    ] = 0,
    address: AddressOption = None,
    root: RootOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Read and verify images: blobs by their digests, unpacked layers file by file.

    What is damaged is remembered: kubelet does not see images that no container can be
    started from, and the next pull makes them whole. With --repair this is done now, from
    what the store has or, where that is not enough, from the registry. Running containers
    keep what they have.

    Exit code 4 means that a damaged image is left.

    With -o json: a list of objects with "image_id", "names", "problems" (a list of
    texts, empty for a whole image), "repaired" and "unrepaired" (why not).
    """

    async def work(service: "ImageService") -> "list[CheckReport]":
        return await service.check(reference, repair=repair, quick=quick, max_rate=max_rate)

    reports = run(context, endpoint(address, root), work)
    if output is Output.JSON:
        render.document(
            [
                {
                    "image_id": report.image_id,
                    "names": list(report.names),
                    "problems": list(report.problems),
                    "repaired": report.repaired,
                    "unrepaired": report.unrepaired,
                }
                for report in reports
            ]
        )
    else:
        rows = [
            (_name(report), render.short_id(report.image_id), _state(report), problem)
            for report in reports
            for problem in _problems(report) or ("",)
        ]
        render.table(("NAME", "ID", "STATE", "PROBLEM"), rows)
    if any(report.problems and not report.repaired for report in reports):
        raise typer.Exit(exits.DAMAGED)


def _name(report: "CheckReport") -> str:
    named = [name for name in report.names if "/" in name]
    tagged = [name for name in named if "@" not in name]
    return render.familiar((tagged or named)[0]) if named else "<none>"


def _problems(report: "CheckReport") -> tuple[str, ...]:
    if report.unrepaired:
        return (*report.problems, f"not repaired: {report.unrepaired}")
    return report.problems


def _state(report: "CheckReport") -> str:
    if report.repaired:
        return "repaired"
    return "damaged" if report.problems else "whole"
