"""Lines and bars, from pictures made by hand."""

from io import StringIO

import pytest
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from orlop.cli.progress import Bars, Lines, layer_text, shown
from orlop.model.digest import Digest
from orlop.ports.observe import LayerPhase, LayerProgress, PullPhase, PullProgress

NAME = "docker.io/library/busybox:latest"


def layer(
    phase: LayerPhase,
    *,
    name: bytes = b"1",
    size: int = 1000,
    downloaded: int = 0,
    unpacked: int = 0,
) -> LayerProgress:
    return LayerProgress(Digest.of(name), size, phase, downloaded, unpacked)


def picture(phase: PullPhase, *layers: LayerProgress) -> PullProgress:
    return PullProgress(NAME, "linux/amd64", phase, 1.0, layers)


def test_a_line_for_each_phase(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    two = layer("waiting"), layer("present", name=b"2", size=5)
    for _ in range(2):
        lines.update(picture("queued"))
        lines.update(picture("resolving"))
    lines.update(picture("pulling"))
    for _ in range(3):
        lines.update(picture("pulling", *two))
    lines.update(picture("syncing", *two))
    lines.update(picture("publishing", *two))
    lines.update(picture("done", *two))
    assert capsys.readouterr().err.splitlines() == [
        f"orlop: {NAME}: resolving",
        f"orlop: {NAME}: pulling 1 of 2 layers, 1.0 kB",
        f"orlop: {NAME}: syncing",
    ]


def test_nothing_to_download(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().update(picture("pulling", layer("present")))
    assert capsys.readouterr().err == f"orlop: {NAME}: pulling, all 1 layers are here\n"


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with shown() as update:
        update(picture("resolving"))
    assert capsys.readouterr().err == f"orlop: {NAME}: resolving\n"


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (layer("waiting"), "waiting"),
        (layer("downloading", downloaded=500), "downloading"),
        (layer("unpacking", downloaded=1000, unpacked=429), "unpacking 42%"),
        (layer("unpacking", size=0), "unpacking"),
        (layer("staged"), "done"),
        (layer("present"), "present"),
    ],
)
def test_layer_texts(one: LayerProgress, text: str) -> None:
    assert layer_text(one) == text


def test_bars_follow_the_pictures() -> None:
    screen = Console(file=StringIO(), force_terminal=True, width=100)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[phase]}"))
    with Progress(*columns, console=screen, auto_refresh=False) as progress:
        bars = Bars(progress)
        bars.update(picture("resolving"))
        (whole,) = progress.tasks
        assert (whole.description, whole.total) == (NAME, None)
        bars.update(
            picture("pulling", layer("downloading", downloaded=250), layer("present", name=b"2"))
        )
        bars.update(
            picture("pulling", layer("downloading", downloaded=750), layer("present", name=b"2"))
        )
        found = {task.description.strip(): task for task in progress.tasks}
        first, second = found[Digest.of(b"1").short], found[Digest.of(b"2").short]
        assert len(found) == 3
        assert (first.completed, first.total) == (750, 1000)
        assert (second.completed, second.finished) == (1000, True)
        assert (whole.completed, whole.total) == (750, 1000)
        bars.update(picture("syncing", layer("staged"), layer("present", name=b"2")))
        assert first.finished
        assert whole.fields["phase"] == "syncing"
