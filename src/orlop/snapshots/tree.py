"""The tree of snapshots: who may be a parent, what may be committed, what a key is.

Pure: takes records and returns records or raises. The answers are those of
containerd's snapshot service (docs/snapshotters/README.md and
core/snapshots/storage of containerd). That a key is free and that a snapshot
has no children is decided by the database, in the transaction that relies on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from orlop.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from orlop.model import labels as label_rules
from orlop.model.quote import quote
from orlop.ports.metadata import SnapshotRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orlop.ports.metadata import Usage

KEY_BYTES: Final = 1024
"""Longest key. Chain ids have 71 bytes, and containerd's keys for unpacking some 120; a
key stands in an index of the database, and must not be a way to fill it."""


def check_key(key: str, what: str = "snapshot key") -> None:
    """Refuse a key that nobody can mean.

    Raises:
        InvalidArgument: it is empty, too long, or has characters that are not for print.
    """
    if not key:
        raise InvalidArgument(f"{what} is empty")
    if not key.isprintable():
        raise InvalidArgument(f"{what} {quote(key)} has characters that cannot be printed")
    if len(key.encode()) > KEY_BYTES:
        raise InvalidArgument(f"{what} {quote(key)} is longer than {KEY_BYTES} bytes")


def check_free(key: str, taken: SnapshotRecord | None) -> None:
    """Refuse a key that has a record. Raises AlreadyExists."""
    if taken is not None:
        raise AlreadyExists(f"snapshot {quote(key)} exists already")


def start(
    kind: Literal["active", "view"],
    key: str,
    *,
    snapshotter: str,
    chain: Sequence[SnapshotRecord],
    directory: int,
    labels: Mapping[str, str],
    now: int,
) -> SnapshotRecord:
    """The record of a new active snapshot or view.

    Args:
        kind: what it is to be.
        key: its name, new in its namespace and snapshotter.
        snapshotter: who keeps it.
        chain: its parent and the parent's parents, topmost first; empty for none.
        directory: its number on disk.
        labels: its labels.
        now: time of the record, ns since the epoch.

    Raises:
        InvalidArgument: the key or a label is bad, or the parent is not committed.
    """
    check_key(key)
    label_rules.validate(labels)
    if chain and chain[0].kind != "committed":
        raise InvalidArgument(
            f"parent {quote(chain[0].key)} is not committed (kind: {chain[0].kind})",
            hint="commit the parent first",
        )
    return SnapshotRecord(
        snapshotter=snapshotter,
        key=key,
        directory=directory,
        kind=kind,
        parent=chain[0].key if chain else "",
        labels=dict(labels),
        created_at=now,
        updated_at=now,
    )


def check_committable(record: SnapshotRecord) -> None:
    """Refuse to commit what is no active snapshot. Raises FailedPrecondition."""
    if record.kind != "active":
        raise FailedPrecondition(
            f"snapshot {quote(record.key)} is not active (kind: {record.kind})"
        )


def commit(
    active: SnapshotRecord, name: str, *, labels: Mapping[str, str], usage: Usage, now: int
) -> SnapshotRecord:
    """The committed record that takes the place of ``active``; its labels are new.

    Raises:
        InvalidArgument: the name or a label is bad.
        FailedPrecondition: ``active`` is not active.
    """
    check_key(name, "snapshot name")
    label_rules.validate(labels)
    check_committable(active)
    return replace(
        active,
        key=name,
        kind="committed",
        labels=dict(labels),
        bytes=usage.bytes,
        inodes=usage.inodes,
        updated_at=now,
    )


def check_mountable(record: SnapshotRecord) -> None:
    """Refuse to mount what never changes again but through a view.

    Raises:
        FailedPrecondition: the snapshot is committed.
    """
    if record.kind == "committed":
        raise FailedPrecondition(
            f"snapshot {quote(record.key)} is committed and cannot be mounted",
            hint="prepare a snapshot or a view on top of it and mount that",
        )
