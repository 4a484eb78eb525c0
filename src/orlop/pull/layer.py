"""One layer on its way from a blob to a staged tree.

A layer is unpacked while its blob arrives, without waiting for the layers
below it. Only what the lower layers must tell makes it wait: directories that
it implies, and the rare layer that cannot be applied without them, which is
then applied again on top of them.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from orlop.errors import DataLoss, ImageInvalid, LimitExceeded, Unavailable
from orlop.ports.metadata import Usage
from orlop.ports.unpack import Unpacked, UnpackJob
from orlop.pull.barrier import Share
from orlop.pull.completion import in_thread
from orlop.pull.download import Restarted, StoredBlob
from orlop.pull.pending import PendingTree, TreeState
from orlop.pull.timeline import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orlop.ports.clock import Clock
    from orlop.ports.content import BlobStore
    from orlop.ports.observe import Observer
    from orlop.ports.snapshots import ApplyMode, LayerStaging
    from orlop.ports.unpack import Source, Unpacker
    from orlop.pull.barrier import Barrier
    from orlop.pull.download import Download
    from orlop.pull.flights import Flight
    from orlop.pull.plan import LayerPlan
    from orlop.pull.processors import Processors
    from orlop.pull.shared_lock import SharedLock
    from orlop.pull.slots import Slots


class Layer:
    """A layer that is being unpacked (``Work`` of a flight, ``UnpackProgress`` of its worker).

    It holds the flights that it is made from until it is released.

    Args:
        below: the flight of the parent, or None when the parent is published
            already (``below_trees`` then names its tree and those under it) or
            there is none.
        processors: run the programs of the plan.
        slots: one is taken while a worker or a program runs.
        barrier: is told how far it is, so that the disk can begin; None when there is none.
        places: held shared while trees are looked up by name.

    Attributes:
        consumed: bytes of the blob that have become files.
        record: where its time goes.
    """

    def __init__(
        self,
        plan: LayerPlan,
        *,
        staging: LayerStaging,
        unpacker: Unpacker,
        store: BlobStore,
        download: Flight[Download] | None,
        below: Flight[Layer] | None,
        below_trees: tuple[str, ...],
        processors: Processors,
        slots: Slots,
        places: SharedLock,
        observer: Observer,
        clock: Clock,
        barrier: Barrier | None = None,
    ) -> None:
        self.plan = plan
        self.consumed = 0
        self.record = Recorder()
        self._staging = staging
        self._unpacker = unpacker
        self._store = store
        self._download = download
        self.below = below
        self.below_trees = below_trees
        self._processors = processors
        self._slots = slots
        self._places = places
        self._observer = observer
        self._clock = clock
        self._share = Share(barrier, plan.descriptor.size)
        self._tree: PendingTree | None = None
        for flight in (below, download):
            if flight is not None:
                flight.hold()

    @property
    def tree(self) -> PendingTree:
        """The finished tree."""
        assert self._tree is not None
        return self._tree

    def unpacked(self, consumed: int) -> None:
        """See ``orlop.ports.unpack.UnpackProgress``."""
        # What programs make of a blob may be longer.
        size = self.plan.descriptor.size
        self.consumed = min(consumed, size)
        self._share.left(size - self.consumed)
        self.record.moved(self.consumed, self._clock.monotonic())

    async def run(self) -> None:
        """Unpack, then take from the layers below what is theirs to tell."""
        if not self._staging.independent:
            await self._parents()
        alone = self._staging.independent and bool(self.plan.parent)
        result = await self._unpack("overlay" if alone else "direct")
        if alone and (result.needs_parent or not await self._settle(result)):
            await self._discard()
            await self._parents()
            result = await self._unpack("direct")
            alone = False
        await self._finish(result, own=alone or not self.plan.parent)
        for kind, number in result.dropped.items():
            self._observer.attribute_dropped(kind, number)
        self.record.end(self._clock.monotonic())

    async def _finish(self, result: Unpacked, *, own: bool) -> None:
        """Count the tree and seal its manifest; ``own`` if it has what the worker made alone."""
        tree, staged = self.tree, self.tree.staged
        changed = [*result.implied, *result.opaque] if own else None
        tree.manifest = await in_thread(lambda: self._staging.seal(staged, changed))
        if own:
            tree.usage = Usage(result.disk_bytes, result.inodes)
        else:
            tree.usage = await in_thread(lambda: self._staging.measure(staged))

    async def release(self) -> None:
        """Remove the tree unless it has become a snapshot, and let go what it was made from."""
        self._share.end()
        async with AsyncExitStack() as stack:
            for flight in (self._download, self.below):
                if flight is not None:
                    stack.push_async_callback(flight.leave)
            await self._discard()

    async def _discard(self) -> None:
        tree, self._tree = self._tree, None
        if tree is None:
            return
        if tree.state in (TreeState.STAGED, TreeState.MOVING):
            await in_thread(lambda: self._staging.discard(tree.staged))
        if tree.state in (TreeState.NAMED, TreeState.MOVING):
            await in_thread(lambda: self._staging.delete(tree.staged.directory))

    async def _parents(self) -> None:
        self.record.end(self._clock.monotonic())
        if self.below is not None:
            await self.below.done()

    def _lower(self) -> tuple[str, ...]:
        """Where the trees of all parents are now, topmost first; valid while places are held."""
        trees = []
        layer = self
        while layer.below is not None:
            layer = layer.below.work
            trees.append(layer.place())
        return (*trees, *layer.below_trees)

    def place(self) -> str:
        """Where its tree is now; valid while places are held.

        Raises:
            Unavailable: it was left on its way there.
        """
        if self.tree.state is TreeState.MOVING:
            raise Unavailable(f"another pull could not publish it: layer {self.plan.chain_id}")
        if self.tree.state is TreeState.STAGED:
            return self.tree.staged.fs
        return self._staging.tree(self.tree.staged.directory)

    async def _unpack(self, mode: ApplyMode) -> Unpacked:
        while True:
            generation = self._download.work.generation if self._download else 0
            try:
                return await self._process(mode)
            except Restarted:
                await self._discard()
            except (ImageInvalid, LimitExceeded, DataLoss, Unavailable):
                await self._discard()
                await self._vouch_for_blob()
                if self._download is None or self._download.work.generation == generation:
                    raise

    async def _vouch_for_blob(self) -> None:
        """Wait until the blob is whole; raise its own error if it is not what it should be.

        Wrong bytes make a broken archive; their digest tells the cause.
        """
        if self._download is not None:
            await self._download.done()
        else:
            await in_thread(lambda: self._store.verify(self.plan.descriptor.digest))

    async def _process(self, mode: ApplyMode) -> Unpacked:
        """Unpack what the programs make of the blob; without any, the blob as it arrives."""
        self.record.begin("waiting", self._clock.monotonic())
        descriptor, steps = self.plan.descriptor, self.plan.steps
        if not steps:
            async with self._source() as source, self._slots.taken():
                return await self._unpack_from(source, mode, descriptor.size)
        # No program is shown bytes that nobody vouches for.
        await self._vouch_for_blob()
        async with (
            self._source() as source,
            self._slots.taken(),
            self._processors.processed(source.fileno(), descriptor, steps) as spool,
        ):
            size = os.fstat(spool).st_size
            return await self._unpack_from(StoredBlob(spool, size), mode, size)

    async def _unpack_from(self, source: Source, mode: ApplyMode, size: int) -> Unpacked:
        self.consumed = 0
        started = self._clock.monotonic()
        self.record.begin("unpacking", started)
        opened = ExitStack()
        try:
            async with self._places.shared():
                target, records = await in_thread(lambda: self._open_target(mode, opened))
            result = await self._unpacker.unpack(
                UnpackJob(
                    source=source,
                    target=target,
                    compression=self.plan.compression,
                    mode=mode,
                    diff_id=self.plan.diff_id,
                    size=size,
                    manifest=records,
                ),
                self,
            )
        finally:
            await in_thread(opened.close)
        self._observer.layer_unpacked(
            self.plan.descriptor.digest, self._clock.monotonic() - started, result.uncompressed
        )
        self.unpacked(self.plan.descriptor.size)
        return result

    def _open_target(self, mode: ApplyMode, opened: ExitStack) -> tuple[int, int]:
        """A new tree: what a worker fills, and where it records that; ``opened`` closes both."""
        lower = self._lower() if mode == "direct" else ()
        staged = self._staging.stage(lower)
        self._tree = PendingTree(staged)
        records = opened.enter_context(self._staging.records(staged))
        return opened.enter_context(self._staging.target(staged, lower, mode)), records

    @asynccontextmanager
    async def _source(self) -> AsyncIterator[Source]:
        """The blob's bytes: as they arrive, or from the store."""
        if self._download is not None:
            async with self._download.work.source() as source:
                yield source
            return
        fd = self._store.open(self.plan.descriptor.digest)
        try:
            yield StoredBlob(fd, self.plan.descriptor.size)
        finally:
            os.close(fd)

    async def _settle(self, result: Unpacked) -> bool:
        await self._parents()
        self.record.begin("settling", self._clock.monotonic())
        staged = self.tree.staged
        async with self._places.shared():
            lower = self._lower()
            return await in_thread(
                lambda: self._staging.settle(
                    staged, lower, implied=result.implied, opaque=result.opaque
                )
            )
