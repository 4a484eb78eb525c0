"""What is in the box: the table of built-in plugins, and how each is made.

Read it top down: a plugin's parts are those above it. Everything is imported
when a plugin starts, so that a command pays only for what it uses.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from orlop.config import keys
from orlop.config.related import (
    DiffConfig,
    MetadataConfig,
    NativeConfig,
    OverlayfsConfig,
    SchedulerConfig,
    TransferConfig,
    VerifierConfig,
)
from orlop.config.schema import GrpcConfig, ImageConfig, MetricsConfig
from orlop.doors import DOOR, SERVICE, control_door, cri_door, entrance, health_door
from orlop.errors import InvalidArgument
from orlop.plugins.registration import Context, Registration, Skipped
from orlop.settings import (
    client_settings,
    processing_settings,
    pull_settings,
    schedule_settings,
    service_settings,
    verifier_settings,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from orlop.app import App
    from orlop.config.related import StreamProcessor
    from orlop.gc.scheduler import Scheduler
    from orlop.images.exporting import Exporter
    from orlop.images.repair import ImageRepair
    from orlop.metadata.store import MetadataStore
    from orlop.model.limits import Limits
    from orlop.plugins.registration import Commit
    from orlop.ports.archive import Archives
    from orlop.ports.gc import GarbageCollector
    from orlop.ports.observe import Observer
    from orlop.ports.pull import Puller
    from orlop.ports.registry import Registry
    from orlop.ports.service import ImageService
    from orlop.ports.snapshots import Snapshotter
    from orlop.ports.verify import ImageVerifier
    from orlop.pull.barrier import Barrier
    from orlop.pull.pipeline import Pipeline
    from orlop.pull.processing import Processing
    from orlop.pull.verifiers import BinaryVerifiers
    from orlop.snapshots.service import Format
    from orlop.store.blobs import LocalBlobStore
    from orlop.unpack.pool import WorkerPool

CONTENT = "io.containerd.content.v1"
METADATA = "io.containerd.metadata.v1"
SNAPSHOTTER = "io.containerd.snapshotter.v1"
OBSERVER = "io.orlop.observer.v1"
BARRIER = "io.orlop.barrier.v1"
UNPACK = "io.orlop.unpack.v1"
REGISTRY = "io.orlop.registry.v1"
VERIFIER = "io.containerd.image-verifier.v1"
GC = "io.containerd.gc.v1"
IMAGES = "io.containerd.cri.v1"
SERVER = "io.containerd.server.v1"

CRI = f"{DOOR}.cri"
"""Full name of the door for kubelet and crictl."""

ENTRANCE = f"{SERVER}.grpc"
"""Full name of the plugin whose instance is the daemon's ``Entrance``."""

_WORKERS_NICE = 10
"""In a daemon: unpacking takes what is left over, calls are answered first."""

PULL_KEYS = (
    "concurrent_layer_fetch_buffer",
    "discard_unpacked_layers",
    "image_pull_progress_timeout",
    "max_concurrent_downloads",
    "max_concurrent_unpacks",
    "max_download_rate",
    "max_total_downloads",
    "min_pull_rate",
    "require_layer_access",
)
"""Keys of the images section that the next pull heeds."""

REGISTRY_KEYS = (
    "image_pull_progress_timeout",
    "max_connections",
    "max_connections_per_host",
    "registry",
)
"""Ditto, that the registry client heeds."""

SERVICE_KEYS = ("pinned_images", "runtime_platforms")
"""Ditto, that the image service heeds at once."""


