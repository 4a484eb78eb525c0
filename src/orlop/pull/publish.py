"""Publishing: the one step in which an image appears.

Everything before it is invisible. In order: the barrier makes data durable;
trees and blobs get their final names, and the names are made durable; one
transaction makes the image visible. What fails on the way is taken back, and a
crash on the way leaves only what the next start removes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.pull.completion import completed, in_thread
from orlop.pull.plan import Outcome, publication

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orlop.model.digest import Digest
    from orlop.model.reference import Reference
    from orlop.ports.clock import Clock
    from orlop.ports.content import BlobStore, Ingest
    from orlop.ports.metadata import Metadata, Usage
    from orlop.ports.snapshots import LayerStaging, Staged
    from orlop.pull.barrier import Barrier
    from orlop.pull.download import Download
    from orlop.pull.layer import Layer
    from orlop.pull.plan import Plan


@dataclass(frozen=True, slots=True)
class Finished:
    """What a pull has made: all of its work, verified and not yet visible."""

    plan: Plan
    reference: Reference
    namespace: str
    staging: LayerStaging
    downloads: Mapping[Digest, Download]
    layers: Mapping[str, Layer]
    documents: Sequence[Ingest]


class ImagePublisher:
    """Publishes images one after the other; the barrier before it is shared.

    Args:
        barrier: None leaves it out: blobs are then synced one by one, and trees
            not at all (``image_pull_with_sync_fs = false``).
    """

    def __init__(
        self, *, store: BlobStore, metadata: Metadata, barrier: Barrier | None, clock: Clock
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._barrier = barrier
        self._clock = clock
        self._turn = asyncio.Lock()

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
        """
        async with self._turn:
            await completed(asyncio.ensure_future(self._publish(finished)))

    async def _publish(self, finished: Finished) -> None:
        outcome, present_bytes = await self._outcome(finished)
        layers = [finished.layers[chain_id] for chain_id in outcome.directories]
        staged = [layer.staged for layer in layers]
        downloads = [d for d in finished.downloads.values() if d.take_ingest() is not None]
        ingests = [ingest for d in downloads if (ingest := d.take_ingest()) is not None]
        await in_thread(lambda: finished.staging.publish(staged))
        try:
            await in_thread(
                lambda: self._store.publish(
                    [*ingests, *finished.documents], synced=self._barrier is not None
                )
            )
            for download in downloads:
                download.published()
            await self._metadata.publish(
                finished.namespace,
                publication(
                    finished.plan,
                    outcome,
                    reference=finished.reference,
                    present_bytes=present_bytes,
                    synced=self._barrier is not None,
                    now=self._clock.now(),
                ),
            )
        except BaseException:
            await self._take_back(finished.staging, layers, staged)
            raise
        for layer in layers:
            layer.published = True

    async def _take_back(
        self, staging: LayerStaging, layers: Sequence[Layer], staged: Sequence[Staged]
    ) -> None:
        """Remove trees that have their names already, but no record."""
        for layer in layers:
            layer.published = True  # there is nothing left to discard

        def delete() -> None:
            for tree in staged:
                staging.delete(tree.directory)

        await in_thread(delete)

    async def _outcome(self, finished: Finished) -> tuple[Outcome, int]:
        """What this pull contributes: another one may have published a layer meanwhile."""
        directories: dict[str, int] = {}
        usage: dict[str, Usage] = {}
        present_bytes = 0
        for plan in finished.plan.layers:
            record = await self._metadata.snapshot(
                finished.namespace, finished.plan.snapshotter, plan.chain_id
            )
            if record is not None:
                present_bytes += record.bytes
            else:
                layer = finished.layers[plan.chain_id]
                directories[plan.chain_id] = layer.staged.directory
                usage[plan.chain_id] = layer.usage
        return Outcome(directories, usage), present_bytes
