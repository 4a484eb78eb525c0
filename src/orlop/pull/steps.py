"""The steps of one pull: resolve, plan, fetch and unpack, barrier, publish.

Its flights end with it, unless other pulls hold them too. It leaves partial
downloads for the next pull and nothing else.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from orlop.errors import Internal, NotFound, OrlopError, StoreCorrupt, StoreFull
from orlop.model import labels
from orlop.ports.observe import PullEnded
from orlop.pull import access
from orlop.pull import documents as image_documents
from orlop.pull.completion import in_thread
from orlop.pull.documents import Document
from orlop.pull.download import Download, ingest_ref
from orlop.pull.isolation import Isolated
from orlop.pull.layer import Layer
from orlop.pull.plan import Documents, LayerPlan, Plan, make, names_of
from orlop.pull.publish import Finished
from orlop.pull.slots import Pool, Slots
from orlop.pull.traffic import Meter, SharedTraffic

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.ports.content import BlobStore
    from orlop.ports.gc import Protection
    from orlop.ports.metadata import BlobRecord, Damage, Image
    from orlop.ports.pull import PullRequest
    from orlop.ports.registry import Remote, Traffic
    from orlop.ports.snapshots import LayerStaging
    from orlop.pull.flights import Flight
    from orlop.pull.parts import Parts, PullSettings, Shared
    from orlop.pull.pending import PendingBlob
    from orlop.pull.progress import Tracker

Proof: TypeAlias = "Callable[[], Coroutine[None, None, object]]"


class Pull:
    """One pull; ``run`` it once.

    Args:
        tracker: is told where it stands.
        meter: is told of its traffic.
    """

    def __init__(
        self,
        parts: Parts,
        settings: PullSettings,
        shared: Shared,
        request: PullRequest,
        tracker: Tracker,
        meter: Meter,
    ) -> None:
        self._parts = parts
        self._settings = settings
        self._shared = shared
        self._request = request
        self._tracker = tracker
        self._meter = meter
        # Taken now: new settings are for the pulls after this one.
        own = Pool(settings.concurrent_downloads)
        self._downloads = Slots(own, shared.total_downloads, lane=self)
        self._unpacks = Slots(shared.unpacks, lane=self)
        self._terms = shared.terms
        self._missing_documents: Mapping[Digest, bytes] = {}
        self._records: Mapping[Digest, BlobRecord] = {}
        self._store: BlobStore = parts.store
        if parts.isolated:
            self._store = Isolated(parts.store, request.namespace)

    async def run(self) -> Image:
        """Do it all; the image is visible when this returns. Raises OrlopError."""
        parts, request = self._parts, self._request
        self._tracker.phase = "resolving"
        documents = await image_documents.resolve(
            self._remote(self._meter),
            self._store,
            request.platform,
            self._settings.limits,
            approve=self._approve,
            check_layer=self._settings.processing.route,
        )
        self._tracker.resolved = documents.target.digest
        async with parts.protector.protect(self._tracker.reference) as protection:
            plan = await self._plan(documents, protection)
            if plan.complete and not self._missing_documents and await self._is_listed(plan):
                return await self._image(plan)
            try:
                await self._work(plan)
            except StoreCorrupt:
                damaged = await in_thread(lambda: self._damaged(plan))
                if not damaged:
                    raise
                await self._work(await self._plan(documents, protection, damaged))
            return await self._image(plan)

    def ended(self, code: str) -> PullEnded:
        """What happened, for the observer."""
        picture = self._tracker.picture()
        fetched = sum(one.fetched for one in self._tracker.downloads.values())
        present = sum(1 for layer in picture.layers if layer.phase == "present")
        return PullEnded(
            reference=picture.reference,
            registry=self._request.registry,
            code=code,
            seconds=picture.elapsed,
            bytes_downloaded=fetched,
            layers_downloaded=len(self._tracker.downloads),
            layers_present=present,
        )

    # Asking.

    def _remote(self, traffic: Traffic) -> Remote:
        """What is asked for the image."""
        request = self._request
        if request.origin is not None:
            return request.origin.remote(traffic)
        assert request.reference is not None
        return self._parts.registry.remote(
            request.reference, credentials=request.credentials, traffic=traffic
        )

    # Deciding.

    async def _approve(self, target: Descriptor) -> None:
        """Ask all verifiers, of every plugin. Raises SignatureRejected."""
        for verifier in self._parts.verifiers:
            await verifier.verify(self._request.reference, target)

    async def _plan(
        self,
        documents: Documents,
        protection: Protection,
        damaged: AbstractSet[Digest] = frozenset(),
    ) -> Plan:
        store = self._parts.store
        snapshotter = self._request.snapshotter.name
        everything = make(
            documents,
            snapshotter=snapshotter,
            present_blobs=set(),
            present_snapshots=set(),
            processing=self._settings.processing,
        )
        # Protect first, look afterwards: what is seen then stays.
        await protection.add(
            [*documents.raw(), *(layer.descriptor.digest for layer in everything.layers)],
            snapshots=[(snapshotter, layer.chain_id) for layer in everything.layers],
        )
        self._records = await self._parts.metadata.known_blobs(
            self._request.namespace,
            [*documents.raw(), *(layer.descriptor.digest for layer in everything.layers)],
        )
        known = await self._parts.metadata.damage()
        plan = make(
            documents,
            snapshotter=snapshotter,
            present_blobs=await self._present_blobs(everything) - damaged - known.blobs,
            present_snapshots=await self._present_snapshots(everything, known),
            keep_layers=self._settings.keep_layers,
            processing=self._settings.processing,
        )
        self._missing_documents = await in_thread(lambda: image_documents.missing(store, documents))
        self._tracker.plan = plan
        return plan

    async def _present_blobs(self, plan: Plan) -> set[Digest]:
        descriptors = {layer.descriptor.digest: layer.descriptor for layer in plan.layers}
        if self._parts.isolated:
            descriptors = {
                digest: descriptor
                for digest, descriptor in descriptors.items()
                if digest in self._records
            }
        return await in_thread(
            lambda: {
                digest
                for digest, descriptor in descriptors.items()
                if (found := self._store.stat(digest)) is not None and found.size == descriptor.size
            }
        )

    def _damaged(self, plan: Plan) -> set[Digest]:
        """Which blobs that were to be taken from the store are not what they are called."""
        damaged = set()
        for digest in {la.descriptor.digest for la in plan.layers if not la.fetch}:
            try:
                self._parts.store.verify(digest)
            except (StoreCorrupt, NotFound):
                damaged.add(digest)
        return damaged

    async def _present_snapshots(self, plan: Plan, damage: Damage) -> set[str]:
        """Chain ids of what is unpacked already, from blobs of which we know their diffIDs."""
        present: set[str] = set()
        for layer in plan.layers:
            if self._settings.keep_layers and not self._is_layer(layer):
                break  # a config may name whatever diffIDs it likes
            record = await self._parts.metadata.snapshot(
                self._request.namespace, plan.snapshotter, layer.chain_id
            )
            if record is None or (plan.snapshotter, record.directory) in damage.trees:
                break
            present.add(layer.chain_id)
        return present

    def _is_layer(self, layer: LayerPlan) -> bool:
        """True when the blob has been unpacked before, and has this diffID."""
        record = self._records.get(layer.descriptor.digest)
        return record is not None and record.labels.get(labels.UNCOMPRESSED) == str(layer.diff_id)

    async def _is_listed(self, plan: Plan) -> bool:
        """True when the image is here already, under the names that this pull would give it."""
        target = plan.documents.target
        config = plan.documents.config.digest
        image = await self._find(plan)
        if image is None or image.record.manifest != plan.documents.manifest.digest:
            return False
        if self._shared.publisher.syncs and not image.record.synced:
            return False
        targets = {name.name: name.target.digest for name in image.names}
        wanted = names_of(self._request.reference, target, config)
        return all(targets.get(name) == target.digest for name in wanted)

    async def _image(self, plan: Plan) -> Image:
        image = await self._find(plan)
        if image is None:
            config = plan.documents.config.digest
            raise Internal(f"image {config} is not there although it was just published")
        return image

    async def _find(self, plan: Plan) -> Image | None:
        """The image that is planned, if it is here: its config in its snapshotter."""
        images = await self._parts.metadata.images_by_id(
            self._request.namespace, plan.documents.config.digest
        )
        here = (image for image in images if image.record.snapshotter == plan.snapshotter)
        return next(here, None)

    async def _left(self, plan: Plan) -> dict[Hashable, int]:
        """Bytes that are to come, by layer; those of an earlier pull are on the disk already."""
        wanted = {ingest_ref(la.descriptor): la.descriptor for la in plan.layers if la.fetch}
        left: dict[Hashable, int] = {self._key(one): one.size for one in wanted.values()}
        for ingest in await in_thread(self._store.status) if wanted else []:
            if (found := wanted.get(ingest.ref)) is not None:
                left[self._key(found)] = max(0, found.size - ingest.offset)
        return left

    async def _free(self, left: Mapping[Hashable, int]) -> int:
        """Bytes that are free; if too few, what was removed leaves the disk first."""
        wanted = sum(left.values())
        if wanted and wanted + self._shared.ledger.outstanding > self._parts.free_bytes():
            with suppress(OrlopError):  # then what is free must do
                await self._parts.protector.make_room()
        return self._parts.free_bytes()

    def _key(self, descriptor: Descriptor) -> tuple[str, Digest]:
        """What names a download that pulls may share."""
        return (self._request.namespace if self._parts.isolated else "", descriptor.digest)

    # Working.

    async def _work(self, plan: Plan) -> None:
        left = await self._left(plan)
        free = await self._free(left)
        self._tracker.phase = "pulling"
        async with AsyncExitStack() as stack:
            claim = self._shared.ledger.entered(self._tracker.reference, left, free=free)
            stack.enter_context(claim)
            if self._parts.barrier is not None:
                await stack.enter_async_context(self._parts.barrier.fed())
            proofs = self._proofs(plan)
            downloads = await self._join_downloads(stack, plan, proofs)
            layers = await self._join_layers(stack, plan, downloads)
            self._tracker.downloads = {digest: one.work for digest, one in downloads.items()}
            self._tracker.layers = {chain_id: one.work for chain_id, one in layers.items()}
            try:
                await _all_done([*proofs, *(layer.done for layer in layers.values())])
                await self._publish(stack, plan)
            except StoreFull:
                for download in self._tracker.downloads.values():
                    download.give_up_bytes()
                raise

    def _proofs(self, plan: Plan) -> list[Proof]:
        """What shows that this caller may have what is here and came from another repository."""
        reference = self._request.reference
        if reference is None or self._request.origin is not None:
            return []  # an operator brings it, and no registry can be asked
        if not self._settings.require_access:
            return []
        documents = plan.documents
        manifest = documents.manifest
        entries = [entry for index in documents.indexes for entry in index.manifests]
        described = {one.digest: one for one in (documents.target, *entries, manifest.config)}
        proofs: list[Proof] = []
        for digest in documents.raw():
            known = access.is_known(self._records, digest, reference)
            embedded = described[digest].data is not None
            if not (digest in self._missing_documents or known or embedded):
                proofs.append(partial(self._show_document, described[digest]))
        present = {la.descriptor.digest: la.descriptor for la in plan.layers if not la.fetch}
        for digest, descriptor in present.items():
            if not access.is_known(self._records, digest, reference):
                proofs.append(partial(self._show_layer, descriptor))
        return proofs

    async def _show_document(self, descriptor: Descriptor) -> None:
        limits = self._settings.limits
        limit = max(limits.manifest_bytes, limits.config_bytes)
        await self._remote(self._meter).document(descriptor, limit=limit)

    async def _show_layer(self, descriptor: Descriptor) -> None:
        remote = self._remote(self._meter)
        await access.show(remote, descriptor, self._parts.store, self._terms)

    async def _join_downloads(
        self, stack: AsyncExitStack, plan: Plan, proofs: list[Proof]
    ) -> dict[Digest, Flight[Download]]:
        """Start, or join, the download of every blob that is to be fetched.

        Each adds to ``proofs`` what waits for it and shows that this caller may have it.
        """
        flights: dict[Digest, Flight[Download]] = {}
        for layer in plan.layers:
            digest = layer.descriptor.digest
            if layer.fetch and digest not in flights:
                flights[digest] = await self._join_download(stack, layer, proofs)
        return flights

    async def _join_download(
        self, stack: AsyncExitStack, layer: LayerPlan, proofs: list[Proof]
    ) -> Flight[Download]:
        descriptor, repository = layer.descriptor, self._request.repository
        key = self._key(descriptor)

        def make_download() -> Download:
            return Download(
                descriptor,
                store=self._store,
                traffic=SharedTraffic(),
                slots=self._downloads,
                terms=self._terms,
                repository=repository,
                key=key,
            )

        flight = await stack.enter_async_context(self._shared.downloads.join(key, make_download))
        download = flight.work
        remote = self._remote(download.traffic)
        stack.enter_context(download.traffic.attached(self._meter))
        stack.enter_context(download.offered(remote))

        async def prove() -> None:
            if repository not in download.repositories:
                # Its bytes come from elsewhere: this registry must be willing to give them.
                await self._remote(self._meter).prove(descriptor)
                download.repositories.add(repository)
            await flight.done()
            download.require(remote)

        proofs.append(prove)
        return flight

    async def _join_layers(
        self, stack: AsyncExitStack, plan: Plan, downloads: dict[Digest, Flight[Download]]
    ) -> dict[str, Flight[Layer]]:
        """Start, or join, every layer that is to be unpacked; lowest first."""
        below: Flight[Layer] | None = None
        below_trees = await self._present_trees(plan, self._request.snapshotter.staging)
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
                self._shared.layers.join(
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
                processors=self._shared.processors,
                slots=self._unpacks,
                places=self._shared.places,
                observer=parts.observer,
                clock=parts.clock,
                barrier=parts.barrier,
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
        written = await self._write_documents(stack)
        await self._shared.publisher.wait_for_barrier()
        self._tracker.phase = "publishing"
        downloads, layers = self._tracker.downloads, self._tracker.layers
        kept = downloads if plan.keeps_layers else {}
        await self._shared.publisher.publish(
            Finished(
                plan=plan,
                reference=self._request.reference,
                namespace=self._request.namespace,
                staging=self._request.snapshotter.staging,
                blobs=[*(one.pending for one in kept.values()), *written],
                written=[*kept, *self._missing_documents],
                trees={chain_id: layer.tree for chain_id, layer in layers.items()},
                pins=self._request.pins,
                distributed=self._request.origin is None,
                is_listed=partial(self._is_listed, plan),
            )
        )
        if not plan.keeps_layers:
            # Others may still unpack from them: they go when the last one leaves.
            for download in downloads.values():
                download.give_up_bytes()

    async def _write_documents(self, stack: AsyncExitStack) -> list[PendingBlob]:
        """Write the documents that the store does not have."""
        flights = []
        for digest, raw in self._missing_documents.items():
            maker = partial(Document, digest, raw, self._parts.store)
            flights.append(
                await stack.enter_async_context(self._shared.documents.join(digest, maker))
            )
        return [(await flight.done()).pending for flight in flights]


async def _all_done(works: Sequence[Proof]) -> None:
    """Wait for all of it; at the first failure raise it, a download's before a layer's."""
    waits = [asyncio.ensure_future(work()) for work in works]
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
