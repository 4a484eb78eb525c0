"""One layer on its way from a blob to a staged tree.

A layer is unpacked while its blob arrives, without waiting for the layers
below it. Only what the lower layers must tell makes it wait: directories that
it implies, and the rare layer that cannot be applied without them, which is
then applied again on top of them.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from orlop.errors import DataLoss, ImageInvalid, Unavailable
from orlop.ports.metadata import Usage
from orlop.ports.unpack import Unpacked, UnpackJob
from orlop.pull.completion import in_thread
from orlop.pull.download import Restarted, StoredBlob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orlop.ports.clock import Clock
    from orlop.ports.content import BlobStore
    from orlop.ports.observe import Observer
    from orlop.ports.snapshots import ApplyMode, LayerStaging, Staged
    from orlop.ports.unpack import Source, Unpacker
    from orlop.pull.download import Download
    from orlop.pull.flights import Flight
    from orlop.pull.plan import LayerPlan
    from orlop.pull.slots import Slots


class Layer:
    """A layer that is being unpacked (``Work`` of a flight, ``UnpackProgress`` of its worker).

    Args:
        below: the flight of the parent, or None when the parent is published
            already (``below_trees`` then names its tree and those under it) or
            there is none.
        slots: one is taken while a worker runs.
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
        slots: Slots,
        observer: Observer,
        clock: Clock,
    ) -> None:
        self.plan = plan
        self.consumed = 0
        self.running = False
        self.usage = Usage(0, 0)
        self.published = False
        self._staging = staging
        self._unpacker = unpacker
        self._store = store
        self._download = download
        self._below = below
        self._below_trees = below_trees
        self._slots = slots
        self._observer = observer
        self._clock = clock
        self._staged: Staged | None = None

    @property
    def staged(self) -> Staged:
        """The finished tree."""
        assert self._staged is not None
        return self._staged

    def unpacked(self, consumed: int) -> None:
        """See ``orlop.ports.unpack.UnpackProgress``."""
        self.consumed = consumed

    def trees(self) -> tuple[str, ...]:
        """The layer's own tree and those of its parents, topmost first."""
        found = []
        layer = self
        while True:
            found.append(layer.staged.fs)
            if layer._below is None:
                return (*found, *layer._below_trees)
            layer = layer._below.work

    async def run(self) -> None:
        """Unpack, then take from the layers below what is theirs to tell."""
        if not self._staging.independent:
            await self._parents()
        alone = self._staging.independent and bool(self.plan.parent)
        result = await self._unpack("overlay" if alone else "direct")
        if alone:
            if result.needs_parent or not await self._settle(result):
                await self._discard()
                await self._parents()
                result = await self._unpack("direct")
                await self._measure()
            else:
                self.usage = Usage(result.disk_bytes, result.inodes)
        elif self.plan.parent:
            await self._measure()
        else:
            self.usage = Usage(result.disk_bytes, result.inodes)
        for kind, number in result.dropped.items():
            self._observer.attribute_dropped(kind, number)

    async def release(self) -> None:
        """Remove the tree unless it has been published."""
        if not self.published:
            await self._discard()

    async def _discard(self) -> None:
        if self._staged is not None:
            staged, self._staged = self._staged, None
            await in_thread(lambda: self._staging.discard(staged))

    async def _parents(self) -> None:
        if self._below is not None:
            await self._below.done()

    def _lower(self) -> tuple[str, ...]:
        return self._below.work.trees() if self._below is not None else self._below_trees

    async def _unpack(self, mode: ApplyMode) -> Unpacked:
        while True:
            generation = self._download.work.generation if self._download else 0
            try:
                async with self._slots.taken(), self._source() as source:
                    return await self._unpack_from(source, mode)
            except Restarted:
                await self._discard()
            except (ImageInvalid, DataLoss, Unavailable):
                await self._discard()
                await self._blame_blob()
                if self._download is None or self._download.work.generation == generation:
                    raise

    async def _blame_blob(self) -> None:
        """Raise the blob's own error, if the bytes that were unpacked are not the blob's.

        Wrong bytes make a broken archive; their digest tells the cause.
        """
        if self._download is not None:
            await self._download.done()
        else:
            await in_thread(lambda: self._store.verify(self.plan.descriptor.digest))

    async def _unpack_from(self, source: Source, mode: ApplyMode) -> Unpacked:
        lower = self._lower() if mode == "direct" else ()
        staged = await in_thread(lambda: self._stage(lower))
        self.running = True
        self.consumed = 0
        started = self._clock.monotonic()
        with self._staging.target(staged, lower, mode) as target:
            result = await self._unpacker.unpack(
                UnpackJob(
                    source=source,
                    target=target,
                    compression=self.plan.compression,
                    mode=mode,
                    diff_id=self.plan.diff_id,
                    size=self.plan.descriptor.size,
                ),
                self,
            )
        self._observer.layer_unpacked(
            self.plan.descriptor.digest, self._clock.monotonic() - started, result.uncompressed
        )
        self.consumed = self.plan.descriptor.size
        return result

    def _stage(self, lower: tuple[str, ...]) -> Staged:
        self._staged = self._staging.stage(lower)
        return self._staged

    @asynccontextmanager
    async def _source(self) -> AsyncIterator[Source]:
        """The blob's bytes: as they arrive, or from the store."""
        if self._download is not None:
            await self._download.work.opened()
            yield self._download.work
            return
        fd = self._store.open(self.plan.descriptor.digest)
        try:
            yield StoredBlob(fd, self.plan.descriptor.size)
        finally:
            os.close(fd)

    async def _settle(self, result: Unpacked) -> bool:
        await self._parents()
        staged, lower = self.staged, self._lower()
        return await in_thread(
            lambda: self._staging.settle(
                staged, lower, implied=result.implied, opaque=result.opaque
            )
        )

    async def _measure(self) -> None:
        staged = self.staged
        self.usage = await in_thread(lambda: self._staging.measure(staged))
