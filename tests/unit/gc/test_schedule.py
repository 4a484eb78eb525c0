"""When garbage is collected."""

from __future__ import annotations

from math import isclose

import pytest

from orlop.gc.schedule import Schedule, ScheduleSettings


def schedule(**settings: float) -> Schedule:
    """One that starts at 1000 and has no startup collection unless it is asked for."""
    return Schedule(ScheduleSettings(**{"startup_delay": 0.0} | settings), now=1000.0)  # type: ignore[arg-type]


def run(one: Schedule, at: float, took: float, *, ok: bool = True) -> None:
    one.begun()
    (one.ended if ok else one.failed)(begun=at, now=at + took)


def test_after_the_start() -> None:
    one = schedule(startup_delay=2.5)
    assert one.due == 1002.5
    run(one, 1002.5, 1.0)
    assert one.due == 1003.5 + 3600


def test_no_collection_for_the_starts_sake() -> None:
    assert schedule().due == 1000 + 3600


def test_a_deletion() -> None:
    one = schedule()
    one.changed(deletion=True, now=1007.0)
    assert one.due == 1007


def test_a_deletion_before_the_first_collection_waits_for_it() -> None:
    one = schedule(startup_delay=10)
    one.changed(deletion=True, now=1001.0)
    assert one.due == 1010


@pytest.mark.parametrize(
    ("threshold", "took", "rest"),
    [(0.02, 1.0, 49.0), (0.5, 3.0, 3.0), (0.9, 3.0, 3.0), (0.1, 0.0, 0.045), (0.0, 99.0, 1.0)],
)
def test_the_rest_after_a_collection(threshold: float, took: float, rest: float) -> None:
    one = schedule(pause_threshold=threshold)
    run(one, 1000, took)
    one.changed(deletion=True, now=1000 + took)
    assert isclose(one.due, 1000 + took + rest)
    # Who deletes later does not wait longer.
    one = schedule(pause_threshold=threshold)
    run(one, 1000, took)
    one.changed(deletion=True, now=2000 + took)
    assert one.due == 2000 + took


def test_changes_that_are_no_deletions() -> None:
    one = schedule(mutation_threshold=3)
    for at in (1001.0, 1002.0):
        one.changed(deletion=False, now=at)
        assert one.due == 4600
    one.changed(deletion=False, now=1003.0)
    assert one.due == 1003
    run(one, 1003, 0)
    one.changed(deletion=False, now=1004.0)
    assert one.due == 1003 + 3600


def test_changes_do_not_count() -> None:
    one = schedule(mutation_threshold=0)
    for _ in range(1000):
        one.changed(deletion=False, now=1001.0)
    assert one.due == 4600


def test_many_deletions_do_not_wait() -> None:
    one = schedule(deletion_threshold=2)
    run(one, 1000, 10)
    one.changed(deletion=True, now=1011.0)
    assert one.due == 1010 + 490
    one.changed(deletion=True, now=1012.0)
    assert one.due == 1012


def test_the_delay() -> None:
    one = schedule(schedule_delay=5, deletion_threshold=2)
    one.changed(deletion=True, now=1001.0)
    assert one.due == 1006
    one.changed(deletion=True, now=1002.0)
    assert one.due == 1006  # the first one does not wait longer for the second


def test_what_happens_during_a_collection_is_for_the_next_one() -> None:
    one = schedule(pause_threshold=0.5)
    one.changed(deletion=True, now=1001.0)
    one.begun()
    one.changed(deletion=True, now=1002.0)
    one.ended(begun=1001, now=1003)
    assert one.due == 1005


def test_a_failure_is_tried_again_later_each_time() -> None:
    one = schedule(deletion_threshold=1)
    one.changed(deletion=True, now=1000.0)
    at, waits = 1000.0, []
    for _ in range(12):
        run(one, at, 0.001, ok=False)
        one.changed(deletion=True, now=at)
        waits.append(round(one.due - at - 0.001, 3))
        at = one.due
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    run(one, at, 0.001)
    assert one.due == pytest.approx(at + 0.001 + 3600)


def test_a_failure_that_took_long_rests_as_long_as_a_success() -> None:
    one = schedule()
    run(one, 1000, 10, ok=False)
    assert one.due == 1010 + 490
