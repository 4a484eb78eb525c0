"""For which pulls a request and a byte count."""

from __future__ import annotations

import random
from contextlib import ExitStack

from orlop.pull.traffic import Meter, SharedTraffic
from orlop.pull.watchdog import Watchdog
from orlop.testing.manual_clock import ManualClock


def meter(clock: ManualClock | None = None, timeout: float = 10) -> Meter:
    return Meter(Watchdog(timeout), clock or ManualClock())


def test_hosts_that_are_waited_for() -> None:
    own = meter()
    for host in ("b", "a", "b"):
        own.request_started(host)
    assert own.hosts == ["a", "b"]
    own.request_finished("b")
    assert own.hosts == ["a", "b"]
    own.request_finished("b")
    own.request_finished("a")
    assert own.hosts == []
    assert own.watchdog.in_flight == 0


def test_a_download_counts_for_all_who_are_attached() -> None:
    shared, first, second = SharedTraffic(), meter(), meter()
    with shared.attached(first), shared.attached(second):
        shared.request_started("a")
        shared.received(7)
        shared.request_finished("a")
    shared.received(5)
    assert (first.watchdog.received, second.watchdog.received) == (7, 7)


def test_who_comes_late_waits_from_then_on() -> None:
    clock = ManualClock()
    shared, early, late = SharedTraffic(), meter(clock), meter(clock)
    with shared.attached(early):
        shared.request_started("a")
        clock.advance(9)
        with shared.attached(late):
            assert late.hosts == ["a"]
            clock.advance(1)
            assert early.look()
            assert not late.look()
            clock.advance(9)
            assert late.look()
        assert late.hosts == []
        assert not late.look()
    assert early.watchdog.in_flight == 0


def test_a_slow_disk_is_no_stalled_registry() -> None:
    clock = ManualClock()
    shared, own = SharedTraffic(), meter(clock)
    with shared.attached(own):
        shared.request_started("a")
        shared.request_paused("a")
        clock.advance(1000)
        assert own.look() == ""
        with shared.attached(other := meter(clock)):
            assert other.hosts == []
            shared.request_resumed("a")
            assert (own.hosts, other.hosts) == (["a"], ["a"])
        clock.advance(9)
        assert own.look() == ""
        clock.advance(1)
        assert own.look() == "silent"


def test_one_that_is_paused_does_not_excuse_another_one() -> None:
    clock = ManualClock()
    own = meter(clock)
    own.request_started("stalled")
    own.request_started("slow disk")
    own.request_paused("slow disk")
    clock.advance(9)
    own.request_resumed("slow disk")
    own.request_paused("slow disk")
    clock.advance(1)
    assert own.look() == "silent"
    assert own.hosts == ["stalled"]


def test_counts_never_drift() -> None:
    """Whatever the order, all is as it was when everything has ended."""
    chance = random.Random(5)
    for _ in range(200):
        shared = SharedTraffic()
        meters = [meter() for _ in range(3)]
        attached: dict[int, ExitStack] = {}
        running: list[str] = []
        for _ in range(30):
            at = chance.randrange(3)
            match chance.randrange(4):
                case 0 if at not in attached:
                    attached[at] = ExitStack()
                    attached[at].enter_context(shared.attached(meters[at]))
                case 1 if at in attached:
                    attached.pop(at).close()
                case 2:
                    running.append(chance.choice("ab"))
                    shared.request_started(running[-1])
                case 3 if running:
                    shared.request_finished(running.pop(chance.randrange(len(running))))
            for number, one in enumerate(meters):
                expected = sorted(set(running)) if number in attached else []
                assert one.hosts == expected
                assert one.watchdog.in_flight == (len(running) if number in attached else 0)
