"""Recording where time goes, without any time going by."""

from __future__ import annotations

from orlop.model.digest import Digest
from orlop.ports.observe import Span
from orlop.pull.timeline import Recorder

LAYER = Digest.of(b"layer")


def test_one_activity_after_the_other() -> None:
    record = Recorder()
    record.begin("waiting", 10)
    record.begin("downloading", 12)
    record.moved(50, 13, host="registry.example")
    record.held(0.5)
    record.moved(80, 14, host="mirror.example")
    record.end(15)
    assert list(record.spans(10, 20, layer=LAYER)) == [
        Span("waiting", 0, 2, LAYER),
        Span("downloading", 2, 5, LAYER, 80, "mirror.example", 0.5, ((3, 50), (4, 80))),
    ]


def test_nothing_goes_on_after_the_end() -> None:
    record = Recorder()
    record.end(1)
    record.moved(5, 2)
    record.held(1)
    assert not list(record.spans(0, 10))


def test_what_goes_on_ends_with_the_pull() -> None:
    record = Recorder()
    record.begin("unpacking", 1)
    assert list(record.spans(0, 4)) == [Span("unpacking", 1, 4)]


def test_a_pull_that_came_later_is_told_its_own_part() -> None:
    record = Recorder()
    record.begin("resolving", 0)
    record.begin("downloading", 1)
    record.moved(60, 2)
    record.moved(100, 6)
    record.end(6)
    assert list(record.spans(4, 8)) == [Span("downloading", 0, 2, bytes=40, growth=((2, 40),))]


def test_a_curve_has_few_points_and_its_end() -> None:
    record = Recorder()
    record.begin("downloading", 0)
    for number in range(1, 10_001):
        record.moved(number, number * 0.01)
    (span,) = record.spans(0, 100)
    assert 16 < len(span.growth) <= 64
    assert span.bytes == 10_000
    gaps = [
        later[0] - before[0] for before, later in zip(span.growth, span.growth[1:], strict=False)
    ]
    assert max(gaps) < 10


def test_a_line_that_breaks_all_the_time() -> None:
    record = Recorder()
    for number in range(0, 1000, 2):
        record.begin("downloading", number)
        record.begin("pausing", number + 1)
    record.end(1000)
    spans = list(record.spans(0, 1000))
    assert len(spans) <= 101
    assert spans[-1].end == 1000
