"""Clocks: the machine's, and the one that tests turn."""

from __future__ import annotations

import time

import pytest

from orlop.linux.clock import SystemClock
from orlop.testing.manual_clock import ManualClock


def test_the_machines_clock() -> None:
    clock = SystemClock()
    before, now, after = time.time_ns(), clock.now(), time.time_ns()
    assert before <= now <= after
    first = clock.monotonic()
    assert first <= clock.monotonic()


def test_a_clock_that_is_turned_by_hand() -> None:
    clock = ManualClock(now=5)
    assert (clock.now(), clock.monotonic()) == (5, 0.0)
    clock.advance(1.5)
    assert (clock.now(), clock.monotonic()) == (1_500_000_005, 1.5)
    clock.jump(-1)
    assert (clock.now(), clock.monotonic()) == (500_000_005, 1.5)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
