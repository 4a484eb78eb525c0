"""Metadata: which images, blobs, snapshots and leases exist, and what they are called.

One database, one writer. Every method is a coroutine that runs one transaction
on the writer's thread; when it returns, the transaction is durable. All names
live in a *namespace* (``k8s.io`` unless somebody asks for another); blobs on
disk are shared between namespaces, their records are not.

Words:

* An *image name* (``docker.io/library/busybox:latest``, the same with
  ``@sha256:…``, or an image id ``sha256:…``) points at a target descriptor.
* An *image record* is an image that is complete here: config, layers, and an
  unpacked chain in one snapshotter. Its id is the digest of its config, so that
  platforms have different ids; an id that is unpacked in two snapshotters has two
  records. A name belongs to an id through ``ImageName.image_id``, and to several
  ids when its target is an index that was pulled for several platforms.
* *Complete* is the only state: ``Publisher.publish`` writes blobs, snapshots,
  record and names in one transaction, after their bytes are durable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from orlop.model.digest import Digest

SnapshotKind = Literal["active", "view", "committed"]
ResourceKind = Literal["content", "snapshots", "ingests", "images"]


@dataclass(frozen=True, slots=True)
class Target:
    """What an image name points at: the descriptor of an index or a manifest."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class ImageName:
    """One name of an image. All images of one name have the same target."""

    name: str
    target: Target
    image_id: Digest
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image that is complete in this store.

    Attributes:
        id: digest of the image config; what CRI calls the image id.
        manifest: digest of the manifest of this platform.
        platform: normalised, ``os/architecture[/variant]``.
        snapshotter: where the chain is unpacked.
        chain_id: name of the topmost snapshot; "" for an image without layers.
        user: ``config.User``, unparsed.
        content_bytes: length of manifest, config and layers, each digest once; layers
            that were discarded when they had been unpacked do not count.
        unpacked_bytes: disk bytes of the chain's snapshots.
        synced: False when it was pulled without the barrier.
    """

    id: Digest
    manifest: Digest
    platform: str
    snapshotter: str
    chain_id: str
    user: str
    content_bytes: int
    unpacked_bytes: int
    synced: bool
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """An image record with all of its names, sorted by name."""

    record: ImageRecord
    names: tuple[ImageName, ...]


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """A blob as one namespace sees it."""

    digest: Digest
    size: int
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A snapshot as one namespace and snapshotter see it.

    ``directory`` is the number under ``snapshots/``; ``parent`` a committed
    snapshot's key or "". Usage counts the snapshot's own files only, not its
    parents'; it is 0 for active snapshots and views until they are committed.
    """

    snapshotter: str
    key: str
    directory: int
    kind: SnapshotKind
    parent: str
    labels: Mapping[str, str] = field(default_factory=dict)
    bytes: int = 0
    inodes: int = 0
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """Keeps what it lists from being collected. ``expires_at`` 0 means never."""

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that a lease keeps: kind and id (``snapshots`` ids are ``SNAPSHOTTER/KEY``)."""

    kind: ResourceKind
    id: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What the store occupies, from what was counted while writing."""

    bytes: int
    inodes: int


@dataclass(frozen=True, slots=True)
class Publication:
    """All that one pull makes visible at once.

    Blobs and snapshots that have a record already keep it (labels are merged), but a
    snapshot whose tree is damaged moves to the new directory. Names move to the new target.

    Attributes:
        written: blobs whose bytes are new: whatever was known of damage is void.
    """

    blobs: Sequence[BlobRecord]
    snapshots: Sequence[SnapshotRecord]
    record: ImageRecord
    names: Sequence[ImageName]
    written: Sequence[Digest] = ()


@dataclass(frozen=True, slots=True)
class Damage:
    """Files that are known to be damaged: blobs, and trees by snapshotter and directory."""

    blobs: frozenset[Digest] = frozenset()
    trees: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class ImageListing:
    """All images of a namespace that have a name, and which of them are damaged.

    Attributes:
        images: by id; of one id the newest first.
        damaged: as ``DamageRecords.damaged_images`` tells them.
    """

    images: tuple[Image, ...]
    damaged: frozenset[tuple[str, str]]


class DamageRecords(Protocol):
    """What is known to be damaged, and must not be trusted."""

    async def damage(self) -> Damage:
        """All of it."""

    async def damaged_images(self, namespace: str) -> frozenset[tuple[str, str]]:
        """Id and snapshotter of the images that no container can be started from."""

    async def note_damage(self, found: Damage, sound: Damage) -> None:
        """Remember what a check has found to be damaged, and forget what is sound."""


