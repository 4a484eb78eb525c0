"""Statements about damage: which files are known not to be what their records say.

Each function runs in the caller's transaction. A mark belongs to the file, not to a
namespace; it goes with the last record of the file, and when the file is replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.metadata import rows
from orlop.ports.metadata import Damage

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

    from orlop.model.digest import Digest
    from orlop.ports.metadata import SnapshotRecord


def damage(connection: apsw.Connection) -> Damage:
    """All that is marked."""
    blobs: set[Digest] = set()
    trees: set[tuple[str, int]] = set()
    for kind, snapshotter, id_ in connection.execute("SELECT kind, snapshotter, id FROM damage"):
        if kind == "blob":
            blobs.add(rows.digest(str(id_)))
        else:
            trees.add((str(snapshotter), int(str(id_))))
    return Damage(frozenset(blobs), frozenset(trees))


def mark(connection: apsw.Connection, found: Damage, *, now: int) -> None:
    """Mark files; those without a record are passed over."""
    connection.executemany(
        "INSERT OR IGNORE INTO damage SELECT DISTINCT 'blob', '', digest, ? FROM blob"
        " WHERE digest = ?",
        [(now, str(digest)) for digest in found.blobs],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO damage SELECT DISTINCT 'tree', snapshotter, directory, ?"
        " FROM snapshot WHERE snapshotter = ? AND directory = ?",
        [(now, *place) for place in found.trees],
    )


def is_damaged(connection: apsw.Connection, record: SnapshotRecord) -> bool:
    """True when the tree of a snapshot is marked."""
    found = connection.execute(
        "SELECT 1 FROM damage WHERE kind = 'tree' AND snapshotter = ? AND id = ?",
        (record.snapshotter, str(record.directory)),
    )
    return found.fetchone() is not None


def clear(connection: apsw.Connection, sound: Damage) -> None:
    """Take marks away from files that are what they should be."""
    clear_blobs(connection, sound.blobs)
    connection.executemany(
        "DELETE FROM damage WHERE kind = 'tree' AND snapshotter = ? AND id = ?",
        [(snapshotter, str(directory)) for snapshotter, directory in sound.trees],
    )


def clear_blobs(connection: apsw.Connection, digests: Iterable[Digest]) -> None:
    """Take marks away from blobs."""
    connection.executemany(
        "DELETE FROM damage WHERE kind = 'blob' AND id = ?", [(str(one),) for one in digests]
    )


def images(connection: apsw.Connection, namespace: str) -> frozenset[tuple[str, str]]:
    """Id and snapshotter of the images that no container can be started from.

    What counts is what containers need: manifest, config, and the trees of the chain.
    """
    if connection.execute("SELECT 1 FROM damage LIMIT 1").fetchone() is None:
        return frozenset()
    found = connection.execute(
        """
        WITH RECURSIVE bad (snapshotter, key) AS (
            SELECT snapshot.snapshotter, snapshot.key FROM snapshot JOIN damage
            ON damage.kind = 'tree' AND damage.snapshotter = snapshot.snapshotter
                AND damage.id = CAST(directory AS TEXT)
            WHERE namespace = ?1
            UNION
            SELECT child.snapshotter, child.key FROM snapshot AS child JOIN bad
            ON child.snapshotter = bad.snapshotter AND child.parent = bad.key
            WHERE namespace = ?1
        )
        SELECT id, snapshotter FROM image WHERE namespace = ?1 AND (
            (snapshotter, chain_id) IN bad
            OR id IN (SELECT id FROM damage WHERE kind = 'blob')
            OR manifest IN (SELECT id FROM damage WHERE kind = 'blob')
        )
        """,
        (namespace,),
    )
    return frozenset((str(id_), str(snapshotter)) for id_, snapshotter in found)
