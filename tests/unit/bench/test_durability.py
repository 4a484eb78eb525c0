"""What the table of the cost of durability says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.containerd import CONTAINERD
from bench.durability import Service, cost, render
from bench.measure import Sample
from bench.orlop import ORLOP, ORLOP_NOSYNC
from bench.transfers import Transfers, parse

_ORLOP = Service("orlop", ORLOP_NOSYNC, ORLOP)
_STAT = "  10 1 80 5 20 2 4000 9 0 8 14 0 0 0 0 3 1\n"


def _sample(peer: str, seconds: float, written: int) -> Sample:
    transfers = Transfers(reads=1, read_bytes=4096, writes=100, written_bytes=written)
    return Sample(
        peer=peer,
        seconds=seconds,
        flush_seconds=0.5,
        answered=transfers,
        settled=replace(transfers, writes=150),
        memory=1,
        cpu_seconds=1.0,
        entries=1,
        load=0.0,
    )


def test_counts_of_a_device() -> None:
    assert parse(_STAT) == Transfers(
        reads=10, read_bytes=80 * 512, writes=20, written_bytes=4000 * 512
    )


def test_transfers_since_an_earlier_look() -> None:
    since = parse("3 0 16 0 7 0 24 0 0 0 0") - parse("1 0 8 0 2 0 8 0 0 0 0")
    assert since == Transfers(reads=2, read_bytes=8 * 512, writes=5, written_bytes=16 * 512)


def test_cost_is_the_median_of_the_pairs() -> None:
    samples = [
        _sample("orlop-nosync", 2.0, 0), _sample("orlop", 2.1, 0),
        _sample("orlop-nosync", 4.0, 0), _sample("orlop", 8.0, 0),
        _sample("orlop-nosync", 2.0, 0), _sample("orlop", 2.0, 0),
    ]  # fmt: skip
    assert cost(samples, _ORLOP) == pytest.approx(0.05)


def test_table_tells_programs_with_and_without_the_sync() -> None:
    samples = [
        _sample("orlop-nosync", 2.0, 0),
        _sample("orlop", 2.1, 7_000_000),
        _sample("containerd", 4.0, 0),
    ]
    taking_part = [_ORLOP, Service("containerd", CONTAINERD)]
    head, rule, without, synced, other = render(samples, taking_part).splitlines()
    assert len({line.count("|") for line in (head, rule, without, synced, other)}) == 1
    assert without.startswith("| orlop | no | 2.00 s | 2.00-2.00 s |  | 2.50 s | 100 | 0 | 150 |")
    assert synced.startswith("| orlop | yes | 2.10 s | 2.10-2.10 s | +5.0% | 2.60 s | 100 | 7 |")
    assert other.startswith("| containerd | no | 4.00 s |")
