"""Statements about images and their names. Each function runs in the caller's transaction.

An image without a name is not here any more for a reader; the garbage collector
removes its record. Of an id that is unpacked in several snapshotters, readers
see the newest record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import NotFound
from orlop.metadata import rows
from orlop.ports.metadata import Image

if TYPE_CHECKING:
    import apsw

    from orlop.model.digest import Digest
    from orlop.ports.metadata import ImageName, ImageRecord


def by_id(connection: apsw.Connection, namespace: str, id_: Digest) -> Image | None:
    """The image of this id."""
    row = connection.execute(
        rows.IMAGE + " AND id = ? ORDER BY created_at DESC, snapshotter LIMIT 1",
        (namespace, str(id_)),
    ).fetchone()
    names = connection.execute(
        rows.NAME_OF_IMAGE + " ORDER BY name",
        (namespace, str(id_)),
    ).fetchall()
    if row is None or not names:
        return None
    return Image(rows.image(row), tuple(rows.name(name) for name in names))


def by_name(connection: apsw.Connection, namespace: str, name: str) -> Image | None:
    """The image that exactly this name points at."""
    row = connection.execute(
        "SELECT image_id FROM image_name WHERE namespace = ? AND name = ?", (namespace, name)
    ).fetchone()
    return None if row is None else by_id(connection, namespace, rows.digest(str(row[0])))


def by_prefix(
    connection: apsw.Connection, namespace: str, prefix: str, *, limit: int
) -> list[Image]:
    """Images whose id's hex starts with ``prefix``, by id, at most ``limit``."""
    found = connection.execute(
        """
        SELECT image_id FROM image_name INDEXED BY image_name_image
        WHERE namespace = ?1 AND image_id BETWEEN 'sha256:' || ?2 AND 'sha256:' || ?2 || 'g'
        UNION
        SELECT image_id FROM image_name INDEXED BY image_name_image
        WHERE namespace = ?1 AND image_id BETWEEN 'sha512:' || ?2 AND 'sha512:' || ?2 || 'g'
        ORDER BY image_id LIMIT ?3
        """,
        (namespace, prefix, limit),
    ).fetchall()
    images = (by_id(connection, namespace, rows.digest(str(row[0]))) for row in found)
    return [image for image in images if image is not None]


def every(connection: apsw.Connection, namespace: str) -> list[Image]:
    """Every image that has a name, by id; three statements, whatever their number."""
    names: dict[Digest, list[ImageName]] = {}
    for row in connection.execute(
        rows.NAME + " ORDER BY name",
        (namespace,),
    ):
        name = rows.name(row)
        names.setdefault(name.image_id, []).append(name)
    newest = {record.id: record for record in records(connection, namespace)}
    return [
        Image(record, tuple(names[record.id])) for record in newest.values() if record.id in names
    ]


def touched_since(connection: apsw.Connection, namespace: str, revision: int) -> list[str]:
    """Ids of the images that have changed, or gone, after ``revision``."""
    found = connection.execute(
        "SELECT image_id FROM image_touched WHERE namespace = ? AND revision > ?",
        (namespace, revision),
    )
    return [str(row[0]) for row in found]


def records(connection: apsw.Connection, namespace: str) -> list[ImageRecord]:
    """Every record, by id; of one id the newest last."""
    found = connection.execute(
        rows.IMAGE + " ORDER BY id, created_at, snapshotter DESC",
        (namespace,),
    )
    return [rows.image(row) for row in found]


def put_record(
    connection: apsw.Connection, namespace: str, record: ImageRecord, *, now: int
) -> None:
    """Write a record in the place of an older one of the same id and snapshotter."""
    connection.execute(
        """
        INSERT OR REPLACE INTO image (namespace, id, manifest, platform, snapshotter, chain_id,
            user, content_bytes, unpacked_bytes, synced, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            namespace,
            str(record.id),
            str(record.manifest),
            record.platform,
            record.snapshotter,
            record.chain_id,
            record.user,
            record.content_bytes,
            record.unpacked_bytes,
            record.synced,
            record.created_at or now,
        ),
    )


def put_name(connection: apsw.Connection, namespace: str, name: ImageName, *, now: int) -> None:
    """Create or move a name; its time of creation stays.

    Raises:
        NotFound: its image id has no record.
    """
    known = connection.execute(
        "SELECT 1 FROM image WHERE namespace = ? AND id = ?", (namespace, str(name.image_id))
    )
    if known.fetchone() is None:
        raise NotFound(f"image {name.image_id}: no record, for the name {name.name}")
    connection.execute(
        """
        INSERT INTO image_name (namespace, name, media_type, digest, size, image_id, labels,
            created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET
            media_type = excluded.media_type, digest = excluded.digest, size = excluded.size,
            image_id = excluded.image_id, labels = excluded.labels,
            updated_at = excluded.updated_at
        """,
        (
            namespace,
            name.name,
            name.target.media_type,
            str(name.target.digest),
            name.target.size,
            str(name.image_id),
            rows.labels_text(name.labels),
            name.created_at or now,
            name.updated_at or now,
        ),
    )


def remove_name(connection: apsw.Connection, namespace: str, name: str) -> bool:
    """Remove one name; the image's record goes with its last. False if there was none."""
    row = connection.execute(
        "DELETE FROM image_name WHERE namespace = ? AND name = ? RETURNING image_id",
        (namespace, name),
    ).fetchone()
    if row is None:
        return False
    connection.execute(
        """
        DELETE FROM image WHERE namespace = ?1 AND id = ?2 AND NOT EXISTS (
            SELECT 1 FROM image_name INDEXED BY image_name_image
            WHERE namespace = ?1 AND image_id = ?2)
        """,
        (namespace, row[0]),
    )
    return True


def remove(connection: apsw.Connection, namespace: str, id_: Digest) -> bool:
    """Remove an image's records and names. False if there were none."""
    before = connection.total_changes()
    for statement in (
        "DELETE FROM image_name INDEXED BY image_name_image WHERE namespace = ? AND image_id = ?",
        "DELETE FROM image WHERE namespace = ? AND id = ?",
    ):
        connection.execute(statement, (namespace, str(id_)))
    return connection.total_changes() > before
