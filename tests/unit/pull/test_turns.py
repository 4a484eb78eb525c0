"""Whose turn it is."""

from __future__ import annotations

from orlop.pull.turns import Turns


def called(turns: Turns[str]) -> list[str]:
    found = []
    while (one := turns.call()) is not None:
        found.append(one)
    return found


def test_lanes_take_turns() -> None:
    turns: Turns[str] = Turns()
    for one in ("a1", "a2", "a3", "b1", "b2", "c1"):
        turns.join(one[0], one)
    assert len(turns) == 6
    assert called(turns) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert len(turns) == 0


def test_who_comes_late_waits_for_one_of_each_other() -> None:
    turns: Turns[str] = Turns()
    for one in ("a1", "a2", "a3"):
        turns.join("a", one)
    assert turns.call() == "a1"
    turns.join("b", "b1")
    assert called(turns) == ["a2", "b1", "a3"]


def test_who_leaves_is_not_called() -> None:
    turns: Turns[str] = Turns()
    for one in ("a1", "a2", "b1"):
        turns.join(one[0], one)
    turns.leave("a", "a1")
    turns.leave("b", "b1")
    turns.leave("b", "b1")
    turns.leave("c", "c1")
    assert called(turns) == ["a2"]