def builtin() -> tuple[Registration, ...]:
    """The table."""
    bolt, metrics, images = keys.METADATA[1], keys.METRICS[1], keys.IMAGES[1]
    transfer, diff = keys.TRANSFER[1], keys.DIFF[1]
    return (
        Registration(CONTENT, "content", _content),
        Registration(
            METADATA, "sqlite", _metadata, config=MetadataConfig, section=bolt, aliases=(bolt,)
        ),
        Registration(
            SNAPSHOTTER, "overlayfs", _overlayfs, requires=(METADATA,), config=OverlayfsConfig
        ),
        Registration(
            SNAPSHOTTER,
            "native",
            _native,
            requires=(METADATA,),
            config=NativeConfig,
            optional=True,
        ),
        Registration(BARRIER, "disks", _barrier, requires=(CONTENT, SNAPSHOTTER)),
        Registration(
            OBSERVER,
            "prometheus",
            _metrics,
            config=MetricsConfig,
            section=metrics,
            aliases=(metrics,),
            optional=True,
            daemon=True,
        ),
        Registration(UNPACK, "workers", _unpack, config=ImageConfig, section=images),
        Registration(REGISTRY, "distribution", _registry, config=ImageConfig, section=images),
        Registration(VERIFIER, "bindir", _verifier, config=VerifierConfig),
        Registration(
            GC,
            "scheduler",
            _gc,
            requires=(CONTENT, METADATA, SNAPSHOTTER),
            config=SchedulerConfig,
        ),
        Registration(
            IMAGES,
            "images",
            _service,
            requires=(CONTENT, METADATA, SNAPSHOTTER, BARRIER, UNPACK, REGISTRY, GC),
            wants=(OBSERVER, VERIFIER),
            config=ImageConfig,
            also={bolt: MetadataConfig, transfer: TransferConfig, diff: DiffConfig},
        ),
        Registration(DOOR, "cri", cri_door, requires=(SERVICE,), daemon=True),
        Registration(DOOR, "control", control_door, requires=(SERVICE,), daemon=True),
        Registration(DOOR, "healthcheck", health_door, wants=(DOOR,), daemon=True),
        Registration(SERVER, "grpc", entrance, requires=(DOOR,), config=GrpcConfig, daemon=True),
    )


@asynccontextmanager
async def _content(context: Context) -> AsyncIterator[LocalBlobStore]:
    from orlop.linux.clock import SystemClock
    from orlop.store.blobs import LocalBlobStore

    with LocalBlobStore(context.root, clock=SystemClock()) as store:
        context.export("root", store.path)
        yield store


@asynccontextmanager
async def _metadata(context: Context) -> AsyncIterator[MetadataStore]:
    import structlog

    from orlop.linux.clock import SystemClock
    from orlop.linux.root import open_root
    from orlop.metadata.store import MetadataStore

    os.close(open_root(context.root))
    path = os.path.join(context.root, "meta.db")
    no_sync = cast("MetadataConfig", context.config).no_sync
    if no_sync:
        structlog.get_logger().warning(
            "the database is not synced: a power failure may lose images, or all of them",
            key="no_sync",
        )
    async with MetadataStore.open(path, SystemClock(), sync=not no_sync) as store:
        context.export("path", path)
        yield store


@asynccontextmanager
async def _overlayfs(context: Context) -> AsyncIterator[Snapshotter]:
    from orlop.linux.userns import is_initial
    from orlop.snapshots.overlay import Overlay, OverlaySettings
    from orlop.snapshots.place import own_place

    config = cast("OverlayfsConfig", context.config)
    settings = OverlaySettings(
        path=config.root_path,
        upperdir_label=config.upperdir_label,
        sync_remove=config.sync_remove,
        mount_options=config.mount_options,
        user_xattrs=not is_initial(),
    )
    root = os.path.dirname(context.root)
    with own_place(settings.path, root):
        yield await _snapshotter(context, Overlay(root, settings))


@asynccontextmanager
async def _native(context: Context) -> AsyncIterator[Snapshotter]:
    from orlop.snapshots.native import Native
    from orlop.snapshots.place import own_place

    root, path = os.path.dirname(context.root), cast("NativeConfig", context.config).root_path
    with own_place(path, root):
        yield await _snapshotter(context, Native(root, path))


async def _snapshotter(context: Context, layout: Format) -> Snapshotter:
    from orlop.linux.clock import SystemClock
    from orlop.snapshots.service import SnapshotService

    records = cast("MetadataStore", context.one_of(METADATA))
    service = SnapshotService(layout, records, SystemClock())
    await service.recover()
    context.export("root", service.root)
    context.export("layers", "in any order" if layout.independent else "lowest first")
    return service


@asynccontextmanager
async def _barrier(context: Context) -> AsyncIterator[Barrier]:
    from orlop.pull.barrier import Barrier, FileSystems

    store = cast("LocalBlobStore", context.one_of(CONTENT))
    roots = [snapshotter.root for snapshotter in _snapshotters(context).values()]
    with FileSystems.opened(store.path, store.sync, roots) as disks:
        yield Barrier(disks.sync)


@asynccontextmanager
async def _metrics(context: Context) -> AsyncIterator[Observer]:
    address = cast("MetricsConfig", context.config).address
    if not address:
        raise Skipped("no address is configured")
    from orlop.metrics.observer import PrometheusObserver
    from orlop.metrics.server import serve

    observer = PrometheusObserver()
    with serve(address, observer) as served:
        context.export("address", served)
        yield observer


