"""Publishing: the one step in which an image appears.

Everything before it is invisible. In order: the barrier makes data durable;
trees and blobs get their final names, and the names are made durable; one
transaction makes the image visible. What fails on the way is taken back by
whoever releases it last, and a crash on the way leaves only what the next start
removes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from orlop.errors import OrlopError, StoreIO, Unavailable
from orlop.pull.completion import completed, in_thread
from orlop.pull.pending import TreeState
from orlop.pull.plan import Outcome, publication

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from orlop.model.digest import Digest
    from orlop.model.pins import Pins
    from orlop.model.reference import Reference
    from orlop.ports.clock import Clock
    from orlop.ports.content import BlobStore
    from orlop.ports.metadata import Metadata, Usage
    from orlop.ports.snapshots import LayerStaging
    from orlop.pull.barrier import Barrier
    from orlop.pull.pending import PendingBlob, PendingTree
    from orlop.pull.plan import Plan
    from orlop.pull.shared_lock import SharedLock


@dataclass(frozen=True, slots=True)
class Finished:
    """What a pull has made or shares: all of it verified, and held by the pull.

    Attributes:
        reference: None for an image without a name.
        distributed: the registry of the reference has it.
        blobs: that are to be in the store.
        pins: images whose names are labelled as pinned.
        trees: by chain id.
        is_listed: tells whether another pull has published the very same meanwhile.
        written: digests of ``blobs``.
    """

    plan: Plan
    reference: Reference | None
    namespace: str
    staging: LayerStaging
    blobs: Sequence[PendingBlob]
    trees: Mapping[str, PendingTree]
    pins: Pins | None = None
    distributed: bool = True
    is_listed: Callable[[], Awaitable[bool]] | None = None
    written: Sequence[Digest] = ()


class ImagePublisher:
    """Publishes images one after the other; the barrier before it is shared.

    Args:
        barrier: None leaves it out: blobs are then synced one by one, and trees
            not at all (``image_pull_with_sync_fs = false``).
        places: held exclusively while trees are renamed.
        annotate: label snapshots with what they come from.
    """

    def __init__(
        self,
        *,
        store: BlobStore,
        metadata: Metadata,
        barrier: Barrier | None,
        places: SharedLock,
        clock: Clock,
        annotate: bool = False,
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._barrier = barrier
        self._places = places
        self._clock = clock
        self._annotate = annotate
        self._turn = asyncio.Lock()

    @property
    def syncs(self) -> bool:
        """True when what is published survives a power failure."""
        return self._barrier is not None

    async def wait_for_barrier(self) -> None:
        """Make what was written so far durable. Raises StoreIO."""
        if self._barrier is not None:
            await self._barrier.wait()

    async def publish(self, finished: Finished) -> None:
        """Give it its names and make it visible; call after ``wait_for_barrier``.

        Once begun it goes on to its end, also when the caller is cancelled.

        Raises:
            StoreIO: the disk failed: nothing may be written until a restart.
            StoreFull: nothing of it is visible.
            Unavailable: something that was there is gone, or another pull lost it.
        """
        async with self._turn:
            await completed(asyncio.ensure_future(self._publish(finished)))

    async def _publish(self, finished: Finished) -> None:
        outcome, present_bytes, replaced = await self._outcome(finished)
        if not outcome.directories and await _is_published(finished):
            return  # the others who wait for their turn need not wait for the disk
        trees = [finished.trees[chain_id] for chain_id in outcome.directories]
        await self._name_trees(finished.staging, trees)
        await self._name_blobs(finished.blobs)
        record = publication(
            finished.plan,
            outcome,
            reference=finished.reference,
            distributed=finished.distributed,
            present_bytes=present_bytes,
            written=finished.written,
            synced=self.syncs,
            annotated=self._annotate,
            pins=finished.pins,
            now=self._clock.now(),
        )
        for tree in trees:
            tree.state = TreeState.RECORDED
        try:
            await self._metadata.publish(finished.namespace, record)
        except StoreIO:
            raise  # it may be durable all the same: the next start sees
        except OrlopError:
            for tree in trees:
                tree.state = TreeState.NAMED
            raise
        if replaced:
            await self._swap(finished, trees, replaced)

    async def _swap(
        self, finished: Finished, trees: Sequence[PendingTree], replaced: Sequence[int]
    ) -> None:
        """Give up what records name no more: old trees, or new ones that were not needed."""
        used = await self._metadata.directories(finished.plan.snapshotter)
        for tree in trees:
            if tree.staged.directory not in used:
                tree.state = TreeState.NAMED
        for directory in replaced:
            if directory not in used:
                await in_thread(partial(finished.staging.retire, directory))

    async def _name_trees(self, staging: LayerStaging, trees: Sequence[PendingTree]) -> None:
        """Trees get their numbers, unless a pull that failed later has done that."""
        staged = [tree for tree in trees if tree.state is TreeState.STAGED]
        if not staged:
            return
        async with self._places.exclusive():
            for tree in staged:
                tree.state = TreeState.MOVING
            await in_thread(lambda: staging.publish([tree.staged for tree in staged]))
            for tree in staged:
                tree.state = TreeState.NAMED

    async def _name_blobs(self, blobs: Sequence[PendingBlob]) -> None:
        for blob in blobs:
            blob.require()
        taken = [(blob, ingest) for blob in blobs if (ingest := blob.take()) is not None]
        ingests = [ingest for _, ingest in taken]
        try:
            await in_thread(lambda: self._store.publish(ingests, synced=self.syncs))
        except BaseException:
            for blob, _ in taken:
                blob.lost()
            raise
        for blob, _ in taken:
            blob.published()

    async def _outcome(self, finished: Finished) -> tuple[Outcome, int, list[int]]:
        """What this pull contributes: another one may have published a layer meanwhile.

        Also the disk bytes of snapshots that stay, and directories that are replaced.
        """
        damaged = (await self._metadata.damage()).trees
        replaced: list[int] = []
        directories: dict[str, int] = {}
        usage: dict[str, Usage] = {}
        manifests: dict[str, str] = {}
        present_bytes = 0
        for plan in finished.plan.layers:
            record = await self._metadata.snapshot(
                finished.namespace, finished.plan.snapshotter, plan.chain_id
            )
            if record is not None:
                if (finished.plan.snapshotter, record.directory) not in damaged:
                    present_bytes += record.bytes
                    continue
                replaced.append(record.directory)
            tree = finished.trees.get(plan.chain_id)
            if tree is None:
                raise Unavailable(f"snapshot was removed during the pull: {plan.chain_id}")
            if tree.state is TreeState.MOVING or tree.usage is None:
                raise Unavailable(f"another pull could not publish it: layer {plan.chain_id}")
            directories[plan.chain_id] = tree.staged.directory
            usage[plan.chain_id] = tree.usage
            manifests[plan.chain_id] = str(tree.manifest)
        return Outcome(directories, usage, manifests), present_bytes, replaced


async def _is_published(finished: Finished) -> bool:
    """True when there is nothing left to do: a pull of the same image was quicker."""
    if finished.is_listed is None or not all(blob.stored for blob in finished.blobs):
        return False
    return await finished.is_listed()
