"""A service on a real database and stand-ins for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from orlop.images.check import ImageCheck
from orlop.images.exporting import Exporter
from orlop.images.mounts import ImageMounts
from orlop.images.repair import ImageRepair
from orlop.images.service import LocalImageService
from orlop.images.settings import Runtime, ServiceSettings
from orlop.linux.clock import SystemClock
from orlop.metadata.store import MetadataStore
from orlop.model.limits import DEFAULTS
from orlop.model.platform import Platform
from orlop.ports.metadata import BlobRecord, ImageRecord, Publication, SnapshotRecord
from orlop.pull.archive_source import ArchiveOpener
from orlop.pull.archive_writer import TarArchiveWriter
from orlop.snapshots.native import Native
from orlop.snapshots.service import SnapshotService
from orlop.testing.manual_clock import ManualClock
from orlop.testing.memory_store import MemoryStore
from orlop.unpack.decompress import by_content, sniff
from tests.unit.images.rig import SPACE, Asked, Collected, Mounted, name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orlop.ports.snapshots import Snapshotter


@dataclass(frozen=True)
class Bench:
    """The service and what it was given."""

    service: LocalImageService
    metadata: MetadataStore
    store: MemoryStore
    mounter: Mounted
    mounts: ImageMounts
    snapshotter: SnapshotService
    collector: Collected
    puller: Asked

    async def add(self, image: ImageRecord, *names: str, namespace: str = SPACE) -> None:
        """Put an image with these names, and its id, into the database."""
        snapshots = []
        if image.chain_id:
            staged = self.snapshotter.staging.stage(())
            self.snapshotter.staging.publish([staged])
            snapshots.append(
                SnapshotRecord(
                    "plain", image.chain_id, staged.directory, "committed", "", bytes=10, inodes=1
                )
            )
        await self.metadata.publish(
            namespace,
            Publication(
                blobs=[BlobRecord(image.manifest, 7), BlobRecord(image.id, 7)],
                snapshots=snapshots,
                record=image,
                names=[name(text, image) for text in (*names, str(image.id))],
            ),
        )


class Plain(Native):
    """The native layout under another name; nothing is copied or mounted here."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.name = "plain"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = ManualClock()
    with MemoryStore(clock) as store:
        async with MetadataStore.open(str(tmp_path / "meta.db"), SystemClock()) as metadata:
            snapshotter = SnapshotService(Plain(str(tmp_path / "root")), metadata, clock)
            await snapshotter.recover()
            snapshotters = cast("dict[str, Snapshotter]", {"plain": snapshotter})
            mounter, collector, puller = Mounted(), Collected(), Asked()
            mounts = ImageMounts(snapshotters, mounter)
            service = LocalImageService(
                ServiceSettings(
                    platform=Platform("linux", "amd64"),
                    snapshotter="plain",
                    pinned=("registry.example/pause:3.9", "busybox"),
                    runtimes={
                        "kata": Runtime("linux/arm64", ""),
                        "other": Runtime("", "absent"),
                        "bare": Runtime(),
                    },
                ),
                puller=puller,
                store=store,
                metadata=metadata,
                snapshotters=snapshotters,
                collector=collector,
                mounts=mounts,
                repairs=ImageRepair(
                    checker=ImageCheck(store=store, metadata=metadata, snapshotters=snapshotters),
                    puller=puller,
                    metadata=metadata,
                    snapshotters=snapshotters,
                ),
                archives=ArchiveOpener(
                    store, decompression=by_content, sniff=sniff, limits=DEFAULTS
                ),
                exporter=Exporter(store, collector, TarArchiveWriter(store)),
                clock=clock,
            )
            yield Bench(service, metadata, store, mounter, mounts, snapshotter, collector, puller)
