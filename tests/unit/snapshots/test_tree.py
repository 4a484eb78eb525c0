"""The rules of the tree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from orlop.ports.metadata import SnapshotRecord, Usage
from orlop.snapshots import tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.ports.metadata import SnapshotKind


def record(key: str, kind: SnapshotKind, parent: str = "") -> SnapshotRecord:
    return SnapshotRecord("overlayfs", key, 7, kind, parent, {"l": "1"}, created_at=3, updated_at=3)


def started(
    key: str = "key", chain: Sequence[SnapshotRecord] = (), labels: dict[str, str] | None = None
) -> SnapshotRecord:
    return tree.start(
        "active",
        key,
        snapshotter="overlayfs",
        chain=chain,
        directory=9,
        labels=labels or {},
        now=5,
    )


@pytest.mark.parametrize(
    "key", ["k", "sha256:" + "0" * 64, "extract-123-a b sha256:ff", "ключ", "k" * tree.KEY_BYTES]
)
def test_keys(key: str) -> None:
    tree.check_key(key)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "is empty"),
        ("a\nb", "printed"),
        ("\0", "printed"),
        ("\udcff", "printed"),
        ("k" * (tree.KEY_BYTES + 1), "longer"),
        ("ö" * tree.KEY_BYTES, "longer"),
    ],
)
def test_keys_that_make_no_sense(key: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        tree.check_key(key)
    with pytest.raises(InvalidArgument, match=words):
        started(key)
    with pytest.raises(InvalidArgument, match=f"snapshot name .*{words}"):
        tree.commit(record("a", "active"), key, labels={}, usage=Usage(0, 0), now=1)


def test_a_taken_key() -> None:
    tree.check_free("key", None)
    with pytest.raises(AlreadyExists, match="key"):
        tree.check_free("key", record("key", "view"))


def test_starting() -> None:
    chain = [record("upper", "committed", "lower"), record("lower", "committed")]
    assert started(chain=chain, labels={"a": "b"}) == SnapshotRecord(
        snapshotter="overlayfs",
        key="key",
        directory=9,
        kind="active",
        parent="upper",
        labels={"a": "b"},
        created_at=5,
        updated_at=5,
    )
    assert started().parent == ""


@pytest.mark.parametrize("kind", ["active", "view"])
def test_only_committed_snapshots_are_parents(kind: SnapshotKind) -> None:
    with pytest.raises(InvalidArgument, match=f"not committed .kind: {kind}"):
        started(chain=[record("parent", kind)])


@pytest.mark.parametrize("labels", [{"": "v"}, {"k": "v" * 4096}])
def test_labels_are_checked(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="label"):
        started(labels=labels)
    with pytest.raises(InvalidArgument, match="label"):
        tree.commit(record("a", "active"), "b", labels=labels, usage=Usage(0, 0), now=1)


def test_committing() -> None:
    active = record("active", "active", "parent")
    done = tree.commit(active, "name", labels={"x": "y"}, usage=Usage(bytes=10, inodes=2), now=8)
    assert done == replace(
        active,
        key="name",
        kind="committed",
        labels={"x": "y"},
        bytes=10,
        inodes=2,
        updated_at=8,
    )


@pytest.mark.parametrize("kind", ["view", "committed"])
def test_only_active_snapshots_are_committed(kind: SnapshotKind) -> None:
    with pytest.raises(FailedPrecondition, match=f"not active .kind: {kind}"):
        tree.commit(record("key", kind), "name", labels={}, usage=Usage(0, 0), now=1)


def test_what_can_be_mounted() -> None:
    tree.check_mountable(record("key", "active"))
    tree.check_mountable(record("key", "view"))
    with pytest.raises(FailedPrecondition) as refused:
        tree.check_mountable(record("key", "committed"))
    assert "view" in refused.value.hint
