"""Which hosts are down, and when each may be asked again; no clock is involved."""

from __future__ import annotations

import pytest

from orlop.registry.health import (
    HealthBook,
    HealthPolicy,
    HostHealth,
    Report,
    longest_silence,
)

POLICY = HealthPolicy(breaks=3, rest=5, longest_rest=20, probe=30, longest_gate=900, hosts=4)


def record() -> HostHealth:
    return HostHealth(POLICY)


def test_a_host_is_well_at_first() -> None:
    host = record()
    assert host.state(0) == "closed"
    assert host.prefers(0)
    assert host.is_well(0)


def test_without_a_connection_it_is_down_at_once() -> None:
    host = record()
    host.unreachable(100)
    assert host.state(104.9) == "open"
    assert not host.prefers(104.9)
    assert host.state(105) == "half-open"


def test_one_probe_and_no_more() -> None:
    host = record()
    host.unreachable(0)
    assert [host.prefers(5), host.prefers(5), host.prefers(34)] == [True, False, False]
    # Nothing was heard of it.
    assert host.prefers(35)


def test_a_probe_that_fails_doubles_the_rest() -> None:
    host, now, rests = record(), 0.0, []
    for _ in range(4):
        host.unreachable(now)
        start = now
        while not host.prefers(now):
            now += 1
        rests.append(now - start)
    assert rests == [5, 10, 20, 20]


def test_those_who_were_under_way_do_not_count() -> None:
    host = record()
    for now in (0, 0.5, 1):
        host.unreachable(now)
    assert host.state(5) == "half-open"


def test_a_probe_that_is_answered_closes_it() -> None:
    host = record()
    host.unreachable(0)
    assert host.prefers(5)
    host.answered()
    assert host.state(5) == "closed"
    host.unreachable(6)
    assert host.state(11) == "half-open"  # it begins with short rests again


def test_answers_that_break_off() -> None:
    host = record()
    for now in range(2):
        host.answered()
        host.broke(now)
    assert host.state(2) == "closed"
    host.completed()
    host.broke(3)
    assert host.state(3) == "closed"
    for now in (4, 5):
        host.answered()
        host.broke(now)
    assert host.state(5) == "open"
    # It answers the probe, and breaks off again.
    assert host.prefers(10)
    host.answered()
    assert host.state(10) == "closed"
    host.broke(11)
    assert host.state(11) == "open"


def test_the_gate() -> None:
    host = record()
    assert host.wait(0) == 0
    host.close_gate(100, 30)
    host.close_gate(100, 10)
    assert host.wait(101) == 29
    assert not host.is_well(101)
    assert host.wait(130) == 0
    assert host.is_well(130)
    host.close_gate(200, 10**9)
    assert host.wait(200) == 0  # that makes no sense
    host.close_gate(200, 900)
    assert host.wait(200) == POLICY.longest_gate


def test_those_who_are_down_come_last() -> None:
    book = HealthBook(POLICY)
    book.of("a", 0).unreachable(0)
    book.of("c", 0).unreachable(0)
    assert book.in_order("abcd", 1, str) == ["b", "d", "a", "c"]
    # After its rest each gets one probe, in its old place.
    assert book.in_order("abcd", 5, str) == ["a", "b", "c", "d"]
    assert book.in_order("abcd", 5, str) == ["b", "d", "a", "c"]
    assert book.in_order("", 5, str) == []


def test_nobody_is_refused() -> None:
    book = HealthBook(POLICY)
    for host in "ab":
        book.of(host, 0).unreachable(0)
    assert book.in_order("ab", 0, str) == ["a", "b"]


def test_a_book_does_not_grow_without_bound() -> None:
    """A registry may redirect to ever new hosts."""
    book = HealthBook(POLICY)
    book.of("down", 0).unreachable(0)
    for number in range(100):
        book.of(number, 0)
    assert len(book) <= POLICY.hosts
    assert book.in_order(["down", "up"], 1, str) == ["up", "down"]
    for number in range(100):
        book.of(number, 1).unreachable(1)
    assert len(book) <= POLICY.hosts


def test_a_good_answer_of_a_host_without_a_record_leaves_none() -> None:
    book = HealthBook(POLICY)
    report = Report(book, "a", lambda: 0)
    report.answered()
    report.completed()
    assert len(book) == 0
    report.broke()
    report.unreachable()
    assert book.of("a", 0).state(0) == "open"
    report.answered()
    assert book.of("a", 0).state(0) == "closed"
    report.completed()
    assert book.of("a", 0).is_well(0)
    assert book.wait("b", 0) == 0


@pytest.mark.parametrize(("timeout", "seconds"), [(300, 30), (0, 30), (60, 30), (10, 5), (1, 0.5)])
def test_how_long_a_host_may_be_silent(timeout: float, seconds: float) -> None:
    assert longest_silence(timeout) == seconds


def test_whether_another_host_is_well() -> None:
    book = HealthBook()
    assert not book.any_well([], 0)
    assert book.any_well(["new"], 0)
    book.of("down", 0).unreachable(0)
    assert not book.any_well(["down"], 1)
    assert not book.any_well(["down"], 10), "nobody has probed it yet"
    assert book.any_well(["down", "new"], 1)