class Publisher(Protocol):
    """The one door through which images become visible."""

    async def publish(self, namespace: str, publication: Publication) -> None:
        """Write it all in one transaction; durable when this returns.

        Raises:
            NotFound: a snapshot's parent, or a blob that the record needs, has no record.
        """


class ImageRecords(Protocol):
    """Images and their names."""

    async def images_by_name(self, namespace: str, name: str) -> list[Image]:
        """The images that have exactly this name, newest first."""

    async def images_by_id(self, namespace: str, id_: Digest) -> list[Image]:
        """The images of this id, one for each snapshotter, newest first."""

    async def images_by_id_prefix(self, namespace: str, prefix: str, limit: int) -> list[Image]:
        """Images whose id's hex starts with ``prefix``, of at most ``limit`` ids, by id.

        Args:
            namespace: where to look.
            prefix: lower case hex, not empty.
            limit: at least 1.
        """

    async def images(self, namespace: str) -> list[Image]:
        """Every image that has at least one name, by id; of one id the newest first."""

    async def listing(self, namespace: str) -> ImageListing:
        """As ``images``, with what is damaged; the same object while both are the same."""

    async def put_name(self, namespace: str, name: ImageName) -> None:
        """Create a name, move it to another target, or have it belong to one more image.

        Raises:
            NotFound: its image id has no record.
        """

    async def remove_name(self, namespace: str, name: str) -> bool:
        """Remove one name; records go with their last name. False if there was none."""

    async def remove_image(self, namespace: str, id_: Digest, snapshotter: str = "") -> bool:
        """Remove an image's records (of one snapshotter, if named); names go with the last."""

    async def remove_together(
        self, namespace: str, *, names: Collection[str] = (), ids: Collection[Digest] = ()
    ) -> bool:
        """Remove names, and images with all their names, at once: all of them or none.

        What is not here is passed over. False if there was none of them.
        """


class BlobRecords(Protocol):
    """Blobs as namespaces see them."""

    async def blob(self, namespace: str, digest: Digest) -> BlobRecord | None:
        """One blob's record."""

    async def blobs(self, namespace: str) -> list[BlobRecord]:
        """All of a namespace's blobs, by digest."""

    async def blob_digests(self) -> set[str]:
        """The digest of every blob that any namespace has a record of, as text."""

    async def known_blobs(
        self, namespace: str, digests: Sequence[Digest]
    ) -> dict[Digest, BlobRecord]:
        """The records of those of these that have one."""

    async def put_blob(self, namespace: str, record: BlobRecord) -> None:
        """Create a record, or merge labels into it."""

    async def remove_blob(self, namespace: str, digest: Digest) -> bool:
        """Remove a record; True when no namespace has one any more."""


class SnapshotRecords(Protocol):
    """Snapshots as namespaces see them. The tree's rules are ``orlop.snapshots.tree``'s."""

    async def snapshot(self, namespace: str, snapshotter: str, key: str) -> SnapshotRecord | None:
        """One snapshot."""

    async def snapshots(
        self, namespace: str, snapshotter: str = "", label: str = ""
    ) -> list[SnapshotRecord]:
        """All of a namespace's snapshots, by key.

        Args:
            namespace: where to look.
            snapshotter: only its own.
            label: only those that have it, whatever its value.
        """

    async def chain(self, namespace: str, snapshotter: str, key: str) -> list[SnapshotRecord]:
        """The snapshot and its parents, topmost first.

        Raises:
            NotFound: it, or one of its parents, has no record.
        """

    async def add_snapshot(self, namespace: str, record: SnapshotRecord) -> None:
        """Insert it.

        Raises:
            AlreadyExists: the key is taken.
            NotFound: the parent has no record.
        """

    async def commit_snapshot(
        self, namespace: str, snapshotter: str, key: str, committed: SnapshotRecord
    ) -> None:
        """Replace the active snapshot ``key`` by the committed one in one transaction.

        Raises:
            AlreadyExists: the new key is taken.
            NotFound: there is no active snapshot ``key``.
        """

    async def label_snapshot(
        self, namespace: str, snapshotter: str, key: str, labels: Mapping[str, str]
    ) -> SnapshotRecord:
        """Replace its labels."""

    async def remove_snapshot(self, namespace: str, snapshotter: str, key: str) -> SnapshotRecord:
        """Remove it and return what it was.

        Raises:
            NotFound: there is none.
            SnapshotInUse: it has children.
        """

    async def directories(self, snapshotter: str) -> set[int]:
        """Every directory number that any namespace uses."""


