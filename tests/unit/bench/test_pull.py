"""What the table of the benchmark says."""

import pytest

from bench.measure import Sample
from bench.pull import ratio, render
from bench.transfers import Transfers

_NONE = Transfers(reads=0, read_bytes=0, writes=0, written_bytes=0)


def _sample(peer: str, seconds: float) -> Sample:
    return Sample(
        peer=peer,
        seconds=seconds,
        flush_seconds=1.0,
        answered=_NONE,
        settled=_NONE,
        memory=50_000_000,
        cpu_seconds=1.5,
        entries=10,
        load=0.0,
    )


def test_ratio_is_the_median_of_the_pairs_not_of_the_medians() -> None:
    samples = [
        _sample("slow", 10), _sample("fast", 2),
        _sample("slow", 30), _sample("fast", 10),
        _sample("slow", 8), _sample("fast", 2),
    ]  # fmt: skip
    assert ratio(samples, "slow", "fast") == pytest.approx(4)


def test_ratio_refuses_half_a_pair() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ratio([_sample("slow", 10)], "slow", "fast")


def test_table_has_a_line_for_each_peer_with_median_and_spread() -> None:
    table = render([_sample("a", 9), _sample("b", 3), _sample("a", 11), _sample("b", 2)])
    lines = {line.split()[0]: line for line in table.splitlines()[1:]}
    assert set(lines) == {"a", "b"}
    assert "10.00" in lines["a"]
    assert "9.00-11.00" in lines["a"]
