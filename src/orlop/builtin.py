"""What is in the box: the table of built-in plugins, and how each is made.

Read it top down: a plugin's parts are those above it. Everything is imported
when a plugin starts, so that a command pays only for what it uses.
"""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from orlop.plugins.registration import Context, Registration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from orlop.config.schema import Config, ImageConfig
    from orlop.gc.collect import Collector
    from orlop.images.settings import ServiceSettings
    from orlop.metadata.store import MetadataStore
    from orlop.ports.observe import Observer
    from orlop.ports.registry import Registry
    from orlop.ports.service import ImageService
    from orlop.ports.snapshots import Snapshotter
    from orlop.pull.pipeline import PullSettings
    from orlop.registry.settings import RegistrySettings
    from orlop.store.blobs import LocalBlobStore
    from orlop.unpack.pool import WorkerPool

CONTENT = "io.containerd.content.v1"
METADATA = "io.containerd.metadata.v1"
SNAPSHOTTER = "io.containerd.snapshotter.v1"
METRICS = "io.orlop.metrics.v1"
UNPACK = "io.orlop.unpack.v1"
REGISTRY = "io.orlop.registry.v1"
GC = "io.containerd.gc.v1"
IMAGES = "io.containerd.cri.v1"

SERVICE = f"{IMAGES}.images"
"""Full name of the plugin whose instance is the ``ImageService``."""


def builtin() -> tuple[Registration, ...]:
    """The table."""
    return (
        Registration(CONTENT, "content", _content),
        Registration(METADATA, "sqlite", _metadata),
        Registration(SNAPSHOTTER, "overlayfs", _overlayfs, requires=(METADATA,)),
        Registration(SNAPSHOTTER, "native", _native, requires=(METADATA,), optional=True),
        Registration(METRICS, "prometheus", _metrics, config=_whole),
        Registration(UNPACK, "workers", _unpack, config=_images),
        Registration(REGISTRY, "distribution", _registry, config=_images),
        Registration(GC, "scheduler", _gc, requires=(CONTENT, METADATA, SNAPSHOTTER)),
        Registration(
            IMAGES,
            "images",
            _service,
            requires=(CONTENT, METADATA, SNAPSHOTTER, METRICS, UNPACK, REGISTRY, GC),
            config=_images,
        ),
    )


def _whole(config: object) -> object:
    return config


def _images(config: object) -> object:
    return cast("Config", config).images


@asynccontextmanager
async def _content(context: Context) -> AsyncIterator[LocalBlobStore]:
    from orlop.linux.clock import SystemClock
    from orlop.store.blobs import LocalBlobStore

    with LocalBlobStore(context.root, clock=SystemClock()) as store:
        yield store


@asynccontextmanager
async def _metadata(context: Context) -> AsyncIterator[MetadataStore]:
    from orlop.linux.clock import SystemClock
    from orlop.linux.root import open_root
    from orlop.metadata.store import MetadataStore

    os.close(open_root(context.root))
    async with MetadataStore.open(os.path.join(context.root, "meta.db"), SystemClock()) as store:
        yield store


@asynccontextmanager
async def _overlayfs(context: Context) -> AsyncIterator[Snapshotter]:
    from orlop.linux.clock import SystemClock
    from orlop.snapshots.overlay import Overlay
    from orlop.snapshots.service import SnapshotService

    records = cast("MetadataStore", context.one_of(METADATA))
    service = SnapshotService(Overlay(os.path.dirname(context.root)), records, SystemClock())
    await service.recover()
    yield service


@asynccontextmanager
async def _native(context: Context) -> AsyncIterator[Snapshotter]:
    from orlop.linux.clock import SystemClock
    from orlop.snapshots.native import Native
    from orlop.snapshots.service import SnapshotService

    records = cast("MetadataStore", context.one_of(METADATA))
    service = SnapshotService(Native(os.path.dirname(context.root)), records, SystemClock())
    await service.recover()
    yield service


@asynccontextmanager
async def _metrics(context: Context) -> AsyncIterator[Observer]:
    address = cast("Config", context.config).metrics.address
    if not address:
        from orlop.ports.observe import NOBODY

        yield NOBODY
        return
    from orlop.metrics.observer import PrometheusObserver
    from orlop.metrics.server import serve

    observer = PrometheusObserver()
    with serve(address, observer):
        yield observer


@asynccontextmanager
async def _unpack(context: Context) -> AsyncIterator[WorkerPool]:
    import structlog

    from orlop.unpack.pool import WorkerPool

    strict = cast("ImageConfig", context.config).isolation == "required"
    async with WorkerPool(strict=strict, warn=structlog.get_logger().warning) as pool:
        pool.start()
        yield pool