class LeaseRecords(Protocol):
    """Leases and what they keep."""

    async def create_lease(
        self, namespace: str, lease: Lease, resources: Collection[Resource] = ()
    ) -> Lease:
        """Make it, with what it lists; returns it with its time. Raises AlreadyExists."""

    async def delete_lease(self, namespace: str, id_: str) -> None:
        """Remove it and what it lists. Raises NotFound."""

    async def leases(self, namespace: str) -> list[Lease]:
        """All of them, by id."""

    async def leased(self, namespace: str) -> list[tuple[Lease, tuple[Resource, ...]]]:
        """All of them, by id, with what they keep, by kind and id; one consistent read."""

    async def add_resource(self, namespace: str, lease: str, resource: Resource) -> None:
        """Have a lease keep something; twice is fine. Raises NotFound."""

    async def resources(self, namespace: str, lease: str) -> list[Resource]:
        """What a lease keeps. Raises NotFound."""


class NameEntry(Struct, frozen=True, gc=False):
    """Of an image name: what it refers to. Digests are text, as in all entries."""

    name: str
    target: str
    image_id: str
    labels: Mapping[str, str] = {}


class ImageEntry(Struct, frozen=True, gc=False):
    """Of an image record: what it refers to."""

    id: str
    manifest: str
    snapshotter: str
    chain_id: str


class BlobEntry(Struct, frozen=True, gc=False):
    """Of a blob's record: its size, and labels."""

    digest: str
    size: int
    labels: Mapping[str, str] = {}


class SnapshotEntry(Struct, frozen=True, gc=False):
    """Of a snapshot's record: what it stands on and occupies, and labels."""

    snapshotter: str
    key: str
    directory: int
    kind: SnapshotKind
    parent: str
    labels: Mapping[str, str] = {}
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Inventory:
    """A consistent picture of one namespace, for the garbage collector.

    There are many entries and they live for a moment: they hold no more than a collection
    looks at, and Python's own collector, which would look at each of them again and again,
    passes over them. They refer to nothing that could refer back.

    ``revision`` is how many transactions have changed the namespace.
    """

    namespace: str
    names: tuple[NameEntry, ...]
    records: tuple[ImageEntry, ...]
    blobs: tuple[BlobEntry, ...]
    snapshots: tuple[SnapshotEntry, ...]
    leases: tuple[Lease, ...]
    resources: tuple[tuple[str, Resource], ...]
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Garbage:
    """What a namespace no longer needs, as of the inventory with this revision."""

    records: Sequence[tuple[Digest, str]]  # image id, snapshotter
    blobs: Sequence[Digest]
    snapshots: Sequence[tuple[str, str]]  # snapshotter, key
    leases: Sequence[str]
    names: Sequence[str] = ()
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Swept:
    """What is left to do on disk after a sweep's transaction."""

    blobs: tuple[Digest, ...]  # no namespace has a record any more
    directories: tuple[tuple[str, int], ...]  # snapshotter, directory number
    bytes: int
    directory_bytes: int = 0  # those of the directories, which are among the bytes


class GarbageRecords(Protocol):
    """What the garbage collector needs."""

    async def namespaces(self) -> list[str]:
        """Every namespace that has anything in it."""

    async def inventory(self, namespace: str) -> Inventory:
        """One consistent read."""

    async def sweep(self, namespace: str, garbage: Garbage) -> Swept:
        """Remove these rows in one transaction and say what may be deleted from disk.

        Raises:
            Unavailable: the namespace has changed since the inventory, so that the
                garbage may be in use again: take another one.
        """

    async def sweep_at_once(
        self, namespace: str, decide: Callable[[Inventory], Garbage]
    ) -> tuple[Garbage, Swept]:
        """Look, decide and sweep in one transaction, for a namespace that never rests.

        Nobody else can change anything as long as ``decide`` takes; it runs in a thread.
        """


class Metadata(
    Publisher,
    ImageRecords,
    BlobRecords,
    SnapshotRecords,
    LeaseRecords,
    GarbageRecords,
    DamageRecords,
    Protocol,
):
    """All of it, and the sums."""

    async def usage(self) -> Usage:
        """Blobs and snapshots of all namespaces, each file once; no walk."""

    async def usage_of_snapshotters(self) -> Mapping[str, Usage]:
        """Snapshots alone, by snapshotter, each tree once; reads every snapshot's record."""
