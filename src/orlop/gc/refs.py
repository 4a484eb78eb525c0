"""References in labels, in containerd's grammar; pure.

::

    containerd.io/gc.root                       keep this, whatever the value
    containerd.io/gc.ref.content[.NAME|/NAME]   refers to the blob VALUE
    containerd.io/gc.ref.snapshot.S[/NAME]      refers to the snapshot VALUE of snapshotter S
    containerd.io/gc.flat                       on a lease: do not follow references
    containerd.io/gc.expire                     on a lease: RFC 3339 time of its end

Source: containerd, docs/garbage-collection.md. A value that makes no sense refers
to nothing: labels can be written by clients, and must not stop a collection.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from orlop.model.labels import GC_EXPIRE, GC_FLAT, GC_REF_CONTENT, GC_REF_SNAPSHOT, GC_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NodeKind = Literal["content", "snapshot", "image"]

_BILLION = 1_000_000_000


class Node(NamedTuple):
    """Something that can be kept or collected.

    Attributes:
        kind: of what.
        id: the digest of a blob, ``SNAPSHOTTER/KEY``, or ``SNAPSHOTTER/ID`` of an image record.
    """

    kind: NodeKind
    id: str


def content(digest: str) -> Node:
    """The node of a blob."""
    return Node("content", digest)


def snapshot(snapshotter: str, key: str) -> Node:
    """The node of a snapshot."""
    return Node("snapshot", f"{snapshotter}/{key}")


def image(snapshotter: str, id_: str) -> Node:
    """The node of an image record."""
    return Node("image", f"{snapshotter}/{id_}")


def references(labels: Mapping[str, str]) -> Iterator[Node]:
    """What the thing with these labels refers to."""
    for key, value in labels.items():
        if key.startswith(GC_REF_SNAPSHOT):
            snapshotter = key[len(GC_REF_SNAPSHOT) :].partition("/")[0]
            if snapshotter:
                yield snapshot(snapshotter, value)
        elif key.startswith(GC_REF_CONTENT):
            rest = key[len(GC_REF_CONTENT) :]
            if not rest or rest[0] in "./":
                yield content(value)


def is_root(labels: Mapping[str, str]) -> bool:
    """True when the thing with these labels is kept for its own sake."""
    return GC_ROOT in labels


def is_flat(labels: Mapping[str, str]) -> bool:
    """True when a lease keeps what it lists, but not what that refers to."""
    return GC_FLAT in labels


def has_expired(labels: Mapping[str, str], *, now: int) -> bool:
    """True when the expiry in the labels has come; a time that makes no sense never comes.

    Args:
        labels: of a lease.
        now: nanoseconds since the Unix epoch.
    """
    text = labels.get(GC_EXPIRE)
    if text is None:
        return False
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return False
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * _BILLION) <= now
