"""The pull itself: resolve, plan, fetch and unpack, barrier, publish.

Pulls that run at the same time share downloads (by digest) and layers (by chain
id); each resolves its reference with its own credentials first, so that nobody
gets what the registry would not give. A pull that ends early, for whatever
reason, leaves partial downloads for the next one and nothing else.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import Internal, OrlopError, Stalled, StoreFull
from orlop.model.limits import DEFAULTS, Limits
from orlop.ports.observe import PullEnded
from orlop.pull import documents as image_documents
from orlop.pull.completion import in_thread
from orlop.pull.download import Download
from orlop.pull.flights import Flight, Flights
from orlop.pull.layer import Layer
from orlop.pull.plan import Documents, LayerPlan, Plan, make, names_of
from orlop.pull.progress import Tracker
from orlop.pull.publish import Finished, ImagePublisher
from orlop.pull.slots import Slots, semaphore
from orlop.pull.traffic import Meter, SharedTraffic
from orlop.pull.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.model.digest import Digest
    from orlop.ports.clock import Clock
    from orlop.ports.content import BlobStore, Ingest
    from orlop.ports.gc import Protection, Protector
    from orlop.ports.metadata import Image, Metadata
    from orlop.ports.observe import Observer, PullProgress
    from orlop.ports.pull import PullRequest
    from orlop.ports.registry import Registry
    from orlop.ports.snapshots import LayerStaging
    from orlop.ports.unpack import Unpacker
    from orlop.pull.barrier import Barrier

_TICK: Final = 0.1
_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class PullSettings:
    """Limits of the pull; see ``docs/configuration.md``.

    Attributes:
        progress_timeout: seconds without a byte after which a pull is cancelled; 0 never.
        concurrent_downloads: layers of one image; 0 or less is no limit.
        total_downloads: layers of all images together; 0 is no limit.
        concurrent_unpacks: workers of all images together; 0 is no limit.
    """

    progress_timeout: float = 300.0
    concurrent_downloads: int = 3
    total_downloads: int = 0
    concurrent_unpacks: int = 0
    limits: Limits = DEFAULTS


@dataclass(frozen=True, slots=True)
class Parts:
    """The rooms that the pull works with."""

    registry: Registry
    store: BlobStore
    metadata: Metadata
    unpacker: Unpacker
    protector: Protector
    observer: Observer
    clock: Clock
    barrier: Barrier | None
    free_bytes: Callable[[], int]


class Pipeline:
    """Runs pulls; lives as long as the service and is used from its event loop."""

    def __init__(self, parts: Parts, settings: PullSettings) -> None:
        self._parts = parts
        self._settings = settings
        self._downloads: Flights[Download] = Flights()
        self._layers: Flights[Layer] = Flights()
        self._total_downloads = semaphore(settings.total_downloads)
        self._unpacks = Slots(semaphore(settings.concurrent_unpacks))
        self._publisher = ImagePublisher(
            store=parts.store, metadata=parts.metadata, barrier=parts.barrier, clock=parts.clock
        )
        self._running: list[Tracker] = []

    def pulls(self) -> Sequence[PullProgress]:
        """Pictures of the pulls that run now."""
        return [tracker.picture() for tracker in self._running]

    async def pull(
        self, request: PullRequest, progress: Callable[[PullProgress], None] | None = None
    ) -> Image:
        """Pull one image; complete, visible and durable when this returns.

        ``progress`` is called about ten times a second, and once at the end.

        Raises:
            OrlopError: whatever went wrong; the store is as it was before.
        """
        parts = self._parts
        tracker = Tracker(str(request.reference), str(request.platform), parts.clock)
        meter = Meter(Watchdog(self._settings.progress_timeout), parts.clock)
        one = _Pull(self, request, tracker, meter)
        parts.observer.pull_started(tracker.reference)
        self._running.append(tracker)
        try:
            image = await _watched(asyncio.ensure_future(one.run()), tracker, meter, progress)
        except BaseException as error:
            tracker.end("failed", str(error) or type(error).__name__)
            parts.observer.pull_ended(one.ended(_code(error)))
            raise
        else:
            tracker.end("done")
            parts.observer.pull_ended(one.ended(""))
            return image
        finally:
            self._running.remove(tracker)
            if progress is not None:
                progress(tracker.picture())


async def _watched(
    task: asyncio.Future[Image],
    tracker: Tracker,
    meter: Meter,
    progress: Callable[[PullProgress], None] | None,
) -> Image:
    """Wait for a pull, report on it, and end it when it stalls or the caller gives up."""
    interval = meter.watchdog.interval or None
    if progress is not None:
        interval = min(_TICK, interval or _TICK)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=interval)
            if task.done():
                break
            if progress is not None:
                progress(tracker.picture())
            if meter.stalled():
                raise _stalled(tracker.picture(), meter)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # what ended it is being raised


def _stalled(picture: PullProgress, meter: Meter) -> Stalled:
    here = sum(1 for layer in picture.layers if layer.downloaded == layer.size)
    return Stalled(
        f"no progress for {meter.watchdog.timeout:g}s: {here} of {len(picture.layers)} layers,"
        f" {picture.downloaded / _MEGABYTE:.1f} of {picture.total / _MEGABYTE:.1f} MB,"
        f" waiting for {', '.join(meter.hosts)}"
    )


def _code(error: BaseException) -> str:
    if isinstance(error, OrlopError):
        return error.code.value
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "internal"


class _Pull:
    """The steps of one pull."""

    def __init__(
        self, pipeline: Pipeline, request: PullRequest, tracker: Tracker, meter: Meter
    ) -> None:
        self._pipeline = pipeline
        self._parts = pipeline._parts  # noqa: SLF001 (one class in two)
        self._settings = pipeline._settings  # noqa: SLF001
        self._request = request
        self._tracker = tracker
        self._meter = meter
        self._image_slots = semaphore(self._settings.concurrent_downloads)

    async def run(self) -> Image:
        parts, request = self._parts, self._request
        self._tracker.phase = "resolving"
        remote = parts.registry.remote(
            request.reference, credentials=request.credentials, traffic=self._meter
        )
        documents = await image_documents.resolve(
            remote, parts.store, request.platform, self._settings.limits
        )
        self._tracker.resolved = documents.target.digest
        async with parts.protector.protect() as protection:
            plan = await self._plan(documents, protection)
            if plan.complete and await self._is_listed(plan):
                return await self._image(plan)
            self._check_space(plan)
            await self._work(plan)
            return await self._image(plan)

    def ended(self, code: str) -> PullEnded:
        """What happened, for the observer."""
        picture = self._tracker.picture()
        fetched = sum(one.fetched for one in self._tracker.downloads.values())
        present = sum(1 for layer in picture.layers if layer.phase == "present")
        return PullEnded(
            reference=picture.reference,
            registry=self._request.reference.domain,
            code=code,
            seconds=picture.elapsed,
            bytes_downloaded=fetched,
            layers_downloaded=len(self._tracker.downloads),
            layers_present=present,
        )

    # Deciding.

    async def _plan(self, documents: Documents, protection: Protection) -> Plan:
        snapshotter = self._request.snapshotter.name
        everything = make(
            documents, snapshotter=snapshotter, present_blobs=set(), present_snapshots=set()
        )
        # Protect first, look afterwards: what is seen then stays.
        await protection.add(
            [*documents.raw(), *(layer.descriptor.digest for layer in everything.layers)],
            snapshots=[(snapshotter, layer.chain_id) for layer in everything.layers],
        )
        plan = make(
            documents,
            snapshotter=snapshotter,
            present_blobs=await in_thread(lambda: self._present_blobs(everything)),
            present_snapshots=await self._present_snapshots(everything),
        )
        self._tracker.plan = plan
        return plan

    def _present_blobs(self, plan: Plan) -> set[Digest]:
        descriptors = {layer.descriptor.digest: layer.descriptor for layer in plan.layers}
        return {
            digest
            for digest, descriptor in descriptors.items()
            if (found := self._parts.store.stat(digest)) is not None
            and found.size == descriptor.size
        }

    async def _present_snapshots(self, plan: Plan) -> set[str]:
        present: set[str] = set()
        for layer in plan.layers:
            record = await self._parts.metadata.snapshot(
                self._request.namespace, plan.snapshotter, layer.chain_id
            )
            if record is None:
                break
            present.add(layer.chain_id)
        return present

    async def _is_listed(self, plan: Plan) -> bool:
        """True when the image is here already, under the names that this pull would give it."""
        config = plan.documents.config.digest
        target = plan.documents.target.digest
        for name in names_of(self._request.reference, plan.documents.target, config):
            image = await self._parts.metadata.image_by_name(self._request.namespace, name)
            if image is None or image.record.id != config:
                return False
            record = image.record
            if record.snapshotter != plan.snapshotter or record.manifest != (
                plan.documents.manifest.digest
            ):
                return False
            if not any(one.name == name and one.target.digest == target for one in image.names):
                return False
        return True

    async def _image(self, plan: Plan) -> Image:
        config = plan.documents.config.digest
        image = await self._parts.metadata.image_by_id(self._request.namespace, config)
        if image is None:
            raise Internal(f"image {config} is not there although it was just published")
        return image

    def _check_space(self, plan: Plan) -> None:
        free = self._parts.free_bytes()
        if plan.fetch_bytes > free:
            raise StoreFull(
                f"pull of {self._tracker.reference} needs {plan.fetch_bytes / _MEGABYTE:.1f} MB"
                f" for its layers alone, {free / _MEGABYTE:.1f} MB are free",
                hint="remove images, or give the store a larger file system",
            )

    # Working.

    async def _work(self, plan: Plan) -> None:
        self._tracker.phase = "pulling"
        async with AsyncExitStack() as stack:
            downloads: dict[Digest, Flight[Download]] = {}
            for layer in plan.layers:
                digest = layer.descriptor.digest
                if layer.fetch and digest not in downloads:
                    downloads[digest] = await self._join_download(stack, layer)
            layers = await self._join_layers(stack, plan, downloads)
            self._tracker.downloads = {digest: one.work for digest, one in downloads.items()}
            self._tracker.layers = {chain_id: one.work for chain_id, one in layers.items()}
            await _all_done([*downloads.values(), *layers.values()])
            await self._publish(stack, plan)

    async def _join_download(self, stack: AsyncExitStack, layer: LayerPlan) -> Flight[Download]:
        def make_download() -> Download:
            traffic = SharedTraffic()
            remote = self._parts.registry.remote(
                self._request.reference, credentials=self._request.credentials, traffic=traffic
            )
            slots = Slots(self._image_slots, self._pipeline._total_downloads)  # noqa: SLF001
            return Download(
                layer.descriptor,
                store=self._parts.store,
                remote=remote,
                traffic=traffic,
                slots=slots,
            )

        flight = await stack.enter_async_context(
            self._pipeline._downloads.join(layer.descriptor.digest, make_download)  # noqa: SLF001
        )
        stack.enter_context(flight.work.traffic.attached(self._meter))
        return flight

    async def _join_layers(
        self, stack: AsyncExitStack, plan: Plan, downloads: dict[Digest, Flight[Download]]
    ) -> dict[str, Flight[Layer]]:
        """Start, or join, every layer that is to be unpacked; lowest first."""
        staging = self._request.snapshotter.staging
        below: Flight[Layer] | None = None
        below_trees = await self._present_trees(plan, staging)
        flights: dict[str, Flight[Layer]] = {}
        for layer in plan.layers:
            if not layer.unpack:
                continue
            key = (
                self._request.namespace,
                plan.snapshotter,
                layer.chain_id,
                layer.descriptor.digest,
            )
            below = await stack.enter_async_context(
                self._pipeline._layers.join(  # noqa: SLF001
                    key, self._layer_maker(layer, downloads, below, below_trees)
                )
            )
            flights[layer.chain_id] = below
        return flights

    def _layer_maker(
        self,
        plan: LayerPlan,
        downloads: dict[Digest, Flight[Download]],
        below: Flight[Layer] | None,
        below_trees: tuple[str, ...],
    ) -> Callable[[], Layer]:
        parts = self._parts

        def make_layer() -> Layer:
            return Layer(
                plan,
                staging=self._request.snapshotter.staging,
                unpacker=parts.unpacker,
                store=parts.store,
                download=downloads.get(plan.descriptor.digest),
                below=below,
                below_trees=below_trees,
                slots=self._pipeline._unpacks,  # noqa: SLF001
                observer=parts.observer,
                clock=parts.clock,
            )

        return make_layer

    async def _present_trees(self, plan: Plan, staging: LayerStaging) -> tuple[str, ...]:
        """Trees of the layers that are there, topmost first."""
        present = [layer for layer in plan.layers if not layer.unpack]
        if not present:
            return ()
        chain = await self._parts.metadata.chain(
            self._request.namespace, plan.snapshotter, present[-1].chain_id
        )
        return tuple(staging.tree(record.directory) for record in chain)

    async def _publish(self, stack: AsyncExitStack, plan: Plan) -> None:
        self._tracker.phase = "syncing"
        ingests = await self._write_documents(stack, plan)
        await self._pipeline._publisher.wait_for_barrier()  # noqa: SLF001
        self._tracker.phase = "publishing"
        finished = Finished(
            plan=plan,
            reference=self._request.reference,
            namespace=self._request.namespace,
            staging=self._request.snapshotter.staging,
            downloads=self._tracker.downloads,
            layers=self._tracker.layers,
            documents=tuple(ingests),
        )
        ingests.clear()  # publishing closes them, whatever becomes of it
        await self._pipeline._publisher.publish(finished)  # noqa: SLF001

    async def _write_documents(self, stack: AsyncExitStack, plan: Plan) -> list[Ingest]:
        """Ingests of the documents that the store does not have."""
        ingests: list[Ingest] = []

        def write() -> None:
            for digest, raw in plan.documents.raw().items():
                found = self._parts.store.stat(digest)
                if found is not None and found.size == len(raw):
                    continue
                # A name of its own: two pulls may write the same document at once.
                ingest = self._parts.store.ingest(f"document-{digest}-{id(self)}", total=len(raw))
                ingests.append(ingest)
                ingest.truncate()
                ingest.write(raw)
                ingest.verify(digest, len(raw))

        async def drop(*_: object) -> None:
            def abort() -> None:
                for ingest in ingests:
                    ingest.abort()

            await in_thread(abort)

        stack.push_async_exit(drop)
        await in_thread(write)
        return ingests


async def _all_done(flights: Sequence[Flight[Download] | Flight[Layer]]) -> None:
    """Wait for all of it; at the first failure raise it, a download's before a layer's."""
    waits = [asyncio.ensure_future(flight.done()) for flight in flights]
    if not waits:
        return
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_EXCEPTION)
        failed = [wait for wait in waits if wait in done and wait.exception() is not None]
        if failed:
            failed[0].result()
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
