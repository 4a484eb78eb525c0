"""When a pull counts as stalled; no clock is involved."""

from __future__ import annotations

import pytest

from orlop.pull.watchdog import Verdict, Watchdog


@pytest.mark.parametrize("timeout", [0.25, 5, 300])
def test_silence_while_a_request_is_in_flight(timeout: float) -> None:
    dog = Watchdog(timeout)
    dog.request_started(100)
    assert dog.look(100 + timeout - 1 / 64) == ""
    assert dog.silent(101) == 1
    assert dog.look(100 + timeout) == "silent"


def test_zero_is_never() -> None:
    dog = Watchdog(0)
    dog.request_started(0)
    assert dog.look(1e9) == ""
    assert dog.interval == 0


def test_every_byte_counts_anew() -> None:
    dog = Watchdog(10)
    dog.request_started(0)
    dog.bytes_received(1, 9)
    assert dog.look(18.9) == ""
    assert dog.look(19) == "silent"
    assert dog.received == 1


def test_idle_is_not_silence() -> None:
    """Unpacking, syncing and queueing take as long as they take."""
    dog = Watchdog(10)
    dog.request_started(0)
    dog.bytes_received(5, 1)
    dog.request_finished(1)
    assert dog.silent(1000) == 0
    assert dog.look(1000) == ""
    dog.request_started(1000)
    assert dog.look(1009) == ""
    assert dog.look(1010) == "silent"


def test_a_second_request_gives_no_second_chance() -> None:
    dog = Watchdog(10)
    dog.request_started(0)
    dog.request_started(9)
    assert dog.stalled(10)
    dog.request_finished(10)
    assert dog.stalled(10)
    dog.request_finished(10)
    assert not dog.stalled(10)


def test_bytes_of_one_keep_all_alive() -> None:
    dog = Watchdog(10)
    dog.request_started(0)
    dog.request_started(0)
    dog.bytes_received(1, 8)
    dog.request_finished(8)
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


# The slow drip.


def drip(dog: Watchdog, rate: float, seconds: int, *, start: int = 0) -> list[Verdict]:
    """One second after the other: that many bytes, and a look."""
    verdicts: list[Verdict] = []
    for second in range(start, start + seconds):
        dog.request_started(second)
        dog.bytes_received(round(rate), second + 1)
        dog.request_finished(second + 1)
        verdicts.append(dog.look(second + 1))
    return verdicts


def test_a_slow_drip() -> None:
    dog = Watchdog(100, min_rate=1000)
    verdicts = drip(dog, 999, 101)
    assert verdicts[:99] == [""] * 99
    assert verdicts[-1] == "slow"


def test_as_fast_as_it_must_be() -> None:
    assert set(drip(Watchdog(100, min_rate=1000), 1000, 500)) == {""}
    assert set(drip(Watchdog(100), 1, 500)) == {""}


def test_what_was_fast_once_does_not_excuse_forever() -> None:
    dog = Watchdog(100, min_rate=1000)
    drip(dog, 1_000_000, 200)
    assert "slow" in drip(dog, 10, 110, start=200)


def test_only_waiting_is_slow() -> None:
    """A second in ten is spent with the network; the rest of the time the disk is behind."""
    dog = Watchdog(100, min_rate=1000)
    for round_ in range(500):
        dog.request_started(round_ * 10)
        dog.bytes_received(1500, round_ * 10 + 1)
        dog.request_finished(round_ * 10 + 1)
        assert dog.look(round_ * 10 + 9) == ""


def test_the_rate_has_a_window_without_a_timeout() -> None:
    dog = Watchdog(0, min_rate=1000)
    assert (dog.window, dog.interval) == (60, 10)
    assert "slow" in drip(dog, 10, 70)


def test_its_memory_is_bounded() -> None:
    dog = Watchdog(10, min_rate=1)
    for tick in range(100_000):
        dog.request_started(tick / 100)
        dog.bytes_received(1, tick / 100)
        dog.look(tick / 100 + 0.01)
        dog.request_finished(tick / 100 + 0.01)
    assert len(dog._samples) < 50
