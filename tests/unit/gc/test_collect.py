"""Collecting from a real store, beside work that goes on."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from orlop.errors import NotFound, StoreIO, Unavailable
from orlop.gc.collect import Collector
from orlop.gc.trash import SHORT, SLICE, Trash
from orlop.metadata.store import MetadataStore
from orlop.model.digest import Digest
from orlop.ports.metadata import (
    BlobRecord,
    ImageName,
    ImageRecord,
    Lease,
    Publication,
    SnapshotRecord,
    Target,
    Usage,
)
from orlop.ports.service import GCReport
from orlop.store.blobs import LocalBlobStore
from orlop.testing.content_suite import put
from orlop.testing.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from orlop.ports.metadata import Garbage, Swept

NS = "k8s.io"
FS = "overlayfs"
NOTHING = GCReport(images=0, blobs=0, snapshots=0, bytes=0)


@pytest.fixture
def blobs(tmp_path: Path) -> Iterator[LocalBlobStore]:
    with LocalBlobStore(str(tmp_path / "content"), clock=ManualClock()) as store:
        yield store


@pytest.fixture
async def metadata(tmp_path: Path) -> AsyncIterator[MetadataStore]:
    async with MetadataStore.open(str(tmp_path / "db" / "meta.db"), ManualClock()) as store:
        yield store


@pytest.fixture
def deleted() -> list[tuple[str, int]]:
    """Directories that the collector has had deleted."""
    return []


@pytest.fixture
def collector(
    metadata: MetadataStore, blobs: LocalBlobStore, deleted: list[tuple[str, int]]
) -> Collector:
    return Collector(
        metadata,
        ManualClock(),
        delete_blob=blobs.delete,
        delete_directory=lambda snapshotter, directory: deleted.append((snapshotter, directory)),
    )


async def publish(
    metadata: MetadataStore, blobs: LocalBlobStore, word: str, *, namespace: str = NS
) -> Digest:
    """An image with the one name ``word``: config, manifest, layer, snapshot; 30 bytes."""
    config, manifest, layer = (
        put(blobs, f"{word}.{kind}".ljust(10).encode()) for kind in ("c", "m", "l")
    )
    labels = {
        "containerd.io/gc.ref.content.config": str(config),
        "containerd.io/gc.ref.content.l.0": str(layer),
    }
    directory = len(await metadata.directories(FS)) + 1
    await metadata.publish(
        namespace,
        Publication(
            blobs=[
                BlobRecord(config, 10, {f"containerd.io/gc.ref.snapshot.{FS}": word}),
                BlobRecord(manifest, 10, labels),
                BlobRecord(layer, 10),
            ],
            snapshots=[SnapshotRecord(FS, word, directory, "committed", "", bytes=5, inodes=1)],
            record=ImageRecord(config, manifest, "linux/amd64", FS, word, "", 30, 5, synced=True),
            names=[ImageName(word, Target("manifest", manifest, 10), config)],
        ),
    )
    return config


async def test_what_is_named_stays(
    collector: Collector, metadata: MetadataStore, blobs: LocalBlobStore
) -> None:
    await publish(metadata, blobs, "a")
    assert await collector.collect() == NOTHING
    assert len(list(blobs.walk())) == 3


async def test_what_is_removed_goes_from_disk(
    collector: Collector,
    metadata: MetadataStore,
    blobs: LocalBlobStore,
    deleted: list[tuple[str, int]],
) -> None:
    await publish(metadata, blobs, "a")
    await publish(metadata, blobs, "b")
    await metadata.remove_name(NS, "a")
    expected = GCReport(images=0, blobs=3, snapshots=1, bytes=35)
    assert await collector.collect(dry_run=True) == expected
    assert len(list(blobs.walk())) == 6
    assert await collector.collect() == expected
    assert len(list(blobs.walk())) == 3
    assert deleted == [(FS, 1)]
    assert await metadata.usage() == Usage(bytes=35, inodes=4)
    assert await collector.collect() == NOTHING


async def test_space_that_was_short_before_a_removal_is_freed_by_it(
    metadata: MetadataStore, blobs: LocalBlobStore
) -> None:
    """The blobs that go first may make enough room; the trees go with them all the same."""
    free, inodes = SHORT - 0.01, 0

    def delete_blob(digest: Digest) -> None:
        nonlocal free
        blobs.delete(digest)
        free = SHORT

    def delete_directory(snapshotter: str, directory: int) -> None:
        nonlocal inodes
        inodes += 2 * SLICE

    def empty(most: int) -> int:
        nonlocal inodes
        removed = min(most, inodes)
        inodes -= removed
        return removed

    collector = Collector(
        metadata,
        ManualClock(),
        delete_blob=delete_blob,
        delete_directory=delete_directory,
        trash=Trash([empty], free_share=lambda: free),
    )
    await publish(metadata, blobs, "a")
    await metadata.remove_name(NS, "a")
    await collector.collect()
    assert (free, inodes) == (SHORT, 0)


async def test_a_name_that_moved_away_leaves_garbage(
    collector: Collector, metadata: MetadataStore, blobs: LocalBlobStore
) -> None:
    await publish(metadata, blobs, "a")
    new = await publish(metadata, blobs, "b")
    (moved,) = [image.names[0] for image in await metadata.images(NS) if image.record.id == new]
    await metadata.put_name(NS, ImageName("a", moved.target, new))
    assert (await collector.collect()).images == 1
    (image,) = await metadata.images(NS)
    assert [name.name for name in image.names] == ["a", "b"]


async def test_namespaces_share_files(
    collector: Collector,
    metadata: MetadataStore,
    blobs: LocalBlobStore,
    deleted: list[tuple[str, int]],
) -> None:
    await publish(metadata, blobs, "a")
    await publish(metadata, blobs, "a", namespace="other")
    await metadata.remove_name(NS, "a")
    report = await collector.collect()
    assert (report.blobs, report.snapshots) == (3, 1)
    assert len(list(blobs.walk())) == 3
    assert deleted == [(FS, 1)]
    await metadata.remove_name("other", "a")
    await collector.collect()
    assert not list(blobs.walk())
    assert await metadata.namespaces() == []


async def test_what_is_protected_stays(
    collector: Collector, metadata: MetadataStore, blobs: LocalBlobStore
) -> None:
    config = await publish(metadata, blobs, "a")
    await metadata.remove_name(NS, "a")
    async with collector.protect() as protection:
        await protection.add([config], snapshots=[(FS, "nobody")])
        assert (await collector.collect()).blobs == 2
        assert [blob.digest for blob in blobs.walk()] == [config]
        assert len(await metadata.snapshots(NS)) == 1  # the config refers to it
    assert (await collector.collect()).blobs == 1
    assert not list(blobs.walk())


async def test_protecting_while_a_collection_decides(
    collector: Collector, metadata: MetadataStore, blobs: LocalBlobStore
) -> None:
    """At whatever moment it is asked for: what is found after it, stays."""
    for delay in range(12):
        config = await publish(metadata, blobs, "a")
        await metadata.remove_name(NS, "a")
        collection = asyncio.create_task(collector.collect())
        for _ in range(delay * 3):
            await asyncio.sleep(0)
        async with collector.protect() as protection:
            await protection.add([config])
            found = await metadata.known_blobs(NS, [config])
            await collection
            assert await metadata.known_blobs(NS, [config]) == found
            if found:
                blobs.verify(config)
        await collector.collect()


async def test_a_file_is_not_deleted_under_a_pull_that_brings_it_again(
    metadata: MetadataStore, tmp_path: Path
) -> None:
    """Rows gone, file about to go: a pull protects the name, and keeps the file."""
    with LocalBlobStore(str(tmp_path / "content"), clock=ManualClock()) as blobs:
        swept = asyncio.Event()
        go_on = asyncio.Event()

        class Paused(MetadataStore):
            __slots__ = ()

            async def sweep(self, namespace: str, garbage: Garbage) -> Swept:
                result = await super().sweep(namespace, garbage)
                swept.set()
                await go_on.wait()
                return result

        async with MetadataStore.open(str(tmp_path / "2" / "meta.db"), ManualClock()) as plain:
            paused = Paused(plain._database, ManualClock())
            collector = Collector(
                paused,
                ManualClock(),
                delete_blob=blobs.delete,
                delete_directory=lambda *_: None,
            )
            config = await publish(paused, blobs, "a")
            await paused.remove_name(NS, "a")
            async with collector.protect() as protection:
                collection = asyncio.create_task(collector.collect())
                await swept.wait()
                adding = asyncio.create_task(protection.add([config]))
                await asyncio.sleep(0)
                assert not adding.done()  # it waits for the decision
                go_on.set()
                await adding
                await collection
                # Either the file was deleted before `add` returned, or it stays.
                assert await paused.known_blobs(NS, [config]) == {}
                await publish(paused, blobs, "a")
                blobs.verify(config)
            assert await collector.collect() == NOTHING
            blobs.verify(config)


async def test_a_change_in_between_is_noticed(
    collector: Collector, metadata: MetadataStore, blobs: LocalBlobStore
) -> None:
    """Many collections and many names at once: an image with a name is always whole."""
    config = await publish(metadata, blobs, "keep")
    name = (await metadata.images(NS))[0].names[0]

    async def rename() -> None:
        for number in range(20):
            await metadata.put_name(NS, ImageName(f"n{number}", name.target, config))
            await metadata.remove_name(NS, f"n{number - 1}")
            await metadata.remove_name(NS, "keep")

    async def collect() -> None:
        for _ in range(10):
            try:
                await collector.collect()
            except Unavailable:
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rename())
        tasks.create_task(collect())
        tasks.create_task(collect())
    (image,) = await metadata.images(NS)
    assert len(list(blobs.walk())) == 3
    assert image.record.id == config


async def test_a_file_whose_turn_has_not_come_can_still_be_kept(
    metadata: MetadataStore, blobs: LocalBlobStore
) -> None:
    """The rows are gone, the first file is being deleted, a pull asks for the others."""
    deleting = asyncio.Event()
    go_on = threading.Event()
    loop = asyncio.get_running_loop()

    def delete(digest: Digest) -> None:
        loop.call_soon_threadsafe(deleting.set)
        assert go_on.wait(timeout=30)
        blobs.delete(digest)

    collector = Collector(
        metadata, ManualClock(), delete_blob=delete, delete_directory=lambda *_: None
    )
    digests = [put(blobs, bytes([number])) for number in range(4)]
    for digest in digests:
        await metadata.put_blob(NS, BlobRecord(digest, 1))
    async with collector.protect() as protection:
        collection = asyncio.create_task(collector.collect())
        await deleting.wait()
        adding = asyncio.create_task(protection.add(digests))
        await asyncio.sleep(0)
        go_on.set()
        await adding
        await collection
        assert await metadata.known_blobs(NS, digests) == {}
        assert len(list(blobs.walk())) == 3


class Restless(MetadataStore):
    """A namespace that changes after each inventory."""

    __slots__ = ()

    async def sweep(self, namespace: str, garbage: Garbage) -> Swept:
        await self.put_blob(namespace, BlobRecord(Digest.of(b"new"), 3))
        return await super().sweep(namespace, garbage)


async def test_a_namespace_that_keeps_changing_is_collected_at_once(
    tmp_path: Path, blobs: LocalBlobStore
) -> None:
    """And what is protected by then stays."""
    async with MetadataStore.open(str(tmp_path / "2" / "meta.db"), ManualClock()) as plain:
        restless = Restless(plain._database, ManualClock())
        collector = Collector(
            restless, ManualClock(), delete_blob=blobs.delete, delete_directory=lambda *_: None
        )
        for data in (b"loose", b"held"):
            await restless.put_blob(NS, BlobRecord(put(blobs, data), len(data)))
        async with collector.protect() as protection:
            await protection.add([Digest.of(b"held")])
            assert (await collector.collect()).blobs == 2
        assert [blob.digest for blob in await restless.blobs(NS)] == [Digest.of(b"held")]
        assert [blob.digest for blob in blobs.walk()] == [Digest.of(b"held")]


@pytest.mark.row("L13")
async def test_leases_expire(metadata: MetadataStore, blobs: LocalBlobStore) -> None:
    clock = ManualClock()
    collector = Collector(
        metadata, clock, delete_blob=blobs.delete, delete_directory=lambda *_: None
    )
    await metadata.create_lease(NS, Lease("l", expires_at=clock.now() + 1_000_000_000))
    await collector.collect()
    assert len(await metadata.leases(NS)) == 1
    clock.advance(1)
    await collector.collect()
    assert await metadata.leases(NS) == []


async def test_one_failure_does_not_stop_the_others(
    metadata: MetadataStore, blobs: LocalBlobStore
) -> None:
    tried: list[Digest] = []

    def delete(digest: Digest) -> None:
        tried.append(digest)
        if len(tried) == 1:
            raise NotFound("gone already")
        if len(tried) == 2:
            raise StoreIO("broken")
        blobs.delete(digest)

    directories: list[int] = []
    collector = Collector(
        metadata,
        ManualClock(),
        delete_blob=delete,
        delete_directory=lambda _, directory: directories.append(directory),
    )
    await publish(metadata, blobs, "a")
    await metadata.remove_name(NS, "a")
    with pytest.raises(StoreIO, match="broken"):
        await collector.collect()
    assert len(tried) == 3
    assert directories == [1]


@pytest.mark.row("L11")
async def test_orphans(
    collector: Collector, metadata: MetadataStore, blobs: LocalBlobStore
) -> None:
    await publish(metadata, blobs, "a")
    await publish(metadata, blobs, "b", namespace="other")
    orphans = [put(blobs, bytes([number])) for number in range(3)]
    async with collector.protect() as protection:
        await protection.add(orphans[:1])
        assert await collector.remove_orphans(blobs) == 2
        assert blobs.stat(orphans[0]) is not None
    assert len(list(blobs.walk())) == 7
    assert await collector.remove_orphans(blobs) == 1
    assert await collector.remove_orphans(blobs) == 0
    assert len(list(blobs.walk())) == 6
