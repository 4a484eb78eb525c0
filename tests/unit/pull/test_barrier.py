"""Group commit: few syncs for many pulls, and never one that began too early."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest

from orlop.errors import StoreFull, StoreIO
from orlop.pull.barrier import LEAST_BYTES, MOST_BYTES, Barrier, FileSystems, Share
from tests.rigs.store_calls import store_calls
from tests.unit.pull.rig import until

if TYPE_CHECKING:
    from pathlib import Path


class Disk:
    """Counts syncs; each waits for its permission if ``held``."""

    def __init__(self, *, held: bool = False) -> None:
        self.begun = 0
        self.ended = 0
        self.permission = threading.Semaphore(0)
        self.held = held
        self.failure: StoreIO | None = None

    def sync(self) -> None:
        self.begun += 1
        if self.held:
            assert self.permission.acquire(timeout=5)
        self.ended += 1
        if self.failure is not None:
            raise self.failure


async def test_who_asks_together_shares_one() -> None:
    disk = Disk()
    barrier = Barrier(disk.sync)
    await asyncio.gather(*(barrier.wait() for _ in range(50)))
    assert disk.begun == 1
    await barrier.wait()
    assert disk.begun == 2


async def test_who_asks_while_one_runs_gets_the_next() -> None:
    disk = Disk(held=True)
    barrier = Barrier(disk.sync)
    first = asyncio.create_task(barrier.wait())
    await until(lambda: disk.begun == 1)
    later = [asyncio.create_task(barrier.wait()) for _ in range(50)]
    await asyncio.sleep(0.01)
    assert disk.begun == 1
    disk.permission.release()
    await first
    await until(lambda: disk.begun == 2)
    assert not any(task.done() for task in later)
    disk.permission.release()
    await asyncio.gather(*later)
    assert (disk.begun, disk.ended) == (2, 2)


async def test_a_failure_is_told_to_all() -> None:
    disk = Disk()
    disk.failure = StoreIO("the disk failed")
    barrier = Barrier(disk.sync)
    results = await asyncio.gather(*(barrier.wait() for _ in range(5)), return_exceptions=True)
    assert results == [disk.failure] * 5
    assert disk.begun == 1


async def test_a_failure_is_not_the_next_ones() -> None:
    disk = Disk(held=True)
    disk.failure = StoreIO("the disk failed")
    barrier = Barrier(disk.sync)
    first = asyncio.create_task(barrier.wait())
    await until(lambda: disk.begun == 1)
    second = asyncio.create_task(barrier.wait())
    await asyncio.sleep(0)
    disk.permission.release()
    with pytest.raises(StoreIO):
        await first
    await until(lambda: disk.begun == 2)
    disk.failure = None
    disk.permission.release()
    await second


async def test_who_gives_up_hurts_nobody_and_leaves_nothing() -> None:
    disk = Disk(held=True)
    barrier = Barrier(disk.sync)
    one, other = (asyncio.create_task(barrier.wait()) for _ in range(2))
    await until(lambda: disk.begun == 1)
    one.cancel()
    await asyncio.sleep(0.01)
    assert not one.done()  # the sync cannot be stopped, and nobody goes away from it
    disk.permission.release()
    await other
    with pytest.raises(asyncio.CancelledError):
        await one
    assert disk.ended == 1


def test_each_file_system_once(tmp_path: Path) -> None:
    """/dev/shm is another one, on every Linux."""
    events, disk = store_calls(), Disk()
    others = [str(tmp_path.parent), "/dev/shm", "/dev/shm"]
    before = os.listdir("/proc/self/fd")
    with FileSystems.opened(str(tmp_path), disk.sync, others) as found:
        with events.watched() as calls:
            found.sync()
        assert (disk.begun, calls) == (1, ["syncfs"])
        with events.watched("syncfs"), pytest.raises(StoreIO):
            found.sync()
        with events.watched() as calls, pytest.raises(StoreIO):
            found.sync()
        assert (disk.begun, calls) == (2, [])
    assert os.listdir("/proc/self/fd") == before


async def test_what_is_written_is_synced_when_as_much_is_still_to_come() -> None:
    disk = Disk()
    barrier = Barrier(disk.sync)
    share = Share(barrier, 4 * LEAST_BYTES)
    share.left(2 * LEAST_BYTES + 1)
    await barrier.rest()
    assert disk.begun == 0
    share.left(2 * LEAST_BYTES)
    await until(lambda: disk.ended == 1)
    await barrier.rest()
    share.left(LEAST_BYTES)
    await until(lambda: disk.ended == 2)
    await barrier.rest()
    share.left(1)
    await barrier.rest()
    assert disk.begun == 2, "too little for a sync of its own"


async def test_much_is_synced_however_much_is_to_come() -> None:
    disk = Disk()
    barrier = Barrier(disk.sync)
    share = Share(barrier, 100 * MOST_BYTES)
    share.left(99 * MOST_BYTES)
    await until(lambda: disk.ended == 1)


async def test_one_sync_at_a_time_ahead_of_time() -> None:
    disk = Disk(held=True)
    barrier = Barrier(disk.sync)
    share = Share(barrier, 4 * LEAST_BYTES)
    share.left(2 * LEAST_BYTES)
    await until(lambda: disk.begun == 1)
    share.left(0)
    rest = asyncio.create_task(barrier.rest())
    await asyncio.sleep(0.01)
    assert (disk.begun, rest.done()) == (1, False)
    disk.permission.release()
    await rest
    assert disk.begun == 1


async def test_who_waits_is_not_content_with_a_sync_that_had_begun() -> None:
    disk = Disk(held=True)
    barrier = Barrier(disk.sync)
    Share(barrier, 2 * LEAST_BYTES).left(LEAST_BYTES)
    await until(lambda: disk.begun == 1)
    waiting = asyncio.create_task(barrier.wait())
    await asyncio.sleep(0.01)
    disk.permission.release()
    await until(lambda: disk.begun == 2)
    assert not waiting.done()
    disk.permission.release()
    await waiting


async def test_a_failure_ahead_of_time_is_told_to_who_waits_later(tmp_path: Path) -> None:
    disk = Disk()
    disk.failure = StoreIO("the disk failed")
    with FileSystems.opened(str(tmp_path), disk.sync, ()) as disks:
        barrier = Barrier(disks.sync)
        Share(barrier, 2 * LEAST_BYTES).left(LEAST_BYTES)
        await until(lambda: disk.begun == 1)
        await barrier.rest()
        with pytest.raises(StoreIO, match="the disk failed"):
            await barrier.wait()
    assert disk.begun == 1


async def test_what_is_begun_anew_does_not_count_and_what_ends_early_is_not_expected() -> None:
    disk = Disk()
    barrier = Barrier(disk.sync)
    failed, other = (Share(barrier, 3 * LEAST_BYTES) for _ in range(2))
    failed.left(3 * LEAST_BYTES - 1)
    failed.left(3 * LEAST_BYTES)
    failed.end()
    failed.end()
    other.left(2 * LEAST_BYTES)
    await barrier.rest()
    assert disk.begun == 0
    other.left(LEAST_BYTES * 3 // 2)
    await until(lambda: disk.ended == 1)


async def test_without_a_barrier_nothing_is_synced() -> None:
    share = Share(None, 2 * LEAST_BYTES)
    share.left(0)
    share.end()


async def test_only_a_pull_that_fails_waits_for_what_was_begun() -> None:
    disk = Disk(held=True)
    barrier = Barrier(disk.sync)
    Share(barrier, 2 * LEAST_BYTES).left(LEAST_BYTES)
    await until(lambda: disk.begun == 1)
    async with barrier.fed():
        pass
    assert disk.ended == 0

    async def fail() -> None:
        async with barrier.fed():
            raise StoreFull("no space")

    failing = asyncio.create_task(fail())
    await asyncio.sleep(0.01)
    assert not failing.done()
    disk.permission.release()
    with pytest.raises(StoreFull):
        await failing
    assert disk.ended == 1
