"""The picture of a pull: well formed, complete, and of the size that it says."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from orlop.cli import timeline
from orlop.model.digest import Digest
from orlop.ports.observe import LayerProgress, PullProgress, Span

SVG = "{http://www.w3.org/2000/svg}"
A, B = Digest.of(b"a"), Digest.of(b"b")


def pulled(name: str = "registry.example/app:v1", seconds: float = 4.0) -> PullProgress:
    return PullProgress(
        name,
        "linux/amd64",
        "done",
        seconds,
        (
            LayerProgress(A, 50_000_000, "staged", 50_000_000, 50_000_000),
            LayerProgress(B, 1000, "present", 1000, 1000),
        ),
        spans=(
            Span("resolving", 0, 0.5),
            Span("waiting", 0.5, 1, A),
            Span("downloading", 1, 2, A, 50_000_000, "cdn.example", 0.2, ((1.5, 10), (2, 50))),
            Span("unpacking", 1, 3, A, 50_000_000),
            Span("syncing", 3, 3.5),
            Span("publishing", 3.5, 4),
        ),
    )


def drawn(picture: PullProgress) -> ET.Element:
    return ET.fromstring(timeline.svg(picture))


def texts(root: ET.Element) -> list[str]:
    return [one.text or "" for one in root.iter(f"{SVG}text")]


def test_everything_is_there() -> None:
    root = drawn(pulled())
    told = [one.text or "" for one in root.iter(f"{SVG}title")]
    for activity in ("resolving", "waiting", "downloading", "unpacking", "syncing", "publishing"):
        assert any(text.startswith(activity) for text in told), activity
    assert any(
        "50 MB from cdn.example, 0.200 s held up by hashing and writing" in text for text in told
    )
    assert "waited for unpacking: 1.000 s" in told
    assert {"50 MB/s", "25 MB/s", "1.0 kB, was here", "0.0 s", "4.0 s"} <= set(texts(root))


@pytest.mark.parametrize("name", ["<b>&\"'", "a\x00\x1b[31m\nb", "\udc80", "n" * 5000])
def test_names_cannot_leave_their_place(name: str) -> None:
    root = drawn(pulled(name))
    assert len(texts(root)[0]) < 600
    assert root.find(f".//{SVG}b") is None


@pytest.mark.parametrize("seconds", [0.0, 1e-6, 0.0123, 0.4, 1.0, 59.9, 7200.0])
def test_any_time_has_an_axis(seconds: float) -> None:
    labels = [text for text in texts(drawn(pulled(seconds=seconds))) if text.endswith(" s")]
    assert 3 <= len(set(labels)) <= 14


def test_bars_stay_in_the_picture() -> None:
    root = drawn(pulled(seconds=2.0))  # shorter than its spans
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for bar in root.iter(f"{SVG}rect"):
        assert float(bar.get("x", 0)) + float(bar.get("width", 0)) <= width
        assert float(bar.get("y", 0)) + float(bar.get("height", 0)) <= height


def test_a_pull_that_failed_at_once() -> None:
    picture = PullProgress("r.example/a:b", "linux/amd64", "failed", 0.2, error="no route")
    assert "failed in 0.20 s · 0 layers · 0 B downloaded · linux/amd64" in texts(drawn(picture))


def test_the_document_has_the_same() -> None:
    picture = pulled()
    document = timeline.document(picture)
    spans = document["spans"]
    assert isinstance(spans, list)
    assert spans[2] == {
        "activity": "downloading",
        "layer": str(A),
        "start": 1,
        "end": 2,
        "bytes": 50_000_000,
        "host": "cdn.example",
        "writing_seconds": 0.2,
        "growth": [[1.5, 10], [2, 50]],
    }
    assert (document["seconds"], document["error"], document["digest"]) == (4.0, "", None)