@asynccontextmanager
async def _unpack(context: Context) -> AsyncIterator[WorkerPool]:
    import structlog

    from orlop.linux import userns
    from orlop.unpack.pool import WorkerPool

    config = cast("ImageConfig", context.config)
    async with WorkerPool(
        config.limits.limits,
        strict=config.isolation == "required",
        niceness=_WORKERS_NICE if context.daemon else 0,
        warn=structlog.get_logger().warning,
        devices=userns.is_initial(),
        owners=userns.granted() if config.ignore_chown_errors else (0, 0),
    ) as pool:
        pool.start()
        yield pool


@asynccontextmanager
async def _registry(context: Context) -> AsyncIterator[Registry]:
    import structlog

    from orlop.linux.clock import SystemClock
    from orlop.registry.client import RegistryClient

    config = cast("ImageConfig", context.config)
    client = RegistryClient(
        client_settings(config, os.environ),
        clock=SystemClock(),
        limits=config.limits.limits,
        warn=structlog.get_logger().warning,
    )

    def prepare(config: object) -> Commit:
        return partial(client.reload, client_settings(cast("ImageConfig", config), os.environ))

    context.on_reload(prepare, keys=REGISTRY_KEYS)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def _verifier(context: Context) -> AsyncIterator[BinaryVerifiers]:
    from orlop.pull.verifiers import BinaryVerifiers

    settings = verifier_settings(cast("VerifierConfig", context.config))
    context.export("directory", settings.bin_dir)
    yield BinaryVerifiers(settings)


@asynccontextmanager
async def _gc(context: Context) -> AsyncIterator[Scheduler]:
    from orlop.gc.collect import Collector
    from orlop.gc.scheduler import Scheduler
    from orlop.gc.trash import Trash
    from orlop.linux.clock import SystemClock
    from orlop.linux.space import free_share

    store = cast("LocalBlobStore", context.one_of(CONTENT))
    snapshotters = _snapshotters(context)

    def delete_directory(snapshotter: str, directory: int) -> None:
        snapshotters[snapshotter].staging.throw_away(directory)

    metadata = cast("MetadataStore", context.one_of(METADATA))
    places = [snapshotter.staging.empty_trash for snapshotter in snapshotters.values()]
    roots = [snapshotter.root for snapshotter in snapshotters.values()]
    trash = Trash(places, free_share=lambda: min(map(free_share, roots)))
    collector = Collector(
        metadata,
        SystemClock(),
        delete_blob=store.delete,
        delete_directory=delete_directory,
        trash=trash,
    )
    await collector.remove_orphans(store)
    section = cast("SchedulerConfig", context.config)
    scheduler = Scheduler(
        collector,
        store,
        schedule_settings(section),
        clock=SystemClock(),
        ingest_seconds=section.ingest_expiry.seconds,
    )
    async with trash.running(), scheduler.running():
        with metadata.watched(scheduler.changed):
            yield scheduler


