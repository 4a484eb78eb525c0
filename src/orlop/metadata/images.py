"""Statements about images and their names. Each function runs in the caller's transaction.

An image is a record: an id in one snapshotter. It has all names of its id, and is
not here any more for a reader when there are none. A name has one target; it
belongs to several ids when the target is an index that was pulled for several
platforms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import NotFound
from orlop.metadata import references, rows
from orlop.ports.metadata import Image

if TYPE_CHECKING:
    from collections.abc import Collection

    import apsw

    from orlop.model.digest import Digest
    from orlop.ports.metadata import ImageName, ImageRecord


def by_id(connection: apsw.Connection, namespace: str, id_: Digest) -> list[Image]:
    """The images of this id, one for each snapshotter, newest first."""
    names = tuple(
        rows.name(row)
        for row in connection.execute(
            rows.NAME_OF_IMAGE + " ORDER BY name",
            (namespace, str(id_)),
        )
    )
    if not names:
        return []
    found = connection.execute(
        rows.IMAGE + " AND id = ? ORDER BY created_at DESC, snapshotter",
        (namespace, str(id_)),
    )
    return [Image(rows.image(row), names) for row in found]


def by_name(connection: apsw.Connection, namespace: str, name: str) -> list[Image]:
    """The images that have exactly this name, newest first."""
    ids = connection.execute(
        "SELECT image_id FROM image_name WHERE namespace = ? AND name = ? ORDER BY image_id",
        (namespace, name),
    ).fetchall()
    found = [
        image for row in ids for image in by_id(connection, namespace, rows.digest(str(row[0])))
    ]
    return sorted(found, key=lambda image: -image.record.created_at)


def by_prefix(
    connection: apsw.Connection, namespace: str, prefix: str, *, limit: int
) -> list[Image]:
    """Images whose id's hex starts with ``prefix``, by id, of at most ``limit`` ids."""
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
    return [
        image for row in found for image in by_id(connection, namespace, rows.digest(str(row[0])))
    ]


def every(connection: apsw.Connection, namespace: str) -> list[Image]:
    """Every image that has a name, by id, of one id the newest first; two statements."""
    names: dict[Digest, list[ImageName]] = {}
    for row in connection.execute(
        rows.NAME + " ORDER BY name",
        (namespace,),
    ):
        name = rows.name(row)
        names.setdefault(name.image_id, []).append(name)
    named = {id_: tuple(found) for id_, found in names.items()}
    return [
        Image(record, named[record.id])
        for record in records(connection, namespace)
        if record.id in named
    ]


def touched_since(connection: apsw.Connection, namespace: str, revision: int) -> list[str]:
    """Ids of the images that have changed, or gone, after ``revision``."""
    found = connection.execute(
        "SELECT image_id FROM image_touched WHERE namespace = ? AND revision > ?",
        (namespace, revision),
    )
    return [str(row[0]) for row in found]


def records(connection: apsw.Connection, namespace: str) -> list[ImageRecord]:
    """Every record, by id; of one id the newest first."""
    found = connection.execute(
        rows.IMAGE + " ORDER BY id, created_at DESC, snapshotter",
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
    """Create a name, or move it; its time of creation stays.

    A name that has another target leaves the images that it belonged to. One that
    has this target already belongs to one image more.

    Raises:
        NotFound: its image id has no record.
    """
    if not _has_record(connection, namespace, str(name.image_id)):
        raise NotFound(f"image {name.image_id}: no record, for the name {name.name}")
    row = connection.execute(
        "SELECT min(created_at) FROM image_name WHERE namespace = ? AND name = ?",
        (namespace, name.name),
    ).fetchone()
    known_since = None if row is None else row[0]
    connection.execute(
        "DELETE FROM image_name WHERE namespace = ? AND name = ? AND digest <> ?",
        (namespace, name.name, str(name.target.digest)),
    )
    connection.execute(
        """
        INSERT INTO image_name (namespace, name, media_type, digest, size, image_id, labels,
            created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET
            media_type = excluded.media_type, size = excluded.size,
            labels = excluded.labels, updated_at = excluded.updated_at
        """,
        (
            namespace,
            name.name,
            name.target.media_type,
            str(name.target.digest),
            name.target.size,
            str(name.image_id),
            rows.labels_text(name.labels),
            known_since or name.created_at or now,
            name.updated_at or now,
        ),
    )


def remove_name(connection: apsw.Connection, namespace: str, name: str) -> bool:
    """Remove one name; records go with their last. False if there was none."""
    removed = connection.execute(
        "DELETE FROM image_name WHERE namespace = ? AND name = ? RETURNING image_id",
        (namespace, name),
    ).fetchall()
    for (id_,) in removed:
        if not _has_name(connection, namespace, str(id_)):
            _remove_records(connection, namespace, str(id_))
    return bool(removed)


def remove(
    connection: apsw.Connection, namespace: str, id_: Digest, *, snapshotter: str = ""
) -> bool:
    """Remove an image's records, of one snapshotter if it is named. False if there were none.

    The names go with the last record.
    """
    id_text = str(id_)
    removed = _remove_records(connection, namespace, id_text, snapshotter=snapshotter)
    if not _has_record(connection, namespace, id_text):
        connection.execute(
            "DELETE FROM image_name INDEXED BY image_name_image"
            " WHERE namespace = ? AND image_id = ?",
            (namespace, id_text),
        )
    return removed


def remove_together(
    connection: apsw.Connection, namespace: str, names: Collection[str], ids: Collection[Digest]
) -> bool:
    """Remove names, and images with all their names. False if there was none of them."""
    removed = [remove_name(connection, namespace, name) for name in names]
    removed += [remove(connection, namespace, id_) for id_ in ids]
    return any(removed)


def _remove_records(
    connection: apsw.Connection, namespace: str, id_: str, *, snapshotter: str = ""
) -> bool:
    """Remove records, and what documents that stay refer to for their sake alone.

    Such documents are the config, and indexes.
    """
    removed = connection.execute(
        "DELETE FROM image WHERE namespace = ?1 AND id = ?2 AND (?3 = '' OR snapshotter = ?3)"
        " RETURNING snapshotter, manifest",
        (namespace, id_, snapshotter),
    ).fetchall()
    stays = _has_record(connection, namespace, id_)
    for one, manifest in removed:
        if stays:
            references.forget_snapshot(connection, namespace, config=id_, snapshotter=str(one))
        else:
            references.forget_manifest(connection, namespace, str(manifest))
    return bool(removed)


def _has_record(connection: apsw.Connection, namespace: str, id_: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM image WHERE namespace = ? AND id = ?", (namespace, id_)
    )
    return found.fetchone() is not None


def _has_name(connection: apsw.Connection, namespace: str, id_: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM image_name INDEXED BY image_name_image WHERE namespace = ? AND image_id = ?",
        (namespace, id_),
    )
    return found.fetchone() is not None
