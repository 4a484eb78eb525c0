"""A whole image service with small parts where speed matters and nothing is at stake.

Real: the pull, the database, blobs, snapshots and their directories, the collector, the
trash, the service. Small: a registry without a network, an unpacker without processes,
a mounter without a kernel, and a clock that a test moves.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from orlop.errors import NotFound
from orlop.gc.collect import Collector
from orlop.gc.trash import Trash
from orlop.images.check import ImageCheck
from orlop.images.exporting import Exporter
from orlop.images.mounts import ImageMounts
from orlop.images.observers import Observers
from orlop.images.repair import ImageRepair
from orlop.images.service import LocalImageService
from orlop.images.settings import ServiceSettings
from orlop.metadata.store import MetadataStore
from orlop.model.limits import DEFAULTS
from orlop.model.platform import Platform
from orlop.ports.registry import Resolved
from orlop.ports.unpack import Unpacked
from orlop.pull.archive_source import ArchiveOpener
from orlop.pull.archive_writer import TarArchiveWriter
from orlop.pull.barrier import Barrier
from orlop.pull.pipeline import Parts, Pipeline, PullSettings
from orlop.snapshots.overlay import Overlay
from orlop.snapshots.service import SnapshotService
from orlop.store.blobs import LocalBlobStore
from orlop.testing.images import BuiltIndex
from orlop.unpack.decompress import by_content, sniff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.reference import Reference
    from orlop.ports.clock import Clock
    from orlop.ports.registry import Credentials, Traffic
    from orlop.ports.snapshots import Mount
    from orlop.ports.unpack import Unpacker, UnpackJob, UnpackProgress
    from orlop.snapshots.service import Format
    from orlop.testing.images import BuiltImage

FILE_BYTES = 4096


class Shelf:
    """A ``Registry`` in memory, without a network."""

    def __init__(self) -> None:
        self._documents: dict[Digest, tuple[str, bytes]] = {}
        self._blobs: dict[Digest, bytes] = {}
        self._tags: dict[str, BuiltImage | BuiltIndex] = {}

    def push(self, reference: str, image: BuiltImage | BuiltIndex) -> None:
        """Offer an image or an index by name, and all below it by digest."""
        self._tags[reference] = image
        self._blobs |= image.blobs
        if isinstance(image, BuiltIndex):
            self._documents |= image.manifests
            self._documents[image.digest] = (image.media_type, image.raw)
        else:
            self._documents[image.digest] = (image.media_type, image.manifest)

    def remote(
        self, reference: Reference, *, credentials: Credentials | None, traffic: Traffic
    ) -> ShelfRemote:
        """See ``Registry``."""
        return ShelfRemote(self, reference)

    async def close(self) -> None:
        """See ``Registry``."""

    def resolve(self, reference: Reference) -> Resolved:
        """What a name means."""
        tagged = self._tags.get(str(reference))
        if tagged is None:
            raise NotFound(f"{reference} is not on the shelf")
        return Resolved(tagged.descriptor)

    def read(self, digest: Digest) -> bytes:
        """Any document or blob."""
        found = self._documents.get(digest)
        return found[1] if found else self._blobs[digest]


@dataclass
class ShelfRemote:
    """A ``Remote``; blobs come in one piece."""

    shelf: Shelf
    reference: Reference

    async def resolve(self) -> Resolved:
        return self.shelf.resolve(self.reference)

    async def document(self, descriptor: Descriptor, *, limit: int) -> bytes:
        return self.shelf.read(descriptor.digest)

    async def prove(self, descriptor: Descriptor) -> None:
        pass

    @asynccontextmanager
    async def blob(
        self, descriptor: Descriptor, *, offset: int = 0, length: int = 0
    ) -> AsyncIterator[Body]:
        end = offset + length if length else descriptor.size
        yield Body(self.shelf.read(descriptor.digest)[offset:end], offset, end)


@dataclass
class Body:
    """A part of a blob."""

    data: bytes
    start: int
    end: int

    @property
    def waiting(self) -> int:
        return len(self.data)

    async def read(self) -> bytes:
        data, self.data = self.data, b""
        return data


class OneFile:
    """An ``Unpacker``: every layer is one file with its diffID."""

    async def unpack(self, job: UnpackJob, progress: UnpackProgress | None = None) -> Unpacked:
        async for _ in job.source.follow():
            pass
        fd = os.open("layer", os.O_CREAT | os.O_WRONLY, dir_fd=job.target)
        try:
            os.write(fd, str(job.diff_id).encode())
        finally:
            os.close(fd)
        return Unpacked(disk_bytes=FILE_BYTES, inodes=2, entries=1)

    async def close(self) -> None:
        pass


@dataclass
class Places:
    """A ``Mounter`` that remembers; like the kernel's, it outlives the service."""

    mounted: dict[str, Sequence[Mount]] = field(default_factory=dict)

    def mount(self, mounts: Sequence[Mount], target: str) -> None:
        self.mounted[target] = mounts

    def unmount(self, target: str) -> None:
        if self.mounted.pop(target, None) is None:
            raise NotFound(f"nothing is mounted on {target}")

    def is_mounted(self, target: str) -> bool:
        return target in self.mounted


