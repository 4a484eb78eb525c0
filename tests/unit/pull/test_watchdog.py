"""When a pull counts as stalled; no clock is involved."""

from __future__ import annotations

import pytest

from orlop.pull.watchdog import Watchdog


def test_silence_while_a_request_is_in_flight() -> None:
    dog = Watchdog(10)
    dog.request_started(100)
    assert not dog.stalled(109.9)
    assert dog.silent(109) == 9
    assert dog.stalled(110)


def test_zero_is_never() -> None:
    dog = Watchdog(0)
    dog.request_started(0)
    assert not dog.stalled(1e9)
    assert dog.interval == 0


def test_every_byte_counts_anew() -> None:
    dog = Watchdog(10)
    dog.request_started(0)
    dog.bytes_received(1, 9)
    assert not dog.stalled(18.9)
    assert dog.stalled(19)
    assert dog.received == 1


def test_idle_is_not_silence() -> None:
    """Unpacking, syncing and queueing take as long as they take."""
    dog = Watchdog(10)
    dog.request_started(0)
    dog.bytes_received(5, 1)
    dog.request_finished()
    assert dog.silent(1000) == 0
    assert not dog.stalled(1000)
    dog.request_started(1000)
    assert not dog.stalled(1009)
    assert dog.stalled(1010)


def test_a_second_request_gives_no_second_chance() -> None:
    dog = Watchdog(10)
    dog.request_started(0)
    dog.request_started(9)
    assert dog.stalled(10)
    dog.request_finished()
    assert dog.stalled(10)
    dog.request_finished()
    assert not dog.stalled(10)


def test_bytes_of_one_keep_all_alive() -> None:
    dog = Watchdog(10)
    dog.request_started(0)
    dog.request_started(0)
    dog.bytes_received(1, 8)
    dog.request_finished()
    assert not dog.stalled(17)
    assert dog.stalled(18)


@pytest.mark.parametrize(
    ("timeout", "interval"), [(300, 10), (20, 10), (10, 5), (1, 0.5), (0.01, 0.005), (0, 0)]
)
def test_how_often_it_looks(timeout: float, interval: float) -> None:
    assert Watchdog(timeout).interval == interval


def test_less_than_a_second() -> None:
    dog = Watchdog(0.0625)
    dog.request_started(7)
    assert not dog.stalled(7.06)
    assert dog.stalled(7.0625)
