"""Collecting garbage, beside pulls that are running.

The order of things: look (one consistent read), decide (pure), remove the rows
(one transaction, refused if the namespace has changed since the look), then
delete the files. A crash in between leaves files that nobody has a row for;
``remove_orphans`` and the snapshotters' ``recover`` take them at the next start.

Pulls run at the same time. A pull protects what it will need *before* it asks
what is here; a collection neither removes the rows of what is protected nor
deletes a file of that name. So what a pull has found to be here stays.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import NotFound, OrlopError, Unavailable
from orlop.gc import refs
from orlop.gc.mark import mark
from orlop.ports.service import GCReport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from orlop.gc.refs import Node
    from orlop.model.digest import Digest
    from orlop.ports.clock import Clock
    from orlop.ports.content import BlobStore
    from orlop.ports.metadata import Garbage, Inventory, Metadata, Swept

_ATTEMPTS: Final = 5
"""Looks at one namespace before giving up for now: each is lost to a change in between,
and a namespace that changes all the time is collected at a quieter one."""


class Protection:
    """What one piece of work keeps from being collected; made by ``Collector.protect``."""

    __slots__ = ("_collector", "_nodes")

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._nodes: set[Node] = set()

    @property
    def nodes(self) -> frozenset[Node]:
        """All that was added."""
        return frozenset(self._nodes)

    async def add(
        self, digests: Iterable[Digest] = (), *, snapshots: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Protect blobs and snapshots in every namespace, whether they are here or not.

        From its return on, what is looked up stays. It may wait for a short
        transaction of a running collection.

        Args:
            digests: of blobs.
            snapshots: pairs of snapshotter and key.
        """
        nodes = {refs.content(str(digest)) for digest in digests}
        nodes |= {refs.snapshot(snapshotter, key) for snapshotter, key in snapshots}
        await self._collector.protecting(self._nodes, nodes)