@asynccontextmanager
async def _service(context: Context) -> AsyncIterator[ImageService]:
    from orlop.images.ahead import reading_ahead
    from orlop.images.doubt import trusting
    from orlop.images.mounts import ImageMounts
    from orlop.images.scrub import scrubbing
    from orlop.images.service import LocalImageService
    from orlop.linux.boot import Run
    from orlop.linux.clock import SystemClock
    from orlop.linux.mounter import SystemMounter

    config = cast("ImageConfig", context.config)
    transfer = cast("TransferConfig", context.also[keys.TRANSFER[1]])
    # Either key asks for it: containerd syncs what the one or the other tells it to.
    syncs = config.image_pull_with_sync_fs or cast("DiffConfig", context.also[keys.DIFF[1]]).sync_fs
    barrier = cast("Barrier", context.one_of(BARRIER))
    store = cast("LocalBlobStore", context.one_of(CONTENT))
    metadata = cast("MetadataStore", context.one_of(METADATA))
    collector = cast("GarbageCollector", context.one_of(GC))
    snapshotters = _snapshotters(context)
    settings = service_settings(config, transfer, content_root=store.path)
    if settings.snapshotter not in snapshotters:
        raise InvalidArgument(
            f'the snapshotter "{settings.snapshotter}" is not loaded',
            hint=f"loaded are: {', '.join(snapshotters)}",
        )
    processing = processing_settings(_processors(context), config)
    mounts = ImageMounts(snapshotters, SystemMounter())
    pipeline = _pipeline(context, barrier if syncs else None, processing)
    for namespace in await metadata.namespaces():
        await mounts.forget_lost(namespace)
    archives, exporter = await _archives(store, collector, config.limits.limits)
    service = LocalImageService(
        settings,
        puller=pipeline,
        store=store,
        metadata=metadata,
        snapshotters=snapshotters,
        collector=collector,
        mounts=mounts,
        repairs=_repairs(context, config.limits.limits, pipeline),
        archives=archives,
        exporter=exporter,
        clock=SystemClock(),
        limits=config.limits.limits,
    )

    def prepare(new: object) -> Commit:
        pulls = replace(pull_settings(cast("ImageConfig", new)), processing=processing)
        calls = service_settings(cast("ImageConfig", new), transfer, content_root=store.path)

        def commit() -> None:
            pipeline.reload(pulls)
            service.reload(calls)

        return commit

    await service.start()
    context.on_reload(prepare, keys=(*PULL_KEYS, *SERVICE_KEYS))
    context.export("platform", str(settings.platform))
    context.export("snapshotter", settings.snapshotter)
    scrub = scrubbing(service, seconds=config.scrub_interval.seconds, rate=config.scrub_rate)
    run = Run(os.path.dirname(context.root))
    ahead = reading_ahead(metadata, settings.namespace) if context.daemon else nullcontext()
    async with trusting(service, metadata, run, barrier.wait, syncs=syncs), scrub, ahead:
        yield service


def _pipeline(context: Context, barrier: Barrier | None, processing: Processing) -> Pipeline:
    from orlop.images.observers import Observers
    from orlop.linux.clock import SystemClock
    from orlop.pull.pipeline import Parts, Pipeline

    config = cast("ImageConfig", context.config)
    database = cast("MetadataConfig", context.also[keys.METADATA[1]])
    store = cast("LocalBlobStore", context.one_of(CONTENT))
    return Pipeline(
        Parts(
            registry=cast("Registry", context.one_of(REGISTRY)),
            store=store,
            metadata=cast("MetadataStore", context.one_of(METADATA)),
            unpacker=cast("WorkerPool", context.one_of(UNPACK)),
            protector=cast("GarbageCollector", context.one_of(GC)),
            observer=Observers(cast("Mapping[str, Observer]", context.all_of(OBSERVER))),
            clock=SystemClock(),
            barrier=barrier,
            free_bytes=lambda: shutil.disk_usage(store.path).free,
            isolated=database.content_sharing_policy == "isolated",
            verifiers=_verifiers(context),
            spool=store.path,
        ),
        replace(pull_settings(config), processing=processing),
    )


async def _archives(
    store: LocalBlobStore, collector: GarbageCollector, limits: Limits
) -> tuple[Archives, Exporter]:
    """What reads archives, and what writes them."""
    from orlop.images.exporting import Exporter
    from orlop.pull.archive_source import ArchiveOpener
    from orlop.pull.archive_writer import TarArchiveWriter
    from orlop.unpack.decompress import by_content, sniff

    archives = ArchiveOpener(store, decompression=by_content, sniff=sniff, limits=limits)
    await asyncio.to_thread(archives.recover)
    return archives, Exporter(store, collector, TarArchiveWriter(store), limits=limits)


def _repairs(context: Context, limits: Limits, puller: Puller) -> ImageRepair:
    from orlop.images.check import ImageCheck
    from orlop.images.repair import ImageRepair

    metadata = cast("MetadataStore", context.one_of(METADATA))
    snapshotters = _snapshotters(context)
    return ImageRepair(
        checker=ImageCheck(
            store=cast("LocalBlobStore", context.one_of(CONTENT)),
            metadata=metadata,
            snapshotters=snapshotters,
            limits=limits,
        ),
        puller=puller,
        metadata=metadata,
        snapshotters=snapshotters,
    )


def _snapshotters(context: Context) -> Mapping[str, Snapshotter]:
    return cast("Mapping[str, Snapshotter]", context.all_of(SNAPSHOTTER))


def _verifiers(context: Context) -> Sequence[ImageVerifier]:
    return cast("Sequence[ImageVerifier]", tuple(context.all_of(VERIFIER).values()))


def _processors(context: Context) -> Mapping[str, StreamProcessor]:
    # They stand outside of all plugins' tables.
    return cast("App", context.host).config.stream_processors if context.host else {}
