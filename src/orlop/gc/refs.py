"""References in labels, in containerd's grammar; pure.

::

    containerd.io/gc.root                       keep this, whatever the value
    containerd.io/gc.ref.content[.NAME|/NAME]   refers to the blob VALUE
    containerd.io/gc.ref.snapshot.S[/NAME]      refers to the snapshot VALUE of snapshotter S
    containerd.io/gc.ref.image[.NAME|/NAME]     refers to the image name VALUE
    containerd.io/gc.bref.content[.NAME|/NAME]  the blob VALUE refers to this
    containerd.io/gc.bref.snapshot.S[/NAME]     the snapshot VALUE of snapshotter S does
    containerd.io/gc.bref.image[.NAME|/NAME]    the image name VALUE does
    containerd.io/gc.flat                       on a lease: do not follow references
    containerd.io/gc.expire                     on a lease or a name: RFC 3339 time of its end

``gc.bref.container`` refers to nothing: there are no containers here.

Source: containerd, docs/garbage-collection.md and core/metadata/gc.go. A value that
makes no sense refers to nothing: labels can be written by clients, and must not stop
a collection.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from orlop.model.labels import (
    GC_BREF_CONTENT,
    GC_BREF_IMAGE,
    GC_BREF_SNAPSHOT,
    GC_EXPIRE,
    GC_FLAT,
    GC_REF_CONTENT,
    GC_REF_IMAGE,
    GC_REF_SNAPSHOT,
    GC_ROOT,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NodeKind = Literal["name", "image", "content", "snapshot"]

_BILLION = 1_000_000_000
_ALL = "containerd.io/gc."


class Node(Struct, frozen=True, order=True, gc=False, cache_hash=True):
    """Something that can be kept or collected.

    There are hundreds of thousands in a large store, and sets of them are all that a
    collection works with.

    Attributes:
        kind: of what.
        id: a name, ``SNAPSHOTTER/ID`` of an image record, the digest of a blob, or
            ``SNAPSHOTTER/KEY`` of a snapshot.
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


def name(text: str) -> Node:
    """The node of an image name."""
    return Node("name", text)


def references(labels: Mapping[str, str]) -> list[tuple[Node, str]]:
    """What the thing with these labels refers to, and by which label."""
    found: list[tuple[Node, str]] = []
    for key, value in labels.items():
        if not key.startswith(_ALL):
            continue
        if _is(key, GC_REF_CONTENT):
            found.append((content(value), key))
        elif key.startswith(GC_REF_SNAPSHOT):
            if snapshotter := key[len(GC_REF_SNAPSHOT) :].partition("/")[0]:
                found.append((snapshot(snapshotter, value), key))
        elif _is(key, GC_REF_IMAGE):
            found.append((name(value), key))
    return found


def referrers(labels: Mapping[str, str]) -> Iterator[tuple[Node, str]]:
    """What refers to the thing with these labels because they say so, and which label does."""
    for key, value in labels.items():
        if not key.startswith(_ALL):
            continue
        if key.startswith(GC_BREF_SNAPSHOT):
            if snapshotter := key[len(GC_BREF_SNAPSHOT) :].partition("/")[0]:
                yield snapshot(snapshotter, value), key
        elif _is(key, GC_BREF_CONTENT):
            yield content(value), key
        elif _is(key, GC_BREF_IMAGE):
            yield name(value), key


def _is(key: str, label: str) -> bool:
    """True for the label, alone or with a name behind it."""
    return key.startswith(label) and key[len(label) : len(label) + 1] in ("", ".", "/")


def is_root(labels: Mapping[str, str]) -> bool:
    """True when the thing with these labels is kept for its own sake."""
    return GC_ROOT in labels


def is_flat(labels: Mapping[str, str]) -> bool:
    """True when a lease keeps what it lists, but not what that refers to."""
    return GC_FLAT in labels


def expiry(labels: Mapping[str, str]) -> int:
    """When a lease or a name with these labels ends.

    Returns:
        Nanoseconds since the Unix epoch; 0 for never, also when the time makes no sense.
    """
    text = labels.get(GC_EXPIRE)
    if text is None:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(1, int(moment.timestamp() * _BILLION))
