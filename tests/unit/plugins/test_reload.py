"""What a new configuration changes, and for whom."""

# No "from __future__ import annotations": msgspec reads the types at run time.
from collections.abc import Mapping

import msgspec
import pytest

from orlop.errors import InvalidArgument
from orlop.plugins.registration import Commit, Hook
from orlop.plugins.reload import Changes, changes, in_force, prepare


class Inner(msgspec.Struct, frozen=True):
    path: str = ""
    secret: str = ""


class Outer(msgspec.Struct, frozen=True):
    limit: int = 3
    root: str = "/r"
    names: Mapping[str, str] = {}
    inner: Inner = Inner()


class Log:
    """A plugin that takes some keys, and what it was given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.prepared: list[object] = []
        self.committed: list[object] = []

    def prepare(self, new: object) -> Commit:
        if self.error is not None:
            raise self.error
        self.prepared.append(new)
        return lambda: self.committed.append(new)

    def hook(self, *keys: str, table: str = "t") -> Hook:
        return Hook("p.v1.x", table, keys, self.prepare)


OLD = {"": Outer(), "t": Outer()}


def test_nothing_changes() -> None:
    assert changes(OLD, {"": Outer(), "t": Outer()}, [Log().hook("limit")]) == Changes()


def test_what_nobody_takes_needs_a_restart() -> None:
    new = {
        "": Outer(root="/x"),
        "t": Outer(limit=7, root="/y", names={"a": "b"}, inner=Inner("p", "s")),
    }
    found = changes(OLD, new, [Log().hook("limit", "inner"), Log().hook("root", table="u")])
    assert found.applied == (("t", "limit"), ("t", "inner.path"), ("t", "inner.secret"))
    assert found.restart == (("", "root"), ("t", "root"), ("t", "names"))


def test_a_name_stands_for_what_is_below_it_and_for_no_other_name() -> None:
    new = {"": Outer(), "t": Outer(inner=Inner(path="p", secret="s"))}
    assert changes(OLD, new, [Log().hook("inner.path")]).restart == (("t", "inner.secret"),)
    assert changes(OLD, new, [Log().hook("inn")]).applied == ()


def test_a_table_that_only_one_has_is_left_out() -> None:
    assert changes(OLD, {"t": Outer(), "u": Outer(limit=9)}, []) == Changes()


def test_in_force_is_the_new_value_of_what_is_applied_alone() -> None:
    new = {"": Outer(root="/x"), "t": Outer(limit=7, root="/y", inner=Inner("p", "s"))}
    made = in_force(OLD, new, [("t", "limit"), ("t", "inner.path")])
    assert made == {"": Outer(), "t": Outer(limit=7, inner=Inner(path="p"))}
    again = changes(made, new, [Log().hook("limit", "inner.path")])
    assert again.applied == ()
    assert again.restart == (("", "root"), ("t", "root"), ("t", "inner.secret"))


def test_only_those_that_it_concerns_are_asked() -> None:
    first, second = Log(), Log()
    hooks = [first.hook("limit"), second.hook("names")]
    new = {"": Outer(), "t": Outer(limit=7, root="/y")}
    found = changes(OLD, new, hooks)
    commits = prepare(found, in_force(OLD, new, found.applied), hooks)
    assert first.prepared == [Outer(limit=7)]
    assert first.committed == []
    assert second.prepared == []
    for commit in commits:
        commit()
    assert first.committed == [Outer(limit=7)]


def test_a_refusal_comes_before_every_commit() -> None:
    first, second = Log(), Log(InvalidArgument("no"))
    hooks = [first.hook("limit"), second.hook("limit")]
    new = {"": Outer(), "t": Outer(limit=7)}
    found = changes(OLD, new, hooks)
    with pytest.raises(InvalidArgument):
        prepare(found, in_force(OLD, new, found.applied), hooks)
    assert first.committed == []
