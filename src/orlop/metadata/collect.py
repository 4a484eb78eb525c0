"""Statements for the garbage collector. Each function runs in the caller's transaction.

What is garbage is decided elsewhere (``orlop.gc``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import SnapshotInUse
from orlop.metadata import content, images, leases, rows, snapshots
from orlop.ports.metadata import Inventory, Swept

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from orlop.model.digest import Digest
    from orlop.ports.metadata import Garbage

_NEXT_NAMESPACE: Final = """
SELECT min(name) FROM (
    SELECT min(namespace) AS name FROM blob WHERE namespace > ?1
    UNION ALL SELECT min(namespace) FROM snapshot WHERE namespace > ?1
    UNION ALL SELECT min(namespace) FROM image WHERE namespace > ?1
    UNION ALL SELECT min(namespace) FROM image_name WHERE namespace > ?1
    UNION ALL SELECT min(namespace) FROM lease WHERE namespace > ?1
)
"""
"""The first one after another; each table's key begins with it. (For a DISTINCT, SQLite
reads a whole index, however few values are in it.)"""


def namespaces(connection: apsw.Connection) -> list[str]:
    """Every namespace that has anything in it, sorted; five look-ups for each."""
    found: list[str] = []
    while True:
        last = found[-1] if found else ""
        row = connection.execute(_NEXT_NAMESPACE, (last,)).fetchone()
        if row is None or row[0] is None:
            return found
        found.append(str(row[0]))


def inventory(connection: apsw.Connection, namespace: str) -> Inventory:
    """Everything in a namespace, in the order of the keys."""

    def every(statement: str) -> apsw.Cursor:
        return connection.execute(statement, (namespace,))

    return Inventory(
        namespace=namespace,
        names=tuple(map(rows.name_entry, every(rows.NAME_ENTRY))),
        records=tuple(map(rows.image_entry, every(rows.IMAGE_ENTRY))),
        blobs=tuple(map(rows.blob_entry, every(rows.BLOB_ENTRY))),
        snapshots=tuple(map(rows.snapshot_entry, every(rows.SNAPSHOT_ENTRY))),
        leases=tuple(leases.leases(connection, namespace)),
        resources=tuple(leases.every_resource(connection, namespace)),
        revision=revision(connection, namespace),
    )


def revision(connection: apsw.Connection, namespace: str) -> int:
    """How many transactions have changed the namespace."""
    row = connection.execute(
        "SELECT number FROM revision WHERE namespace = ?", (namespace,)
    ).fetchone()
    return 0 if row is None else rows.integer(row[0])


def count_change(connection: apsw.Connection, namespace: str) -> None:
    """Note that this transaction changes the namespace."""
    connection.execute(
        "INSERT INTO revision (namespace, number) VALUES (?, 1)"
        " ON CONFLICT DO UPDATE SET number = number + 1",
        (namespace,),
    )


def sweep(connection: apsw.Connection, namespace: str, garbage: Garbage) -> Swept:
    """Remove the rows, and say which files nobody has a row for any more.

    Rows that are gone already are passed over.

    Raises:
        SnapshotInUse: a snapshot's child is not garbage.
    """
    for name in garbage.names:
        images.remove_name(connection, namespace, name)
    connection.executemany(
        "DELETE FROM lease WHERE namespace = ? AND id = ?",
        [(namespace, id_) for id_ in garbage.leases],
    )
    for id_, snapshotter in garbage.records:
        images.remove(connection, namespace, id_, snapshotter=snapshotter)
    blobs, blob_bytes = _sweep_blobs(connection, namespace, garbage.blobs)
    directories, tree_bytes = _sweep_snapshots(connection, namespace, garbage.snapshots)
    return Swept(
        blobs=blobs,
        directories=directories,
        bytes=blob_bytes + tree_bytes,
        directory_bytes=tree_bytes,
    )


def _sweep_blobs(
    connection: apsw.Connection, namespace: str, garbage: Sequence[Digest]
) -> tuple[tuple[Digest, ...], int]:
    unused: list[Digest] = []
    freed = 0
    for digest in garbage:
        row = connection.execute(
            "DELETE FROM blob WHERE namespace = ? AND digest = ? RETURNING size",
            (namespace, str(digest)),
        ).fetchone()
        if row is not None and content.is_unused(connection, digest):
            unused.append(digest)
            freed += rows.integer(row[0])
    return tuple(unused), freed


def _sweep_snapshots(
    connection: apsw.Connection, namespace: str, garbage: Sequence[tuple[str, str]]
) -> tuple[tuple[tuple[str, int], ...], int]:
    removed: dict[tuple[str, int], int] = {}
    for snapshotter, key in garbage:
        row = connection.execute(
            "DELETE FROM snapshot WHERE namespace = ? AND snapshotter = ? AND key = ?"
            " RETURNING directory, bytes",
            (namespace, snapshotter, key),
        ).fetchone()
        if row is not None:
            removed[snapshotter, rows.integer(row[0])] = rows.integer(row[1])
    # Only now: children may have gone after their parents.
    for snapshotter, key in garbage:
        if child := snapshots.has_child(connection, namespace, snapshotter, key):
            raise SnapshotInUse(f"snapshot {key} is the parent of {child}")
    unused = {place: size for place, size in removed.items() if not _is_used(connection, *place)}
    return tuple(unused), sum(unused.values())


def _is_used(connection: apsw.Connection, snapshotter: str, directory: int) -> bool:
    found = connection.execute(
        "SELECT 1 FROM snapshot WHERE snapshotter = ? AND directory = ?", (snapshotter, directory)
    )
    return found.fetchone() is not None
