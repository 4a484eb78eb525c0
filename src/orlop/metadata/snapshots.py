"""Statements about snapshots. Each function runs in the caller's transaction.

Only what the database must be sure of is checked here (keys are unique, parents
exist); who may be whose parent is decided by ``orlop.snapshots``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.errors import AlreadyExists, NotFound, SnapshotInUse
from orlop.metadata import damage, rows
from orlop.model.labels import SNAPSHOT_MANIFEST
from orlop.ports.metadata import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    import apsw

    from orlop.ports.metadata import SnapshotRecord


def snapshot(
    connection: apsw.Connection, namespace: str, snapshotter: str, key: str
) -> SnapshotRecord | None:
    """One snapshot."""
    row = connection.execute(
        rows.SNAPSHOT + " AND snapshotter = ? AND key = ?",
        (namespace, snapshotter, key),
    ).fetchone()
    return None if row is None else rows.snapshot(row)


def snapshots(
    connection: apsw.Connection, namespace: str, snapshotter: str = "", label: str = ""
) -> list[SnapshotRecord]:
    """All of a namespace's snapshots (of one snapshotter, if named), by key.

    With a label only those that have it. SQLite passes over most of the others, so that few
    records are made.
    """
    found = connection.execute(
        rows.SNAPSHOT + " AND (?2 = '' OR snapshotter = ?2) AND (?3 = '' OR instr(labels, ?3))"
        " ORDER BY key, snapshotter",
        (namespace, snapshotter, label and rows.label_key(label)),
    )
    return [one for one in map(rows.snapshot, found) if not label or label in one.labels]


def chain(
    connection: apsw.Connection, namespace: str, snapshotter: str, key: str
) -> list[SnapshotRecord]:
    """The snapshot and its parents, topmost first.

    Raises:
        NotFound: it, or one of its parents, has no record.
    """
    records: list[SnapshotRecord] = []
    while key or not records:
        records.append(_existing(connection, namespace, snapshotter, key))
        key = records[-1].parent
    return records


def add(connection: apsw.Connection, namespace: str, record: SnapshotRecord, *, now: int) -> None:
    """Insert it.

    Raises:
        AlreadyExists: the key is taken.
        NotFound: the parent has no record.
    """
    if snapshot(connection, namespace, record.snapshotter, record.key) is not None:
        raise AlreadyExists(f"snapshot {record.key}: the key is taken in {record.snapshotter}")
    if record.parent:
        _existing(connection, namespace, record.snapshotter, record.parent)
    connection.execute(
        """
        INSERT INTO snapshot (namespace, snapshotter, key, directory, kind, parent, labels, bytes,
            inodes, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, nullif(?, ''), ?, ?, ?, ?, ?)
        """,
        (
            namespace,
            record.snapshotter,
            record.key,
            record.directory,
            record.kind,
            record.parent,
            rows.labels_text(record.labels),
            record.bytes,
            record.inodes,
            record.created_at or now,
            record.updated_at or now,
        ),
    )


def merge(connection: apsw.Connection, namespace: str, record: SnapshotRecord, *, now: int) -> None:
    """Insert it, or merge its labels into the record that has the key. Raises NotFound.

    A record whose tree is damaged takes over the directory of ``record``, as do all that
    share it. Any other keeps its own, and the manifest that belongs to it.
    """
    known = snapshot(connection, namespace, record.snapshotter, record.key)
    if known is None:
        add(connection, namespace, record, now=now)
        return
    if known.directory != record.directory:
        if damage.is_damaged(connection, known):
            _move(connection, known, record, now=now)
        own = {key: value for key, value in record.labels.items() if key != SNAPSHOT_MANIFEST}
        record = replace(record, labels=own)
    connection.execute(
        "UPDATE snapshot SET labels = json_patch(labels, ?), updated_at = ?"
        " WHERE namespace = ? AND snapshotter = ? AND key = ?",
        (
            rows.labels_text(record.labels),
            record.updated_at or now,
            namespace,
            record.snapshotter,
            record.key,
        ),
    )


def _move(
    connection: apsw.Connection, old: SnapshotRecord, new: SnapshotRecord, *, now: int
) -> None:
    """Have all records of one directory name another one."""
    found = connection.execute(
        "SELECT namespace, key FROM snapshot WHERE snapshotter = ? AND directory = ?",
        (old.snapshotter, old.directory),
    ).fetchall()
    moved = []
    for namespace, key in found:
        record = _existing(connection, str(namespace), old.snapshotter, str(key))
        record = replace(
            record,
            directory=new.directory,
            bytes=new.bytes,
            inodes=new.inodes,
            labels={**record.labels, **new.labels},
            updated_at=new.updated_at or now,
        )
        moved.append((str(namespace), record))
    # In this order: each directory is counted, and its damage forgotten, with its last row.
    connection.execute(
        "DELETE FROM snapshot WHERE snapshotter = ? AND directory = ?",
        (old.snapshotter, old.directory),
    )
    for namespace, record in moved:
        add(connection, namespace, record, now=now)


def commit(
    connection: apsw.Connection,
    namespace: str,
    snapshotter: str,
    key: str,
    committed: SnapshotRecord,
    *,
    now: int,
) -> None:
    """Replace the active snapshot ``key`` by the committed one.

    Raises:
        AlreadyExists: the new key is taken.
        NotFound: there is no active snapshot ``key``, or the parent has no record.
    """
    active = snapshot(connection, namespace, snapshotter, key)
    if active is None or active.kind != "active":
        raise NotFound(f"snapshot {key}: not active in {snapshotter}")
    if snapshot(connection, namespace, snapshotter, committed.key) is not None:
        raise AlreadyExists(f"snapshot {committed.key}: the key is taken in {snapshotter}")
    # In this order: two rows for one directory would be counted as one file.
    connection.execute(
        "DELETE FROM snapshot WHERE namespace = ? AND snapshotter = ? AND key = ?",
        (namespace, snapshotter, key),
    )
    add(connection, namespace, committed, now=now)


def label(
    connection: apsw.Connection,
    namespace: str,
    snapshotter: str,
    key: str,
    labels: Mapping[str, str],
    *,
    now: int,
) -> SnapshotRecord:
    """Replace its labels. Raises NotFound."""
    connection.execute(
        "UPDATE snapshot SET labels = ?, updated_at = ?"
        " WHERE namespace = ? AND snapshotter = ? AND key = ?",
        (rows.labels_text(labels), now, namespace, snapshotter, key),
    )
    return _existing(connection, namespace, snapshotter, key)


def remove(
    connection: apsw.Connection, namespace: str, snapshotter: str, key: str
) -> SnapshotRecord:
    """Remove it and return what it was.

    Raises:
        NotFound: there is none.
        SnapshotInUse: it has children.
    """
    record = _existing(connection, namespace, snapshotter, key)
    if child := has_child(connection, namespace, snapshotter, key):
        raise SnapshotInUse(f"snapshot {key} is the parent of {child}")
    connection.execute(
        "DELETE FROM snapshot WHERE namespace = ? AND snapshotter = ? AND key = ?",
        (namespace, snapshotter, key),
    )
    return record


def has_child(connection: apsw.Connection, namespace: str, snapshotter: str, key: str) -> str:
    """Key of one of its children; "" if it has none."""
    row = connection.execute(
        "SELECT key FROM snapshot WHERE namespace = ? AND snapshotter = ? AND parent = ? LIMIT 1",
        (namespace, snapshotter, key),
    ).fetchone()
    return "" if row is None else str(row[0])


def directories(connection: apsw.Connection, snapshotter: str) -> set[int]:
    """Every directory number that any namespace uses."""
    found = connection.execute(
        "SELECT DISTINCT directory FROM snapshot WHERE snapshotter = ?", (snapshotter,)
    )
    return {rows.integer(row[0]) for row in found}


def usage(connection: apsw.Connection) -> dict[str, Usage]:
    """What the trees of each snapshotter occupy, each tree once."""
    found = connection.execute(
        "SELECT snapshotter, sum(bytes), sum(inodes) FROM"
        " (SELECT DISTINCT snapshotter, directory, bytes, inodes FROM snapshot)"
        " GROUP BY snapshotter"
    )
    return {
        str(name): Usage(bytes=rows.integer(size), inodes=rows.integer(inodes))
        for name, size, inodes in found
    }


def _existing(
    connection: apsw.Connection, namespace: str, snapshotter: str, key: str
) -> SnapshotRecord:
    record = snapshot(connection, namespace, snapshotter, key)
    if record is None:
        raise NotFound(f"snapshot {key}: no record in {snapshotter}")
    return record
