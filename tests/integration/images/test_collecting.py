"""Space that comes back by itself: the service collects garbage without being asked."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from orlop import daemon
from orlop.app import opened, with_directories
from orlop.config.load import load
from orlop.errors import StoreIO
from orlop.gc.collect import Collector
from orlop.gc.schedule import ScheduleSettings
from orlop.gc.scheduler import Scheduler
from orlop.images.service import LocalImageService
from orlop.linux.clock import SystemClock
from orlop.metadata.store import MetadataStore
from orlop.ports.metadata import BlobRecord
from orlop.testing.content_suite import put
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image
from orlop.testing.layers import directory, file
from orlop.testing.memory_service import MemoryService
from orlop.testing.memory_store import MemoryStore
from tests.integration.pull.rig import NAMESPACE, Store, offer, unmount_all
from tests.rigs.doors import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from orlop.model.digest import Digest

pytestmark = pytest.mark.root

IMAGE = build_image([[directory("d"), file("d/a", b"a" * 1000)], [file("d/b", b"b")]])


@asynccontextmanager
async def collecting(place: Path, **keys: float | str) -> AsyncIterator[Store]:
    """A service with these keys in the section of the scheduler."""
    lines = [f"{name} = {value!r}" for name, value in keys.items()]
    document = place / "config.toml"
    section = '[plugins."io.containerd.gc.v1.scheduler"]'
    document.write_text("\n".join(["version = 3", section, *lines]))
    root = place / "root"
    config = with_directories(load(str(document)).config, root=str(root), state=f"{root}/state")
    async with opened(config) as app:
        assert isinstance(app.service, LocalImageService)
        yield Store(root, app.service)
        unmount_all(root)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        yield found


def metadata(store: Store) -> MetadataStore:
    return cast("MetadataStore", store.service._metadata)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (the disk tells nobody)
            await asyncio.sleep(0.005)


async def garbage(store: Store, word: str) -> Digest:
    """A blob with a record, and nothing that refers to it."""
    digest = put(store.blobs, word.encode())
    await metadata(store).put_blob(NAMESPACE, BlobRecord(digest, len(word)))
    return digest


async def test_what_is_removed_goes_from_the_disk(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    async with collecting(tmp_path) as store:
        empty = store.files()
        await store.service.pull(reference)
        assert store.files() != empty
        # As a client of the metadata does it, which asks for no collection.
        await metadata(store).remove_image(NAMESPACE, IMAGE.id)
        await until(lambda: store.files() == empty)
        assert [one.usage.bytes for one in await store.service.filesystems()] == [0]


async def test_the_delay_after_the_start(tmp_path: Path) -> None:
    async with collecting(tmp_path, startup_delay="1h") as store:
        await garbage(store, "left over")
        assert await metadata(store).remove_blob(NAMESPACE, await garbage(store, "other"))
        await asyncio.sleep(0.1)
        assert len(store.files()) == 2
    async with collecting(tmp_path, startup_delay="50ms") as store:
        await until(lambda: not store.files())


async def test_no_collection_for_the_starts_sake(tmp_path: Path) -> None:
    async with collecting(tmp_path, startup_delay="1h") as store:
        await garbage(store, "left over")
    async with collecting(tmp_path, startup_delay="0s") as store:
        await asyncio.sleep(0.15)
        assert len(store.files()) == 1


async def test_many_changes(tmp_path: Path) -> None:
    async with collecting(tmp_path, startup_delay="0s", mutation_threshold=3) as store:
        await garbage(store, "one")
        await garbage(store, "two")
        await asyncio.sleep(0.1)
        assert len(store.files()) == 2
        await garbage(store, "three")
        await until(lambda: not store.files())


@pytest.mark.parametrize(("threshold", "left"), [(0, 1), (2, 0)])
async def test_many_deletions_do_not_wait(tmp_path: Path, threshold: int, left: int) -> None:
    rests = {"pause_threshold": 0.0001, "deletion_threshold": threshold}  # 50 s at least
    async with collecting(tmp_path, startup_delay="0s", **rests) as store:
        await store.service.collect()
        await garbage(store, "one")
        for word in ("two", "three"):
            digest = await garbage(store, word)
            await metadata(store).remove_blob(NAMESPACE, digest)
            store.blobs.delete(digest)
        await asyncio.sleep(0.1)
        if not left:
            await until(lambda: not store.files())
        assert len(store.files()) == left


async def test_the_share_of_the_time(tmp_path: Path) -> None:
    """With half of the time a short collection is followed by the next one at once."""
    async with collecting(tmp_path, startup_delay="0s", pause_threshold=0.5) as store:
        for word in ("one", "two", "three"):
            await store.service.collect()
            assert store.files() == []
            await garbage(store, word)
            await metadata(store).remove_name(NAMESPACE, "nobody")
            await until(lambda: not store.files())


async def test_the_delay(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with collecting(tmp_path, startup_delay="0s", schedule_delay="300ms") as store:
        await garbage(store, "one")
        begun = loop.time()
        await metadata(store).remove_blob(NAMESPACE, await garbage(store, "two"))
        await until(lambda: len(store.files()) == 1)
        assert loop.time() - begun >= 0.3


@pytest.mark.parametrize(("expiry", "left"), [("1ms", 0), ("24h", 1), ("0s", 1)])
async def test_partial_downloads_expire(tmp_path: Path, expiry: str, left: int) -> None:
    async with collecting(tmp_path, startup_delay="1h") as store:
        with store.blobs.ingest("layer-x") as ingest:
            ingest.write(b"some bytes")
    async with collecting(tmp_path, startup_delay="10ms", ingest_expiry=expiry) as store:
        await asyncio.sleep(0.1)
        if not left:
            await until(lambda: not store.ingests())
        assert len(store.ingests()) == left


async def test_beside_pulls(tmp_path: Path, registry: FakeRegistry) -> None:
    """Collections that never stop take nothing from pulls that begin and end meanwhile."""
    images = [
        build_image([[file("same", b"s" * 50_000)], [file("own", str(at).encode())]])
        for at in range(3)
    ]
    references = [offer(registry, f"app{at}", "v1", one) for at, one in enumerate(images)]
    async with collecting(tmp_path, pause_threshold=0.5, startup_delay="0s") as store:
        done = asyncio.Event()

        async def disturb() -> None:
            while not done.is_set():
                await metadata(store).remove_name(NAMESPACE, "nobody")
                await asyncio.sleep(0.001)

        disturbing = asyncio.create_task(disturb())
        try:
            for _ in range(6):
                await asyncio.gather(*(store.service.pull(one) for one in references))
                assert all(not one.problems for one in await store.service.check())
                for one in references:
                    await metadata(store).remove_name(NAMESPACE, one)
                for image in images[1:]:
                    await metadata(store).remove_image(NAMESPACE, image.id)
        finally:
            done.set()
            await disturbing
        assert (await store.service.check())[0].problems == ()


async def test_a_failed_disk_ends_the_daemon(tmp_path: Path) -> None:
    failure = StoreIO("the disk failed")

    def delete(_: Digest) -> None:
        raise failure

    with tempfile.TemporaryDirectory(prefix="collect") as short:

        @asynccontextmanager
        async def opened_rig() -> AsyncIterator[Rig]:
            clock = SystemClock()
            async with MetadataStore.open(str(tmp_path / "meta.db"), clock) as records:
                collector = Collector(
                    records, clock, delete_blob=delete, delete_directory=lambda *_: None
                )
                with MemoryStore(clock) as store:
                    digest = put(store, b"garbage")
                    await records.put_blob(NAMESPACE, BlobRecord(digest, 7))
                    scheduler = Scheduler(
                        collector, store, ScheduleSettings(), clock=clock, ingest_seconds=0
                    )
                    async with scheduler.running():
                        yield Rig(MemoryService(), f"unix://{short}/s")

        with pytest.raises(StoreIO) as caught:
            await asyncio.wait_for(daemon.serve(opened_rig, stop=asyncio.Event()), timeout=10)
    assert caught.value is failure
