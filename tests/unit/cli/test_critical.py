"""What pulls waited for, told from their spans."""

from __future__ import annotations

import itertools

import pytest

from orlop.cli.critical import Cause, Wait, covered, critical_path, summary
from orlop.model.digest import Digest
from orlop.ports.observe import Activity, LayerProgress, PullProgress, Span

A, B = Digest.of(b"a"), Digest.of(b"b")


def pulled(*spans: Span, seconds: float) -> PullProgress:
    layers = tuple(LayerProgress(digest, 100, "staged", 100, 100) for digest in (A, B))
    return PullProgress("r.example/a:b", "linux/amd64", "done", seconds, layers, spans=spans)


def path(*spans: Span, seconds: float) -> list[tuple[Cause, float, float]]:
    return [
        (wait.cause, wait.start, wait.end)
        for wait in critical_path(pulled(*spans, seconds=seconds))
    ]


def test_without_spans_nothing_is_known() -> None:
    assert path(seconds=3) == []
    assert summary(pulled(seconds=3)).waited == {}


def test_a_slow_registry() -> None:
    found = path(
        Span("resolving", 0, 1),
        Span("downloading", 1, 9, A, 100, writing=1),
        Span("unpacking", 1, 9.5, A, 100),
        Span("syncing", 9.5, 9.75),
        Span("publishing", 9.75, 10),
        seconds=10,
    )
    assert found == [
        ("registry", 0, 1),
        ("registry", 1, 8),
        ("writing", 8, 9),
        ("processor", 9, 9.5),
        ("sync", 9.5, 9.75),
        ("writing", 9.75, 10),
    ]


def test_a_slow_processor() -> None:
    found = path(
        Span("downloading", 0, 1, A), Span("unpacking", 0, 8, A), Span("syncing", 8, 9), seconds=9
    )
    assert found == [("registry", 0, 1), ("processor", 1, 8), ("sync", 8, 9)]


def test_a_blob_that_was_here() -> None:
    assert path(Span("unpacking", 0, 8, A), seconds=8) == [("processor", 0, 8)]


def test_a_layer_that_waited_for_another_ones_slot() -> None:
    found = path(
        Span("downloading", 0, 4, A),
        Span("unpacking", 0, 5, A),
        Span("waiting", 0, 4, B),
        Span("downloading", 4, 6, B),
        Span("unpacking", 4, 7, B),
        seconds=7,
    )
    assert found == [("registry", 0, 4), ("registry", 4, 6), ("processor", 6, 7)]


@pytest.mark.parametrize(
    ("idle", "cause"), [("waiting", "turn"), ("pausing", "registry"), (None, "other")]
)
def test_gaps(idle: Activity | None, cause: Cause) -> None:
    spans = [Span("downloading", 5, 6, A)]
    if idle is not None:
        spans.append(Span(idle, 0, 5, A))
    assert path(*spans, seconds=6) == [(cause, 0, 5), ("registry", 5, 6)]


def test_settling_is_writing() -> None:
    found = path(
        Span("unpacking", 0, 2, A),
        Span("unpacking", 0, 3, B),
        Span("settling", 3, 4, B),
        seconds=4,
    )
    assert found == [("processor", 0, 3), ("writing", 3, 4)]


def test_the_sum_is_all_the_time() -> None:
    picture = pulled(
        Span("resolving", 0.1, 1),
        Span("downloading", 1.2, 5, A, 60),
        Span("pausing", 5, 6, A),
        Span("downloading", 6, 7, A, 30),
        Span("unpacking", 1.2, 8, A, 100),
        Span("settling", 8.5, 8.6, A),
        Span("syncing", 9, 9.9),
        seconds=10,
    )
    figures = summary(picture)
    assert sum(figures.waited.values()) == pytest.approx(10)
    assert (figures.downloaded, figures.present) == (90, 110)
    assert figures.download_seconds == pytest.approx(4.8)
    waits = critical_path(picture)
    assert waits[0].start == 0
    assert waits[-1] == Wait("other", 9.9, 10)
    assert all(one.end == pytest.approx(two.start) for one, two in itertools.pairwise(waits))


def test_time_that_spans_cover_together() -> None:
    assert covered([Span("unpacking", 5, 6), Span("unpacking", 0, 2), Span("unpacking", 1, 3)]) == 4
