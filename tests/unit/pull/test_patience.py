"""How often a broken download is taken up again."""

from __future__ import annotations

from orlop.pull.patience import Patience


def test_without_progress_it_ends() -> None:
    patience = Patience(tries=4, base=1, cap=3)
    pauses = [patience.pause(moved=False, jitter=1) for _ in range(4)]
    assert pauses == [1, 2, 3, None]


def test_as_long_as_it_moves_it_does_not_end() -> None:
    patience = Patience(tries=3, base=1)
    for _ in range(1000):
        assert patience.pause(moved=False, jitter=0) == 0.5
        assert patience.pause(moved=True, jitter=0) == 0.5


def test_half_of_a_pause_is_random() -> None:
    assert Patience(base=1).pause(moved=False, jitter=0) == 0.5
    assert Patience(base=1).pause(moved=False, jitter=0.5) == 0.75


def test_a_registry_may_take_its_time_to_start_again() -> None:
    patience = Patience()
    total, pause = 0.0, patience.pause(moved=False, jitter=0)
    while pause is not None:
        total += pause
        pause = patience.pause(moved=False, jitter=0)
    assert 8 < total < 30
