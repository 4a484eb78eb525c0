"""How long readers rest."""

from __future__ import annotations

import pytest

from orlop.pull.rate import TokenBucket


def test_a_burst_is_free_and_the_rest_is_not() -> None:
    bucket = TokenBucket(rate=100, burst=50)
    assert bucket.take(50, 0) == 0
    assert bucket.take(100, 0) == 1
    assert bucket.take(100, 1) == 1
    assert bucket.take(0, 10) == 0


def test_a_long_rest_saves_no_more_than_a_burst() -> None:
    bucket = TokenBucket(rate=100, burst=50)
    assert bucket.take(0, 0) == 0
    assert bucket.take(150, 1000) == 1


@pytest.mark.parametrize("readers", [1, 3])
def test_together_they_keep_the_rate(readers: int) -> None:
    bucket = TokenBucket(rate=1000, burst=250)
    times = [0.0] * readers
    read = 0
    while min(times) < 60:
        at = times.index(min(times))
        times[at] += bucket.take(100, times[at]) or 0.001
        read += 100
    assert read == pytest.approx(60 * 1000, rel=0.02)
