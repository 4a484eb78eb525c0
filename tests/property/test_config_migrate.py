"""Documents made of all old keys: nothing gets lost, whatever stands beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.config.draft import CURRENT_VERSION
from orlop.config.load import combined, loads
from orlop.config.migrate import lift, migrate
from orlop.config.rewrite import rewritten
from orlop.config.sources import parse
from tests.rigs.old_keys import OLD_KEYS, Old, at, document

if TYPE_CHECKING:
    import random

    from orlop.config.draft import Change

some_keys = st.lists(st.sampled_from(OLD_KEYS), unique_by=lambda old: old.key, max_size=30)


def written(keys: list[Old]) -> bytes:
    return tomlkit.dumps(document(keys)).encode()


def reported(old: Old, changes: tuple[Change, ...]) -> list[Change]:
    return [
        change
        for change in changes
        if change.old == old.key[: len(change.old)] or old.key == change.old[: len(old.key)]
    ]


@settings(max_examples=200, deadline=None)
@given(some_keys)
def test_every_value_is_at_its_new_place_or_reported(keys: list[Old]) -> None:
    result = migrate(document(keys))
    for old in keys:
        if old.fate == "dropped":
            assert any(change.kind == "dropped" for change in reported(old, result.changes)), old
        else:
            assert at(result.document, old.new) == old.value, old
        if old.new != old.key:
            assert reported(old, result.changes), old
    for change in result.changes:
        assert change.new or (change.kind == "dropped" and change.reason)


@pytest.mark.parametrize("old", OLD_KEYS, ids=lambda old: ".".join(old.key[-3:]))
def test_each_old_key_alone_has_its_fate(old: Old) -> None:
    result = migrate(document([old]))
    kinds = {change.kind for change in reported(old, result.changes)}
    if old.fate == "dropped":
        assert "dropped" in kinds
        assert at(result.document, old.key) is None
    else:
        allowed = {"moved": {"moved", "renamed"}, "kept": {"kept", "copied"}, "stays": {"kept"}}
        assert kinds <= allowed[old.fate]
        assert at(result.document, old.new) == old.value


@settings(max_examples=100, deadline=None)
@given(some_keys)
def test_migrating_twice_changes_nothing_more(keys: list[Old]) -> None:
    once = migrate(document(keys))
    again = migrate(once.document)
    assert again.document == once.document
    assert [change for change in again.changes if change.kind != "kept"] == []


@settings(max_examples=100, deadline=None)
@given(some_keys, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(keys: list[Old], chance: random.Random) -> None:
    other = list(keys)
    chance.shuffle(other)
    one, two = migrate(document(keys)), migrate(document(other))
    assert one.document == two.document
    assert set(one.changes) == set(two.changes)


@settings(max_examples=100, deadline=None)
@given(some_keys, st.integers(0, 30))
def test_cut_into_a_document_and_a_drop_in_it_means_the_same(keys: list[Old], cut: int) -> None:
    sources = [
        parse(written(part), path=name)
        for name, part in (("main", keys[:cut]), ("drop-in", keys[cut:]))
    ]
    whole = combined(sources)
    assert whole.document == migrate(document(keys)).document
    for number, old in enumerate(keys):
        if old.fate != "dropped":
            where = whole.origins[old.new]
            assert (where.path, where.key) == ("main" if number < cut else "drop-in", old.key)


@settings(max_examples=100, deadline=None)
@given(some_keys, some_keys)
def test_documents_with_different_keys_can_be_read_in_any_order(
    keys: list[Old], more: list[Old]
) -> None:
    ours = [old for old in keys if not any(old.key == other.key for other in more)]
    sources = [parse(written(part), path=name) for name, part in (("a", ours), ("b", more))]
    forth, back = combined(sources), combined(sources[::-1])
    assert forth.document == back.document


@settings(max_examples=100, deadline=None)
@given(some_keys, st.sampled_from([2, 3, 4]))
def test_an_older_drop_in_wins_over_a_newer_document(keys: list[Old], version: int) -> None:
    main = parse(tomlkit.dumps({"version": version, "root": "/main"}).encode(), path="main")
    whole = combined([main, parse(written(keys), path="drop-in")])
    for old in keys:
        if old.fate != "dropped":
            assert at(whole.document, old.new) == old.value


@settings(max_examples=100, deadline=None)
@given(some_keys)
def test_comments_follow_their_keys(keys: list[Old]) -> None:
    keys = [old for old in keys if old.fate != "dropped"]
    text = "".join(
        f"\n# about {number}\n{line} # behind {number}" if " = " in line else f"\n{line}"
        for number, line in enumerate(written(keys).decode().splitlines())
    )
    source = parse(text.encode(), path="c")
    result = lift(source.written, CURRENT_VERSION)
    new = rewritten(source.text, source.written.document, result)
    assert parse(new.encode(), path="c").written.document == result.document
    above = ""
    for line in text.splitlines():
        if " = " in line:
            assert line[line.rindex("# behind") :] in new
            assert above in new
        above = line


@settings(max_examples=60, deadline=None)
@given(some_keys)
def test_a_migrated_document_means_what_the_old_one_meant(keys: list[Old]) -> None:
    keys = [old for old in keys if old.key[-1] not in ("config_path", "address")]
    old = loads(written(keys))
    new = loads(tomlkit.dumps(migrate(document(keys)).document))
    assert new.config == old.config
