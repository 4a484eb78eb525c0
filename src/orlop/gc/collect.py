"""Collecting garbage, beside pulls that are running.

The order of things: look (one consistent read), decide (pure), remove the rows
(one transaction, refused if the namespace has changed since the look; where it never
rests, all three in one transaction), then
delete blobs and throw trees into the trash (``orlop.gc.trash``). A crash in between
leaves files that nobody has a row for; ``remove_orphans`` and the snapshotters'
``recover`` take them at the next start.

Pulls run at the same time. A pull protects what it will need *before* it asks
what is here; a collection neither removes the rows of what is protected nor
deletes a file of that name. So what a pull has found to be here stays.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import NotFound, OrlopError, Unavailable
from orlop.gc import refs
from orlop.gc.explain import explain, select
from orlop.gc.graph import Graph, Root
from orlop.gc.mark import mark
from orlop.gc.sizes import disk_usage
from orlop.model.digest import Digest
from orlop.ports.metadata import Swept
from orlop.ports.service import GCReport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from orlop.gc.refs import Node
    from orlop.gc.trash import Trash
    from orlop.ports.clock import Clock
    from orlop.ports.content import BlobStore
    from orlop.ports.gc import DiskUsage, Explanation
    from orlop.ports.metadata import Garbage, Inventory, Metadata

_ATTEMPTS: Final = 3
"""Looks at one namespace: each can be lost to a change in between. After that nobody may
change anything for as long as marking takes."""


class Protection:
    """What one piece of work keeps from being collected; made by ``Collector.protect``."""

    __slots__ = ("_collector", "_nodes", "_owner")

    def __init__(self, collector: Collector, owner: str) -> None:
        self._collector = collector
        self._owner = owner
        self._nodes: set[Node] = set()

    @property
    def nodes(self) -> frozenset[Node]:
        """All that was added."""
        return frozenset(self._nodes)

    @property
    def roots(self) -> frozenset[Root]:
        """All that was added, with whom it is for."""
        return frozenset(Root(node, "pull", self._owner) for node in self._nodes)

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
        delete_directory: removes a snapshot's tree from its place, by snapshotter and
            directory number; blocks, runs in a thread.
        trash: where it goes then; None when ``delete_directory`` does it all.
    """

    def __init__(
        self,
        metadata: Metadata,
        clock: Clock,
        *,
        delete_blob: Callable[[Digest], None],
        delete_directory: Callable[[str, int], None],
        trash: Trash | None = None,
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._delete_blob = delete_blob
        self._delete_directory = delete_directory
        self._trash = trash
        self._collecting = asyncio.Lock()
        # Held while protections are compared with what is about to be removed.
        self._deciding = asyncio.Lock()
        self._protections: set[Protection] = set()

    @asynccontextmanager
    async def protect(self, owner: str = "") -> AsyncIterator[Protection]:
        """Keep what is added to the protection from being collected until the block ends."""
        protection = Protection(self, owner)
        self._protections.add(protection)
        try:
            with self._trash.waiting() if self._trash else nullcontext():
                yield protection
        finally:
            self._protections.discard(protection)

    async def make_room(self) -> None:
        """See ``orlop.ports.gc.Protector``."""
        if self._trash is not None:
            await self._trash.empty()

    async def protecting(self, mine: set[Node], more: set[Node]) -> None:
        """Add ``more`` to a protection's own set; for ``Protection`` only."""
        async with self._deciding:
            mine |= more

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        """Collect every namespace; waits for a collection that is running.

        Args:
            dry_run: only say what would be removed.

        Raises:
            OrlopError: a file could not be deleted (the first of them; the others
                were tried too).
        """
        async with self._collecting:
            # Asked before: what goes first may make enough room, and the rest has to go too.
            short = self._trash is not None and self._trash.short
            total = GCReport(images=0, blobs=0, snapshots=0, bytes=0)
            for namespace in await self._metadata.namespaces():
                collect = self._preview if dry_run else self._collect
                total = _sum(total, await collect(namespace))
            if self._trash is not None and not dry_run:
                await self._trash.relieve(short=short)
            return total

    async def remove_orphans(self, store: BlobStore) -> int:
        """Delete blobs that no namespace has a record of; returns how many.

        They are left over from crashes between a blob's publication and its record,
        or between the removal of its record and its file. Call it before the first
        pull starts: a pull's blobs are orphans until it is published.
        """
        async with self._collecting:
            known = await self._metadata.blob_digests()
            stored = await asyncio.to_thread(store.digests)
            loose = [Digest.parse(text) for text in stored - known]
            orphans = [digest for digest in loose if not self._is_protected(digest)]
            if errors := await self._delete_blobs(orphans):
                raise errors[0]
            return len(orphans)

    # --- reasons --------------------------------------------------------------------------

    async def why(self, text: str, namespace: str = "") -> Sequence[Explanation]:
        """See ``orlop.ports.gc.Explainer``."""
        found: list[Explanation] = []
        protected = self._protected()
        for one in [namespace] if namespace else await self._metadata.namespaces():
            inventory = await self._metadata.inventory(one)
            found += await asyncio.to_thread(
                _explain, inventory, text, now=self._clock.now(), protected=protected
            )
        if not found:
            raise NotFound(f"nothing here is called {text}", hint="`orlop images` lists the images")
        return found

    async def disk_usage(self, namespace: str) -> DiskUsage:
        """See ``orlop.ports.gc.Explainer``."""
        others = [
            await self._metadata.inventory(other)
            for other in await self._metadata.namespaces()
            if other != namespace
        ]
        return await asyncio.to_thread(
            disk_usage,
            await self._metadata.inventory(namespace),
            others=others,
            now=self._clock.now(),
            protected=self._protected(),
            trash=self._trash.bytes if self._trash else 0,
        )

    # --- one namespace --------------------------------------------------------------------

    async def _preview(self, namespace: str) -> GCReport:
        inventory = await self._metadata.inventory(namespace)
        garbage = await self._mark(inventory, self._protected())
        return _report(garbage, _size(inventory, garbage))

    async def _collect(self, namespace: str) -> GCReport:
        garbage, swept = await self._sweep(namespace)
        report = _report(garbage, swept.bytes)
        await self._delete(swept)
        # With an image go its references in documents that it shared with others.
        again = garbage.names or garbage.records
        return _sum(report, await self._collect(namespace)) if again else report

    async def _sweep(self, namespace: str) -> tuple[Garbage, Swept]:
        """Remove the rows of what is garbage, while others go on if they let us."""
        for _ in range(_ATTEMPTS):
            inventory = await self._metadata.inventory(namespace)
            protected = self._protected()
            garbage = await self._mark(inventory, protected)
            if not _any(garbage):
                return garbage, Swept(blobs=(), directories=(), bytes=0)
            async with self._deciding:
                if not self._protected() <= protected:
                    continue
                with suppress(Unavailable):
                    return garbage, await self._metadata.sweep(namespace, garbage)
        async with self._deciding:
            decide = partial(mark, now=self._clock.now(), protected=self._protected())
            return await self._metadata.sweep_at_once(namespace, decide)

    def _protected(self) -> frozenset[Root]:
        return frozenset().union(*(protection.roots for protection in self._protections))

    def _is_protected(self, digest: Digest) -> bool:
        node = refs.content(str(digest))
        return any(node in protection.nodes for protection in self._protections)

    async def _mark(self, inventory: Inventory, protected: frozenset[Root]) -> Garbage:
        now = self._clock.now()
        return await asyncio.to_thread(mark, inventory, now=now, protected=protected)

    # --- files ----------------------------------------------------------------------------

    async def _delete(self, swept: Swept) -> None:
        """Delete all that can be deleted, then raise the first error."""
        errors = await self._delete_blobs(swept.blobs)
        for snapshotter, directory in swept.directories:
            errors += await _attempt(partial(self._delete_directory, snapshotter, directory))
        if self._trash is not None and swept.directories:
            self._trash.add(swept.directory_bytes)
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
    return await _tried(asyncio.to_thread(delete))


async def _tried(work: Awaitable[None]) -> list[OrlopError]:
    try:
        await work
    except NotFound:
        return []
    except OrlopError as error:
        return [error]
    return []


def _any(garbage: Garbage) -> bool:
    return any((garbage.names, garbage.records, garbage.blobs, garbage.snapshots, garbage.leases))


def _report(garbage: Garbage, size: int) -> GCReport:
    return GCReport(
        images=len(garbage.records),
        blobs=len(garbage.blobs),
        snapshots=len(garbage.snapshots),
        bytes=size,
    )


def _explain(
    inventory: Inventory, text: str, *, now: int, protected: Iterable[Root]
) -> list[Explanation]:
    graph = Graph(inventory)
    roots = [*graph.roots(now), *protected]
    return [
        explain(graph, node, roots, namespace=inventory.namespace) for node in select(graph, text)
    ]


def _size(inventory: Inventory, garbage: Garbage) -> int:
    """Bytes of the garbage, as this namespace sees it."""
    blobs = set(map(str, garbage.blobs))
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
