"""What a store has promised: from marks to names, and what is broken."""

from __future__ import annotations

import pytest

from tests.crash.cuts.promises import NOTHING, begin, broken, done, promised, promised_between


def test_what_has_begun_may_be_there_and_what_is_done_must() -> None:
    marks = [begin("a", "1"), done("a", "1"), begin("b", "2"), begin("a", "3")]
    assert promised(marks) == {"a": {"1", "3"}, "b": {NOTHING, "2"}}
    assert promised([*marks, done("a", "3")])["a"] == {"3"}


def test_a_removal_is_a_promise_too() -> None:
    marks = [begin("a", "1"), done("a", "1"), begin("a", NOTHING)]
    assert promised(marks) == {"a": {"1", NOTHING}}
    assert promised([*marks, done("a", NOTHING)]) == {"a": {NOTHING}}


def test_a_mark_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="no such mark"):
        promised(["perhaps a 1"])


def test_between_two_looks_each_instant_counts() -> None:
    marks = [begin("a", "1"), done("a", "1"), begin("a", "2"), done("a", "2")]
    assert promised_between(marks, marks) == {"a": {"2"}}
    assert promised_between(marks[:2], marks) == {"a": {"1", "2"}}
    assert promised_between([], marks) == {"a": {NOTHING, "1", "2"}}


def test_names_that_mean_something_else_are_told() -> None:
    allowed = {"a": frozenset({"1"}), "b": frozenset({NOTHING, "2"}), "c": frozenset({NOTHING})}
    assert broken(allowed, {"a": "1"}) == []
    assert broken(allowed, {"a": "1", "b": "2"}) == []
    assert broken(allowed, {"b": "3", "c": "4", "d": "5"}) == [
        "a is nothing, not 1",
        "b is 3, not 2 or nothing",
        "c is 4, not nothing",
        "d is 5, not nothing",
    ]
