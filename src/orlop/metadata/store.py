"""The way into the metadata: every promise of ``orlop.ports.metadata``, one transaction each.

Holds no statement; its only state is the lists of images that were asked for, and who
is told of changes.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from orlop.errors import Unavailable
from orlop.metadata import collect, content, damage, images, leases, publish, rows, snapshots
from orlop.metadata.db import Database
from orlop.metadata.listing import KEPT, Listings
from orlop.ports.metadata import Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence

    import apsw

    from orlop.model.digest import Digest
    from orlop.ports.clock import Clock
    from orlop.ports.metadata import (
        BlobRecord,
        Damage,
        Garbage,
        Image,
        ImageListing,
        ImageName,
        Inventory,
        Lease,
        Publication,
        Resource,
        SnapshotRecord,
        Swept,
    )

T = TypeVar("T")


class Watcher(Protocol):
    """Told that something has changed."""

    def __call__(self, *, deletion: bool) -> None:
        """``deletion`` is True when something was removed, so that there may be garbage."""


class MetadataStore:
    """Implements ``orlop.ports.metadata.Metadata`` with SQLite.

    Use ``open``; the database ends with its ``async with``. Any number of
    coroutines of one event loop may call it at once. Records without times get
    the clock's.

    Args:
        database: open; stays the caller's.
        clock: for times of records.
    """

    __slots__ = ("_clock", "_database", "_kept", "_listings", "_watchers")

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._listings = Listings()  # the reader's thread's
        self._kept: dict[str, tuple[bytes, ImageListing]] = {}
        self._watchers: list[Watcher] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, path: str, clock: Clock, *, sync: bool = True) -> AsyncIterator[Self]:
        """Open the database in the file ``path``, made if it is not there.

        Without ``sync`` nothing waits for the disk; see ``Database.open``.

        Raises:
            StoreCorrupt: it is damaged, or no database.
            FailedPrecondition: a newer orlop wrote it.
            StoreFull, StoreIO, PermissionDenied: as they say.
        """
        database = await Database.open(path, sync=sync)
        try:
            yield cls(database, clock)
        finally:
            await database.close()

    @contextmanager
    def watched(self, watcher: Watcher) -> Iterator[None]:
        """Tell ``watcher`` of each change but those by ``sweep`` while the ``with`` lasts.

        It is called on the event loop, also for a change that failed or whose caller
        was cancelled: nobody knows what became of that.
        """
        self._watchers.append(watcher)
        try:
            yield
        finally:
            self._watchers.remove(watcher)

    async def _change(
        self, namespace: str, change: Callable[[apsw.Connection], T], *, deletion: bool = False
    ) -> T:
        try:
            return await self._write(namespace, change)
        finally:
            for watcher in self._watchers:
                watcher(deletion=deletion)

    async def _write(self, namespace: str, change: Callable[[apsw.Connection], T]) -> T:
        def counted(connection: apsw.Connection) -> T:
            collect.count_change(connection, namespace)
            return change(connection)

        return await self._database.write(counted)

    # --- images ---------------------------------------------------------------------------

    async def publish(self, namespace: str, publication: Publication) -> None:
        """Make all of a pull visible at once. Raises NotFound, InvalidArgument."""
        now = self._clock.now()
        await self._change(
            namespace, lambda db: publish.publish(db, namespace, publication, now=now)
        )

    async def images_by_name(self, namespace: str, name: str) -> list[Image]:
        """The images that have exactly this name, newest first."""
        return await self._database.read(lambda db: images.by_name(db, namespace, name))

    async def images_by_id(self, namespace: str, id_: Digest) -> list[Image]:
        """The images of this id, one for each snapshotter, newest first."""
        return await self._database.read(lambda db: images.by_id(db, namespace, id_))

    async def images_by_id_prefix(self, namespace: str, prefix: str, limit: int) -> list[Image]:
        """Images whose id's hex starts with ``prefix``, of at most ``limit`` ids."""
        return await self._database.read(
            lambda db: images.by_prefix(db, namespace, prefix, limit=limit)
        )

    async def images(self, namespace: str) -> list[Image]:
        """Every image that has a name, by id."""
        return list((await self.listing(namespace)).images)

    async def listing(self, namespace: str) -> ImageListing:
        """All images and which are damaged; from memory when nothing was committed since."""
        version = self._database.version()  # before the read, which may see more
        kept_for, listing = self._kept.get(namespace, (b"", None))
        if listing is not None and version and version == kept_for:
            return listing
        listing = await self._database.read(lambda db: self._listings.read(db, namespace))
        self._kept.pop(namespace, None)
        self._kept[namespace] = (version, listing)
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return listing

    async def put_name(self, namespace: str, name: ImageName) -> None:
        """Create or move one name. Raises NotFound."""
        now = self._clock.now()
        await self._change(namespace, lambda db: images.put_name(db, namespace, name, now=now))

    async def remove_name(self, namespace: str, name: str) -> bool:
        """Remove one name, and records with their last name."""
        return await self._change(
            namespace, lambda db: images.remove_name(db, namespace, name), deletion=True
        )

    async def remove_image(self, namespace: str, id_: Digest, snapshotter: str = "") -> bool:
        """Remove an image's records (of one snapshotter, if named), and its names with the last."""
        return await self._change(
            namespace,
            lambda db: images.remove(db, namespace, id_, snapshotter=snapshotter),
            deletion=True,
        )

    async def remove_together(
        self, namespace: str, *, names: Collection[str] = (), ids: Collection[Digest] = ()
    ) -> bool:
        """Remove names, and images with all their names, in one transaction."""
        return await self._change(
            namespace, lambda db: images.remove_together(db, namespace, names, ids), deletion=True
        )

    # --- blobs ----------------------------------------------------------------------------

    async def blob(self, namespace: str, digest: Digest) -> BlobRecord | None:
        """One blob's record."""
        return await self._database.read(lambda db: content.blob(db, namespace, digest))

    async def blobs(self, namespace: str) -> list[BlobRecord]:
        """All of a namespace's blobs, by digest."""
        return await self._database.read(lambda db: content.blobs(db, namespace))

    async def blob_digests(self) -> set[str]:
        """The digest of every blob that any namespace has a record of, as text."""
        return await self._database.read(content.digests)

    async def known_blobs(
        self, namespace: str, digests: Sequence[Digest]
    ) -> dict[Digest, BlobRecord]:
        """The records of those of these that have one."""
        return await self._database.read(lambda db: content.known(db, namespace, digests))

    async def put_blob(self, namespace: str, record: BlobRecord) -> None:
        """Create a record, or merge labels into it. Raises InvalidArgument."""
        now = self._clock.now()
        await self._change(namespace, lambda db: content.put(db, namespace, record, now=now))

    async def remove_blob(self, namespace: str, digest: Digest) -> bool:
        """Remove a record; True when no namespace has one any more."""
        return await self._change(
            namespace, lambda db: content.remove(db, namespace, digest), deletion=True
        )

    # --- snapshots ------------------------------------------------------------------------

    async def snapshot(self, namespace: str, snapshotter: str, key: str) -> SnapshotRecord | None:
        """One snapshot."""
        return await self._database.read(
            lambda db: snapshots.snapshot(db, namespace, snapshotter, key)
        )

    async def snapshots(
        self, namespace: str, snapshotter: str = "", label: str = ""
    ) -> list[SnapshotRecord]:
        """All of a namespace's snapshots (of one snapshotter, with one label), by key."""
        return await self._database.read(
            lambda db: snapshots.snapshots(db, namespace, snapshotter, label)
        )

    async def chain(self, namespace: str, snapshotter: str, key: str) -> list[SnapshotRecord]:
        """The snapshot and its parents, topmost first. Raises NotFound."""
        return await self._database.read(
            lambda db: snapshots.chain(db, namespace, snapshotter, key)
        )

    async def add_snapshot(self, namespace: str, record: SnapshotRecord) -> None:
        """Insert it. Raises AlreadyExists, NotFound."""
        now = self._clock.now()
        await self._change(namespace, lambda db: snapshots.add(db, namespace, record, now=now))

    async def commit_snapshot(
        self, namespace: str, snapshotter: str, key: str, committed: SnapshotRecord
    ) -> None:
        """Replace an active snapshot by the committed one. Raises AlreadyExists, NotFound."""
        now = self._clock.now()
        await self._change(
            namespace,
            lambda db: snapshots.commit(db, namespace, snapshotter, key, committed, now=now),
        )

    async def label_snapshot(
        self, namespace: str, snapshotter: str, key: str, labels: Mapping[str, str]
    ) -> SnapshotRecord:
        """Replace its labels. Raises NotFound."""
        now = self._clock.now()
        return await self._change(
            namespace,
            lambda db: snapshots.label(db, namespace, snapshotter, key, labels, now=now),
        )

    async def remove_snapshot(self, namespace: str, snapshotter: str, key: str) -> SnapshotRecord:
        """Remove it and return what it was. Raises NotFound, SnapshotInUse."""
        return await self._change(
            namespace, lambda db: snapshots.remove(db, namespace, snapshotter, key), deletion=True
        )

    async def directories(self, snapshotter: str) -> set[int]:
        """Every directory number that any namespace uses."""
        return await self._database.read(lambda db: snapshots.directories(db, snapshotter))

    # --- leases ---------------------------------------------------------------------------

    async def create_lease(
        self, namespace: str, lease: Lease, resources: Collection[Resource] = ()
    ) -> Lease:
        """Insert it and its list; returns it with its time of creation. Raises AlreadyExists."""
        now = self._clock.now()
        return await self._change(
            namespace, lambda db: leases.create(db, namespace, lease, resources, now=now)
        )

    async def delete_lease(self, namespace: str, id_: str) -> None:
        """Remove a lease and its list. Raises NotFound."""
        await self._change(namespace, lambda db: leases.delete(db, namespace, id_), deletion=True)

    async def leases(self, namespace: str) -> list[Lease]:
        """All of a namespace's leases, by id, the expired ones too."""
        return await self._database.read(lambda db: leases.leases(db, namespace))

    async def leased(self, namespace: str) -> list[tuple[Lease, tuple[Resource, ...]]]:
        """All of a namespace's leases, by id, with what they keep."""
        return await self._database.read(lambda db: leases.leased(db, namespace))

    async def add_resource(self, namespace: str, lease: str, resource: Resource) -> None:
        """Put something on a lease's list. Raises NotFound."""
        await self._change(
            namespace, lambda db: leases.add_resource(db, namespace, lease, resource)
        )

    async def resources(self, namespace: str, lease: str) -> list[Resource]:
        """What a lease keeps, by kind and id. Raises NotFound."""
        return await self._database.read(lambda db: leases.resources(db, namespace, lease))

    # --- garbage --------------------------------------------------------------------------

    async def namespaces(self) -> list[str]:
        """Every namespace that has anything in it, sorted."""
        return await self._database.read(collect.namespaces)

    async def inventory(self, namespace: str) -> Inventory:
        """One consistent read."""
        return await self._database.read(lambda db: collect.inventory(db, namespace))

    async def sweep(self, namespace: str, garbage: Garbage) -> Swept:
        """Remove these rows in one transaction and say what may be deleted from disk.

        Raises:
            Unavailable: the namespace has changed since the inventory, so that the
                garbage may be in use again: take another one.
            SnapshotInUse: a snapshot's child is not garbage.
        """

        def swept(connection: apsw.Connection) -> Swept:
            # One more than expected: this transaction has counted itself.
            if collect.revision(connection, namespace) != garbage.revision + 1:
                raise Unavailable(f"namespace {namespace} has changed since its inventory")
            return collect.sweep(connection, namespace, garbage)

        return await self._write(namespace, swept)

    async def sweep_at_once(
        self, namespace: str, decide: Callable[[Inventory], Garbage]
    ) -> tuple[Garbage, Swept]:
        """Look, decide and sweep in one transaction. Raises SnapshotInUse."""

        def swept(connection: apsw.Connection) -> tuple[Garbage, Swept]:
            garbage = decide(collect.inventory(connection, namespace))
            return garbage, collect.sweep(connection, namespace, garbage)

        return await self._write(namespace, swept)

    # --- damage ---------------------------------------------------------------------------

    async def damage(self) -> Damage:
        """All that is known to be damaged."""
        return await self._database.read(damage.damage)

    async def damaged_images(self, namespace: str) -> frozenset[tuple[str, str]]:
        """Id and snapshotter of the images that no container can be started from."""
        return await self._database.read(lambda db: damage.images(db, namespace))

    async def note_damage(self, found: Damage, sound: Damage) -> None:
        """Remember what is damaged, and forget what is sound."""
        now = self._clock.now()

        def noted(connection: apsw.Connection) -> None:
            damage.mark(connection, found, now=now)
            damage.clear(connection, sound)

        await self._database.write(noted)

    async def usage(self) -> Usage:
        """Blobs and snapshots of all namespaces, each file once."""

        def total(connection: apsw.Connection) -> Usage:
            row = connection.execute("SELECT bytes, inodes FROM total").fetchone()
            assert row is not None
            return Usage(bytes=rows.integer(row[0]), inodes=rows.integer(row[1]))

        return await self._database.read(total)

    async def usage_of_snapshotters(self) -> Mapping[str, Usage]:
        """Snapshots alone, by snapshotter, each tree once."""
        return await self._database.read(snapshots.usage)
