"""References in the labels of documents, when an image goes that they were written for.

A pull writes into the labels of an index which manifest it chose, and into those
of a config in which snapshotters it is unpacked. An index that was pulled for
several platforms, or a config that is unpacked twice, outlives one of its images;
what is left in its labels then would keep blobs and snapshots for nobody.

Each function runs in the caller's transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.metadata import rows
from orlop.model import labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import apsw


def forget_snapshot(
    connection: apsw.Connection, namespace: str, *, config: str, snapshotter: str
) -> None:
    """Have a config refer no longer to its snapshot in ``snapshotter``."""
    found = _labels(connection, namespace, config)
    key = labels.gc_ref_snapshot(snapshotter)
    if key in found:
        left = {name: value for name, value in found.items() if name != key}
        _put_labels(connection, namespace, config, left)


def forget_manifest(
    connection: apsw.Connection, namespace: str, manifest: str, targets: Iterable[str]
) -> None:
    """Have the indexes that lead from ``targets`` to a manifest refer to it no longer."""
    seen: set[str] = set()
    for target in targets:
        if target != manifest:
            _forget(connection, namespace, target, manifest, seen)


def _forget(
    connection: apsw.Connection, namespace: str, index: str, manifest: str, seen: set[str]
) -> bool:
    """Take a manifest out of an index and those below it; True when the index leads nowhere."""
    if index in seen:
        return False
    seen.add(index)
    found = _labels(connection, namespace, index)
    children = {
        key: value for key, value in found.items() if key.startswith(labels.GC_REF_MANIFEST)
    }
    gone = {
        key
        for key, child in children.items()
        if child == manifest or _forget(connection, namespace, child, manifest, seen)
    }
    if gone:
        left = {key: value for key, value in found.items() if key not in gone}
        _put_labels(connection, namespace, index, left)
    return bool(gone) and gone == set(children)


def _labels(connection: apsw.Connection, namespace: str, digest: str) -> Mapping[str, str]:
    row = connection.execute(
        "SELECT labels FROM blob WHERE namespace = ? AND digest = ?", (namespace, digest)
    ).fetchone()
    return {} if row is None else rows.labels(str(row[0]))


def _put_labels(
    connection: apsw.Connection, namespace: str, digest: str, value: Mapping[str, str]
) -> None:
    connection.execute(
        "UPDATE blob SET labels = ? WHERE namespace = ? AND digest = ?",
        (rows.labels_text(value), namespace, digest),
    )