@dataclass(frozen=True)
class SmallStore:
    """A service and its parts."""

    root: Path
    service: LocalImageService
    metadata: MetadataStore
    blobs: LocalBlobStore
    snapshots: SnapshotService
    collector: Collector
    trash: Trash

    def files(self) -> set[str]:
        """Digests of all blobs on the disk."""
        return {str(blob.digest) for blob in self.blobs.walk()}

    def trees(self, place: str = "snapshots") -> set[int]:
        """Numbers of the directories in a place."""
        home = self.root / "io.containerd.snapshotter.v1.overlayfs" / place
        return {int(name) for name in os.listdir(home)}


@dataclass(frozen=True)
class Fittings:
    """What a small store is made with.

    Attributes:
        free: share of the disk that is free.
        sync: the database waits for the disk.
        barrier: pulls wait for the disk; None: they sync their blobs one by one.
        unpacker: fills trees; None is ``OneFile``.
        trees: keeps them; None is ``Overlay``.
    """

    free: float = 1.0
    sync: bool = False
    barrier: Callable[[LocalBlobStore], None] | None = lambda _: None
    unpacker: Unpacker | None = None
    trees: Format | None = None


@asynccontextmanager
async def small_store(
    root: Path, shelf: Shelf, clock: Clock, places: Places, fittings: Fittings = Fittings()
) -> AsyncIterator[SmallStore]:
    """Start the service on ``root`` as ``orlop.builtin`` does; it ends with the block."""
    path = str(root / "db" / "meta.db")
    async with MetadataStore.open(path, clock, sync=fittings.sync) as metadata:
        snapshots = SnapshotService(fittings.trees or Overlay(str(root)), metadata, clock)
        await snapshots.recover()
        snapshotters = {snapshots.name: snapshots}
        trash = Trash([snapshots.staging.empty_trash], free_share=lambda: fittings.free)
        with LocalBlobStore(str(root / "content"), clock=clock) as blobs:
            collector = Collector(
                metadata,
                clock,
                delete_blob=blobs.delete,
                delete_directory=lambda _, directory: snapshots.staging.throw_away(directory),
                trash=trash,
            )
            await collector.remove_orphans(blobs)
            mounts = ImageMounts(snapshotters, places)
            for namespace in await metadata.namespaces():
                await mounts.forget_lost(namespace)
            pipeline = Pipeline(
                Parts(
                    registry=shelf,
                    store=blobs,
                    metadata=metadata,
                    unpacker=fittings.unpacker or OneFile(),
                    protector=collector,
                    observer=Observers({}),
                    clock=clock,
                    barrier=Barrier(partial(fittings.barrier, blobs)) if fittings.barrier else None,
                    free_bytes=lambda: 1 << 40,
                ),
                PullSettings(),
            )
            service = LocalImageService(
                ServiceSettings(Platform.parse("linux/amd64")),
                puller=pipeline,
                store=blobs,
                metadata=metadata,
                snapshotters=snapshotters,
                collector=collector,
                mounts=mounts,
                repairs=ImageRepair(
                    checker=ImageCheck(store=blobs, metadata=metadata, snapshotters=snapshotters),
                    puller=pipeline,
                    metadata=metadata,
                    snapshotters=snapshotters,
                ),
                archives=ArchiveOpener(
                    blobs, decompression=by_content, sniff=sniff, limits=DEFAULTS
                ),
                exporter=Exporter(blobs, collector, TarArchiveWriter(blobs)),
                clock=clock,
            )
            async with trash.running():
                yield SmallStore(root, service, metadata, blobs, snapshots, collector, trash)