@asynccontextmanager
async def _registry(context: Context) -> AsyncIterator[Registry]:
    from orlop.linux.clock import SystemClock
    from orlop.registry.client import RegistryClient

    settings = _registry_settings(cast("ImageConfig", context.config))
    client = RegistryClient(settings, clock=SystemClock())
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def _gc(context: Context) -> AsyncIterator[Collector]:
    from orlop.gc.collect import Collector
    from orlop.linux.clock import SystemClock

    store = cast("LocalBlobStore", context.one_of(CONTENT))
    snapshotters = _snapshotters(context)

    def delete_directory(snapshotter: str, directory: int) -> None:
        snapshotters[snapshotter].staging.delete(directory)

    collector = Collector(
        cast("MetadataStore", context.one_of(METADATA)),
        SystemClock(),
        delete_blob=store.delete,
        delete_directory=delete_directory,
    )
    await collector.remove_orphans(store)
    yield collector


@asynccontextmanager
async def _service(context: Context) -> AsyncIterator[ImageService]:
    from orlop.images.check import ImageCheck
    from orlop.images.mounts import ImageMounts
    from orlop.images.service import LocalImageService
    from orlop.linux.clock import SystemClock
    from orlop.linux.mounter import SystemMounter
    from orlop.pull.barrier import Barrier
    from orlop.pull.pipeline import Parts, Pipeline

    config = cast("ImageConfig", context.config)
    store = cast("LocalBlobStore", context.one_of(CONTENT))
    metadata = cast("MetadataStore", context.one_of(METADATA))
    collector = cast("Collector", context.one_of(GC))
    snapshotters = _snapshotters(context)
    settings = _service_settings(config)
    mounts = ImageMounts(snapshotters, SystemMounter())
    pipeline = Pipeline(
        Parts(
            registry=cast("Registry", context.one_of(REGISTRY)),
            store=store,
            metadata=metadata,
            unpacker=cast("WorkerPool", context.one_of(UNPACK)),
            protector=collector,
            observer=cast("Observer", context.one_of(METRICS)),
            clock=SystemClock(),
            barrier=Barrier(store.sync) if config.image_pull_with_sync_fs else None,
            free_bytes=lambda: shutil.disk_usage(store.path).free,
        ),
        _pull_settings(config),
    )
    for namespace in await metadata.namespaces():
        await mounts.forget_lost(namespace)
    # The first listing after a start reads everything; later ones only what has changed.
    await metadata.images(settings.namespace)
    yield LocalImageService(
        settings,
        puller=pipeline,
        store=store,
        metadata=metadata,
        snapshotters=snapshotters,
        collector=collector,
        mounts=mounts,
        checker=ImageCheck(
            store=store,
            metadata=metadata,
            snapshotters=snapshotters,
            tree_exists=os.path.isdir,
        ),
        clock=SystemClock(),
    )


def _snapshotters(context: Context) -> Mapping[str, Snapshotter]:
    return cast("Mapping[str, Snapshotter]", context.all_of(SNAPSHOTTER))


def _pull_settings(config: ImageConfig) -> PullSettings:
    from orlop.pull.pipeline import PullSettings

    return PullSettings(
        progress_timeout=config.image_pull_progress_timeout.seconds,
        concurrent_downloads=config.max_concurrent_downloads,
        total_downloads=config.max_total_downloads,
        concurrent_unpacks=config.max_concurrent_unpacks,
    )


def _registry_settings(config: ImageConfig) -> RegistrySettings:
    from orlop.registry.settings import HostSettings, RegistrySettings

    registry = config.registry
    headers = {name: ", ".join(values) for name, values in registry.headers.items()}
    return RegistrySettings(
        hosts={
            host: HostSettings(
                plain_http=True if host in registry.insecure_registries else None,
                ca_file=registry.ca_files.get(host, ""),
                headers=headers,
            )
            for host in {*registry.insecure_registries, *registry.ca_files}
        }
    )


def _service_settings(config: ImageConfig) -> ServiceSettings:
    from orlop.images.settings import Runtime, ServiceSettings
    from orlop.model.platform import from_machine

    return ServiceSettings(
        platform=from_machine(os.uname().machine),
        snapshotter=config.snapshotter,
        pinned=tuple(config.pinned_images.values()),
        runtimes={
            handler: Runtime(runtime.platform, runtime.snapshotter)
            for handler, runtime in config.runtime_platforms.items()
        },
    )
