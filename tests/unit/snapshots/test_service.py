"""The service: order of steps, failures and cancellation. Its rules: see the suite."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

import pytest

from orlop.errors import NotFound, OrlopError, StoreFull, StoreIO
from orlop.linux.clock import SystemClock
from orlop.ports.metadata import SnapshotRecord
from orlop.snapshots.native import Native
from orlop.snapshots.service import SnapshotService
from orlop.testing.memory_snapshots import MemorySnapshotRecords

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rigs.store_calls import StoreCalls

pytestmark = pytest.mark.root

NS = "k8s.io"


class SlowRecords(MemorySnapshotRecords):
    """Waits before each change, and can be told to fail instead."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error: OrlopError | None = None

    async def _pause(self) -> None:
        self.waiting.set()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error

    async def add_snapshot(self, namespace: str, record: SnapshotRecord) -> None:
        await self._pause()
        await super().add_snapshot(namespace, record)

    async def remove_snapshot(self, namespace: str, snapshotter: str, key: str) -> SnapshotRecord:
        record = await super().remove_snapshot(namespace, snapshotter, key)
        await self._pause()
        return record


@pytest.fixture
async def records() -> SlowRecords:
    return SlowRecords()


@pytest.fixture
async def service(tmp_path: Path, records: SlowRecords) -> SnapshotService:
    made = SnapshotService(Native(str(tmp_path)), records, SystemClock())
    await made.recover()
    return made


def trees(service: SnapshotService) -> list[str]:
    """What is on disk, wherever."""
    places = ("snapshots", "staging", "trash")
    return [f"{p}/{n}" for p in places for n in sorted(os.listdir(f"{service.root}/{p}"))]


async def test_a_record_that_cannot_be_written_leaves_no_tree(
    service: SnapshotService, records: SlowRecords
) -> None:
    records.error = StoreFull("No space left on device: write record")
    with pytest.raises(StoreFull):
        await service.prepare(NS, "key", "")
    assert trees(service) == []


async def test_a_tree_that_cannot_be_published_is_discarded(
    service: SnapshotService, calls: StoreCalls
) -> None:
    with calls.watched("rename", errno.ENOSPC), pytest.raises(StoreFull):
        await service.prepare(NS, "key", "")
    assert trees(service) == []
    assert await service.walk(NS) == []


async def test_files_are_durable_before_they_are_committed(
    service: SnapshotService, calls: StoreCalls
) -> None:
    await service.prepare(NS, "key", "")
    with calls.watched("syncfs") as seen, pytest.raises(StoreIO):
        await service.commit(NS, "name", "key")
    assert seen == ["syncfs"]
    assert (await service.stat(NS, "key")).kind == "active"


async def test_of_two_that_want_one_key_one_gets_it(service: SnapshotService) -> None:
    results = await asyncio.gather(
        *(service.prepare(NS, "key", "") for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(result, list) for result in results) == 1
    assert sum(isinstance(result, OrlopError) for result in results) == 4
    assert len(trees(service)) == 1


async def test_the_tree_is_there_before_the_record(
    service: SnapshotService, records: SlowRecords
) -> None:
    records.go_on.clear()
    preparing = asyncio.create_task(service.prepare(NS, "key", ""))
    await records.waiting.wait()
    assert trees(service) == ["snapshots/1"]
    records.go_on.set()
    await preparing
    assert (await service.stat(NS, "key")).directory == 1


@pytest.mark.parametrize("times", [1, 3])
async def test_a_start_that_is_cancelled_leaves_nothing(
    service: SnapshotService, records: SlowRecords, times: int
) -> None:
    records.go_on.clear()
    preparing = asyncio.create_task(service.prepare(NS, "key", ""))
    await records.waiting.wait()
    for _ in range(times):
        preparing.cancel()
        await asyncio.sleep(0)
    assert not preparing.done()
    records.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await preparing
    assert trees(service) == []
    with pytest.raises(NotFound):
        await service.stat(NS, "key")


async def test_a_start_that_is_cancelled_and_fails_leaves_nothing(
    service: SnapshotService, records: SlowRecords
) -> None:
    records.go_on.clear()
    preparing = asyncio.create_task(service.prepare(NS, "key", ""))
    await records.waiting.wait()
    preparing.cancel()
    records.error = StoreFull("No space left on device: write record")
    records.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await preparing
    assert trees(service) == []


async def test_a_removal_that_has_begun_is_finished(
    service: SnapshotService, records: SlowRecords
) -> None:
    await service.prepare(NS, "key", "")
    records.waiting.clear()
    records.go_on.clear()
    removing = asyncio.create_task(service.remove(NS, "key"))
    await records.waiting.wait()
    removing.cancel()
    records.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await removing
    assert trees(service) == []
    assert await service.walk(NS) == []


async def test_a_tree_that_another_namespace_holds_stays(
    service: SnapshotService, records: SlowRecords
) -> None:
    await service.prepare(NS, "key", "")
    await records.add_snapshot("other", await service.stat(NS, "key"))
    await service.remove(NS, "key")
    assert trees(service) == ["snapshots/1"]
    await service.remove("other", "key")
    assert trees(service) == []


async def test_records_are_dated(service: SnapshotService) -> None:
    await service.prepare(NS, "key", "")
    active = await service.stat(NS, "key")
    await service.commit(NS, "name", "key")
    done = await service.stat(NS, "name")
    assert 10**18 < active.created_at == active.updated_at
    assert (done.created_at, done.directory) == (active.created_at, active.directory)
    assert done.updated_at >= active.updated_at


async def test_a_record_without_its_tree_says_so(service: SnapshotService) -> None:
    record = SnapshotRecord("native", "lost", 77, "active", "")
    await service._records.add_snapshot(NS, record)
    with pytest.raises(NotFound, match="No such file"):
        await service.usage(NS, "lost")
    await service.remove(NS, "lost")
    assert await service.walk(NS) == []
