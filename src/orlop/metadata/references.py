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
    from collections.abc import Mapping

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


def forget_manifest(connection: apsw.Connection, namespace: str, manifest: str) -> None:
    """Have all indexes refer to a manifest no longer, and none to an index that leads nowhere.

    Whatever names they have now: a name may have moved since the index was pulled.
    """
    found = connection.execute(
        "SELECT digest FROM blob WHERE namespace = ? AND instr(labels, ?)",
        (namespace, f'"{manifest}"'),
    ).fetchall()
    for row in found:
        index = str(row[0])
        labelled = _labels(connection, namespace, index)
        children = {key for key in labelled if key.startswith(labels.GC_REF_MANIFEST)}
        gone = {key for key in children if labelled[key] == manifest}
        if not gone:
            continue
        left = {key: value for key, value in labelled.items() if key not in gone}
        _put_labels(connection, namespace, index, left)
        if gone == children:
            forget_manifest(connection, namespace, index)


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
