"""Tables, sizes and times, and nothing foreign that could steer a terminal."""

import io
import sys

import pytest

from orlop.cli import render
from orlop.errors import NotFound
from orlop.testing.memory_service import MemoryService, shelf

APP = shelf()["registry.example/team/app:v1"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (4_260_000, "4.3 MB"),
        (9_949_999, "9.9 MB"),
        (9_950_000, "10 MB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (123_456_789_012, "123 GB"),
        (2**63, "9.2 EB"),
        (10**22, "10000 EB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert render.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1m00s"),
        (185, "3m05s"),
        (3725, "1h02m"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text


def test_times() -> None:
    assert render.time(1_700_000_000_999_999_999) == "2023-11-14T22:13:20Z"
    assert render.time(0) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 漢", "plain äöü 漢"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\udcff", "\\udcff"),
        ("right\u202eleft", "right\\u202eleft"),
    ],
)
def test_foreign_text_is_escaped(text: str, shown: str) -> None:
    assert render.printable(text) == shown


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(("A", "LONG"), [("longer", "x"), ("y\n", "")])
    assert capsys.readouterr().out == "A       LONG\nlonger  x\ny\\n\n"


def test_fields_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    render.fields([("Name", "a"), ("Name", "b"), ("Stop signal", "TERM\x07")])
    assert capsys.readouterr().out == ("Name:        a\n             b\nStop signal: TERM\\x07\n")


def test_documents_are_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    render.document({"key": "\x1b漢"})
    assert capsys.readouterr().out == '{\n  "key": "\\u001b\\u6f22"\n}\n'


def test_names_prefer_tags(stocked: MemoryService) -> None:
    image = stocked.put("registry.example/team/app:v1", APP)
    assert render.names(image) == ("registry.example/team/app:v1",)
    digest = f"registry.example/team/app@{APP.digest}"
    only_digest = tuple(name for name in image.names if name.name in {digest, str(image.record.id)})
    assert render.names(type(image)(image.record, only_digest)) == (digest,)
    assert render.names(type(image)(image.record, ())) == ()


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "no_color", "shown"),
    [
        (
            Terminal(),
            "",
            "\x1b[31m\x1b[1morlop:\x1b[0m no image\n\x1b[36m\x1b[1mhint:\x1b[0m pull it\n",
        ),
        (Terminal(), "1", "orlop: no image\nhint: pull it\n"),
        (io.StringIO(), "", "orlop: no image\nhint: pull it\n"),
    ],
)
def test_errors_are_coloured_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, no_color: str, shown: str
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("NO_COLOR", no_color)
    render.error(NotFound("no image", hint="pull it"))
    assert stream.getvalue() == shown
