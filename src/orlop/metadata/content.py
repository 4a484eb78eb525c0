"""Statements about blobs. Each function runs in the caller's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import InvalidArgument
from orlop.metadata import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from orlop.model.digest import Digest
    from orlop.ports.metadata import BlobRecord


def blob(connection: apsw.Connection, namespace: str, digest: Digest) -> BlobRecord | None:
    """One blob's record."""
    row = connection.execute(
        rows.BLOB + " AND digest = ?",
        (namespace, str(digest)),
    ).fetchone()
    return None if row is None else rows.blob(row)


def blobs(connection: apsw.Connection, namespace: str) -> list[BlobRecord]:
    """All of a namespace's blobs, by digest."""
    found = connection.execute(
        rows.BLOB + " ORDER BY digest",
        (namespace,),
    )
    return [rows.blob(row) for row in found]


def digests(connection: apsw.Connection) -> set[str]:
    """The digest of every blob that any namespace has a record of, as text."""
    return {str(row[0]) for row in connection.execute("SELECT digest FROM blob")}


def exists(connection: apsw.Connection, namespace: str, digest: Digest) -> bool:
    """True when the namespace has a record of it."""
    found = connection.execute(
        "SELECT 1 FROM blob WHERE namespace = ? AND digest = ?", (namespace, str(digest))
    )
    return found.fetchone() is not None


def known(
    connection: apsw.Connection, namespace: str, digests: Sequence[Digest]
) -> dict[Digest, BlobRecord]:
    """The records of those of these that have one."""
    found = {digest: blob(connection, namespace, digest) for digest in digests}
    return {digest: record for digest, record in found.items() if record is not None}


def put(connection: apsw.Connection, namespace: str, record: BlobRecord, *, now: int) -> None:
    """Create a record, or merge labels into it.

    Raises:
        InvalidArgument: a record of the same digest has another size.
    """
    digest = str(record.digest)
    known = connection.execute("SELECT size FROM blob WHERE digest = ?", (digest,)).fetchone()
    if known is not None and known[0] != record.size:
        raise InvalidArgument(f"blob {digest} has {known[0]} bytes, not {record.size}")
    connection.execute(
        """
        INSERT INTO blob (namespace, digest, size, labels, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET
            labels = json_patch(labels, excluded.labels), updated_at = excluded.updated_at
        """,
        (
            namespace,
            digest,
            record.size,
            rows.labels_text(record.labels),
            record.created_at or now,
            record.updated_at or now,
        ),
    )


def remove(connection: apsw.Connection, namespace: str, digest: Digest) -> bool:
    """Remove a record; True when no namespace has one any more."""
    connection.execute(
        "DELETE FROM blob WHERE namespace = ? AND digest = ?", (namespace, str(digest))
    )
    return is_unused(connection, digest)


def is_unused(connection: apsw.Connection, digest: Digest) -> bool:
    """True when no namespace has a record of it."""
    found = connection.execute("SELECT 1 FROM blob WHERE digest = ?", (str(digest),))
    return found.fetchone() is None
