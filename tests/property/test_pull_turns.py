"""Slots are given in turns: a model of who waits, and a bound on how long."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from orlop.pull.turns import Turns

LANES = "abcd"
STEPS = st.lists(st.sampled_from([*(f"join {lane}" for lane in LANES), "call", "leave"]))


@given(STEPS)
def test_fairness(steps: list[str]) -> None:
    turns: Turns[tuple[str, int]] = Turns()
    waiting: dict[str, list[tuple[str, int]]] = {lane: [] for lane in LANES}
    passed: dict[tuple[str, int], Counter[str]] = {}
    for number, step in enumerate(steps):
        everybody = [one for lane in LANES for one in waiting[lane]]
        if step.startswith("join"):
            one = (step[-1], number)
            turns.join(step[-1], one)
            waiting[step[-1]].append(one)
            passed[one] = Counter()
        elif step == "leave" and everybody:
            gone = everybody[number % len(everybody)]
            turns.leave(gone[0], gone)
            waiting[gone[0]].remove(gone)
        elif step == "call":
            called = turns.call()
            assert (called is None) == (not everybody)
            if called is None:
                continue
            assert waiting[called[0]].pop(0) == called  # in order within a lane
            for first in (waiting[lane][0] for lane in LANES if waiting[lane]):
                passed[first][called[0]] += 1
        assert len(turns) == sum(map(len, waiting.values()))
    for one, others in passed.items():
        # Whoever is first in a lane sees each other lane pass once before its own turn.
        assert all(count <= 1 for lane, count in others.items() if lane != one[0]), (one, others)