class Collector:
    """Removes what nothing refers to; one collection at a time.

    Args:
        metadata: tells what there is and removes rows.
        clock: for the expiry of leases.
        delete_blob: removes a blob's file; blocks, runs in a thread.
        delete_directory: removes a snapshot's tree, by snapshotter and directory
            number; blocks, runs in a thread.
    """

    def __init__(
        self,
        metadata: Metadata,
        clock: Clock,
        *,
        delete_blob: Callable[[Digest], None],
        delete_directory: Callable[[str, int], None],
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._delete_blob = delete_blob
        self._delete_directory = delete_directory
        self._collecting = asyncio.Lock()
        # Held while protections are compared with what is about to be removed.
        self._deciding = asyncio.Lock()
        self._protections: set[Protection] = set()

    @asynccontextmanager
    async def protect(self) -> AsyncIterator[Protection]:
        """Keep what is added to the protection from being collected until the block ends."""
        protection = Protection(self)
        self._protections.add(protection)
        try:
            yield protection
        finally:
            self._protections.discard(protection)

    async def protecting(self, mine: set[Node], more: set[Node]) -> None:
        """Add ``more`` to a protection's own set; for ``Protection`` only."""
        async with self._deciding:
            mine |= more

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        """Collect every namespace; waits for a collection that is running.

        Args:
            dry_run: only say what would be removed.

        Raises:
            Unavailable: a namespace kept changing; nothing of it was removed.
            OrlopError: a file could not be deleted (the first of them; the others
                were tried too).
        """
        async with self._collecting:
            total = GCReport(images=0, blobs=0, snapshots=0, bytes=0)
            for namespace in await self._metadata.namespaces():
                collect = self._preview if dry_run else self._collect
                total = _sum(total, await collect(namespace))
            return total

    async def remove_orphans(self, store: BlobStore) -> int:
        """Delete blobs that no namespace has a record of; returns how many.

        They are left over from crashes between a blob's publication and its record,
        or between the removal of its record and its file. Call it before the first
        pull starts: a pull's blobs are orphans until it is published.
        """
        async with self._collecting:
            known = {
                blob.digest
                for namespace in await self._metadata.namespaces()
                for blob in await self._metadata.blobs(namespace)
            }
            stored = await asyncio.to_thread(lambda: [blob.digest for blob in store.walk()])
            known.update(digest for digest in stored if self._is_protected(digest))
            orphans = [digest for digest in stored if digest not in known]
            if errors := await self._delete_blobs(orphans):
                raise errors[0]
            return len(orphans)

    # --- one namespace --------------------------------------------------------------------

    async def _preview(self, namespace: str) -> GCReport:
        inventory = await self._metadata.inventory(namespace)
        garbage = await self._mark(inventory, self._protected())
        return GCReport(
            images=len(garbage.records),
            blobs=len(garbage.blobs),
            snapshots=len(garbage.snapshots),
            bytes=_size(inventory, garbage),
        )

    async def _collect(self, namespace: str) -> GCReport:
        for _ in range(_ATTEMPTS):
            inventory = await self._metadata.inventory(namespace)
            protected = self._protected()
            garbage = await self._mark(inventory, protected)
            if not _any(garbage):
                return GCReport(images=0, blobs=0, snapshots=0, bytes=0)
            async with self._deciding:
                if not self._protected() <= protected:
                    continue
                try:
                    swept = await self._metadata.sweep(namespace, garbage)
                except Unavailable:
                    continue
            await self._delete(swept)
            return GCReport(
                images=len(garbage.records),
                blobs=len(garbage.blobs),
                snapshots=len(garbage.snapshots),
                bytes=swept.bytes,
            )
        raise Unavailable(f"namespace {namespace} keeps changing: nothing was collected")

    def _protected(self) -> frozenset[Node]:
        return frozenset().union(*(protection.nodes for protection in self._protections))

    def _is_protected(self, digest: Digest) -> bool:
        return refs.content(str(digest)) in self._protected()

    async def _mark(self, inventory: Inventory, protected: frozenset[Node]) -> Garbage:
        now = self._clock.now()
        return await asyncio.to_thread(mark, inventory, now=now, protected=protected)

    # --- files ----------------------------------------------------------------------------

    async def _delete(self, swept: Swept) -> None:
        """Delete all that can be deleted, then raise the first error."""
        errors = await self._delete_blobs(swept.blobs)
        for snapshotter, directory in swept.directories:
            errors += await _attempt(partial(self._delete_directory, snapshotter, directory))
        if errors:
            raise errors[0]

    async def _delete_blobs(self, digests: Iterable[Digest]) -> list[OrlopError]:
        errors: list[OrlopError] = []
        for digest in digests:
            # One lock a file: a pull that wants to protect something waits for one only.
            async with self._deciding:
                if not self._is_protected(digest):
                    errors += await _attempt(partial(self._delete_blob, digest))
        return errors


async def _attempt(delete: Callable[[], None]) -> list[OrlopError]:
    """Delete one thing in a thread; what is gone already is fine."""
    try:
        await asyncio.to_thread(delete)
    except NotFound:
        return []
    except OrlopError as error:
        return [error]
    return []


def _any(garbage: Garbage) -> bool:
    return bool(garbage.records or garbage.blobs or garbage.snapshots or garbage.leases)


def _size(inventory: Inventory, garbage: Garbage) -> int:
    """Bytes of the garbage, as this namespace sees it."""
    blobs = set(garbage.blobs)
    snapshots = set(garbage.snapshots)
    return sum(blob.size for blob in inventory.blobs if blob.digest in blobs) + sum(
        snapshot.bytes
        for snapshot in inventory.snapshots
        if (snapshot.snapshotter, snapshot.key) in snapshots
    )


def _sum(left: GCReport, right: GCReport) -> GCReport:
    return GCReport(
        images=left.images + right.images,
        blobs=left.blobs + right.blobs,
        snapshots=left.snapshots + right.snapshots,
        bytes=left.bytes + right.bytes,
    )
