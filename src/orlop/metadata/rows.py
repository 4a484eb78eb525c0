"""Rows and records: how a record of ``orlop.ports.metadata`` lies in the database; pure.

A statement and the function that reads its rows belong together: change both or
none. Each statement selects a namespace's rows, the first value to bind; callers
append narrower conditions. Values are always bound, never written into a statement.
"""

from __future__ import annotations

import json
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from msgspec import DecodeError
from msgspec.json import Decoder

from orlop.errors import InvalidReference, StoreCorrupt
from orlop.model.digest import Digest
from orlop.model.labels import validate
from orlop.ports.metadata import (
    BlobEntry,
    BlobRecord,
    ImageEntry,
    ImageName,
    ImageRecord,
    Lease,
    NameEntry,
    Resource,
    SnapshotEntry,
    SnapshotRecord,
    Target,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.ports.metadata import ResourceKind, SnapshotKind

Row: TypeAlias = tuple[str | int | float | bytes | None, ...]
"""What a cursor yields."""

BLOB: Final = "SELECT digest, size, labels, created_at, updated_at FROM blob WHERE namespace = ?"
SNAPSHOT: Final = (
    "SELECT snapshotter, key, directory, kind, coalesce(parent, ''), labels, bytes, "
    "inodes, created_at, updated_at FROM snapshot WHERE namespace = ?"
)
IMAGE: Final = (
    "SELECT id, manifest, platform, snapshotter, chain_id, user, content_bytes, "
    "unpacked_bytes, synced, created_at FROM image WHERE namespace = ?"
)
NAME: Final = (
    "SELECT name, media_type, digest, size, image_id, labels, created_at, updated_at FROM "
    "image_name WHERE namespace = ?"
)
NAME_OF_IMAGE: Final = (
    NAME.replace(" FROM image_name ", " FROM image_name INDEXED BY image_name_image ")
    + " AND image_id = ?"
)
"""Without the hint SQLite reads all names of the namespace in the order of their key."""
NAME_ENTRY: Final = "SELECT name, digest, image_id, labels FROM image_name WHERE namespace = ?"
IMAGE_ENTRY: Final = "SELECT id, manifest, snapshotter, chain_id FROM image WHERE namespace = ?"
BLOB_ENTRY: Final = "SELECT digest, size, labels FROM blob WHERE namespace = ?"
SNAPSHOT_ENTRY: Final = (
    "SELECT snapshotter, key, directory, kind, coalesce(parent, ''), labels, bytes FROM snapshot"
    " WHERE namespace = ?"
)
LEASE: Final = "SELECT id, labels, created_at, expires_at FROM lease WHERE namespace = ?"

_CACHED_DIGESTS: Final = 1 << 15
"""An image's id and target stand in each of its names; checking them once is enough."""

_CACHED_LABELS: Final = 1 << 10
"""Most records of a kind have the same labels."""

_LABELS: Final = Decoder(dict[str, str])


@lru_cache(maxsize=_CACHED_DIGESTS)
def digest(text: str) -> Digest:
    """Read a digest that we wrote; the same object for the same text, mostly.

    Raises:
        StoreCorrupt: it is none: somebody else changed the database.
    """
    try:
        return Digest.parse(text)
    except InvalidReference as error:
        raise StoreCorrupt(f"{error}: metadata database") from error


@lru_cache(maxsize=_CACHED_LABELS)
def labels(text: str) -> Mapping[str, str]:
    """Read labels that we wrote: a read-only view, shared between records.

    Raises:
        StoreCorrupt: they are none.
    """
    try:
        return MappingProxyType(_LABELS.decode(text))
    except DecodeError as error:
        raise StoreCorrupt(f"labels are no JSON ({error}): metadata database") from error


def labels_text(value: Mapping[str, str]) -> str:
    """How labels lie in the database.

    Raises:
        InvalidArgument: one is longer than labels may be.
    """
    validate(value)
    return json.dumps(dict(value), separators=(",", ":"), sort_keys=True)


def label_key(key: str) -> str:
    """What the text of labels has in it when one of them has this key."""
    return json.dumps(key) + ":"


def integer(value: object) -> int:
    """A value of a column that holds integers only (the tables are strict)."""
    assert isinstance(value, int)
    return value


def blob(row: Row) -> BlobRecord:
    """Read a row of ``BLOB``."""
    name, size, label_text, created_at, updated_at = cast("tuple[str, int, str, int, int]", row)
    return BlobRecord(digest(name), size, labels(label_text), created_at, updated_at)


def snapshot(row: Row) -> SnapshotRecord:
    """Read a row of ``SNAPSHOT``."""
    (snapshotter, key, directory, kind, parent, label_text, size, inodes, created, updated) = cast(
        "tuple[str, str, int, SnapshotKind, str, str, int, int, int, int]", row
    )
    return SnapshotRecord(
        snapshotter=snapshotter,
        key=key,
        directory=directory,
        kind=kind,
        parent=parent,
        labels=labels(label_text),
        bytes=size,
        inodes=inodes,
        created_at=created,
        updated_at=updated,
    )


def image(row: Row) -> ImageRecord:
    """Read a row of ``IMAGE``."""
    (id_, manifest, platform, snapshotter, chain_id, user, content, unpacked, synced, created) = (
        cast("tuple[str, str, str, str, str, str, int, int, int, int]", row)
    )
    return ImageRecord(
        id=digest(id_),
        manifest=digest(manifest),
        platform=platform,
        snapshotter=snapshotter,
        chain_id=chain_id,
        user=user,
        content_bytes=content,
        unpacked_bytes=unpacked,
        synced=bool(synced),
        created_at=created,
    )


def name(row: Row) -> ImageName:
    """Read a row of ``NAME``."""
    text, media_type, target, size, image_id, label_text, created_at, updated_at = cast(
        "tuple[str, str, str, int, str, str, int, int]", row
    )
    return ImageName(
        text,
        Target(media_type, digest(target), size),
        digest(image_id),
        labels(label_text),
        created_at,
        updated_at,
    )


def name_entry(row: Row) -> NameEntry:
    """Read a row of ``NAME_ENTRY``."""
    text, target, image_id, label_text = cast("tuple[str, str, str, str]", row)
    return NameEntry(text, target, image_id, labels(label_text))


def image_entry(row: Row) -> ImageEntry:
    """Read a row of ``IMAGE_ENTRY``."""
    return ImageEntry(*cast("tuple[str, str, str, str]", row))


def blob_entry(row: Row) -> BlobEntry:
    """Read a row of ``BLOB_ENTRY``."""
    name, size, label_text = cast("tuple[str, int, str]", row)
    return BlobEntry(name, size, labels(label_text))


def snapshot_entry(row: Row) -> SnapshotEntry:
    """Read a row of ``SNAPSHOT_ENTRY``."""
    snapshotter, key, directory, kind, parent, label_text, size = cast(
        "tuple[str, str, int, SnapshotKind, str, str, int]", row
    )
    return SnapshotEntry(snapshotter, key, directory, kind, parent, labels(label_text), size)


def lease(row: Row) -> Lease:
    """Read a row of ``LEASE``."""
    id_, label_text, created_at, expires_at = cast("tuple[str, str, int, int]", row)
    return Lease(id_, labels(label_text), created_at, expires_at)


def resource(kind: str, id_: str) -> Resource:
    """Read the two columns of a lease's resource."""
    return Resource(cast("ResourceKind", kind), id_)
