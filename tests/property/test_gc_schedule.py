"""Laws of the schedule of collections, for any history."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from orlop.gc.schedule import Schedule, ScheduleSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

seconds = st.floats(0, 1000, allow_nan=False)
settings = st.builds(
    ScheduleSettings,
    pause_threshold=st.floats(0.001, 0.5),
    deletion_threshold=st.just(0),
    mutation_threshold=st.integers(0, 5),
    schedule_delay=st.floats(0, 10),
    startup_delay=st.floats(0, 10),
    period=st.floats(100, 10000),
)
# What happens next: after how long, whether it removes something; and how long the
# next collection takes, and whether it succeeds.
histories = st.lists(
    st.tuples(seconds, st.booleans(), st.floats(0, 50, allow_nan=False), st.booleans()),
    max_size=40,
)


def collections(
    chosen: ScheduleSettings, history: Sequence[tuple[float, bool, float, bool]]
) -> tuple[list[tuple[float, float]], Schedule, float]:
    """Collect whenever it is due; begin and end of each collection, and what is left."""
    schedule, now = Schedule(chosen, now=0.0), 0.0
    found: list[tuple[float, float]] = []

    def collect(took: float, *, ok: bool) -> float:
        begun = max(now, schedule.due)
        schedule.begun()
        end = begun + took
        (schedule.ended if ok else schedule.failed)(begun=begun, now=end)
        found.append((begun, end))
        return end

    for after, deletion, took, ok in history:
        then = now + after
        while schedule.due <= then and len(found) < 500:
            now = collect(took, ok=ok)
        now = max(now, then)
        schedule.changed(deletion=deletion, now=now)
    return found, schedule, now


@given(settings, histories)
def test_collecting_takes_no_more_than_its_share(
    chosen: ScheduleSettings, history: list[tuple[float, bool, float, bool]]
) -> None:
    found, schedule, _ = collections(chosen, history)
    ends = [*found, (schedule.due, 0.0)]
    for (begun, end), (following, _) in pairwise(ends):
        assert end - begun <= chosen.pause_threshold * (following - begun) * 1.0001 + 1e-6


@given(settings, histories)
def test_what_was_removed_is_collected_in_the_end(
    chosen: ScheduleSettings, history: list[tuple[float, bool, float, bool]]
) -> None:
    _, schedule, now = collections(chosen, history)
    schedule.changed(deletion=True, now=now)
    longest_rest = max(50 / chosen.pause_threshold, 300.0)
    assert schedule.due <= now + chosen.startup_delay + chosen.schedule_delay + longest_rest


@given(settings, histories)
def test_nothing_is_forgotten_for_longer_than_the_period(
    chosen: ScheduleSettings, history: list[tuple[float, bool, float, bool]]
) -> None:
    _, schedule, now = collections(chosen, history)
    assert schedule.due <= now + chosen.period + 50 / chosen.pause_threshold + 300 + 10
