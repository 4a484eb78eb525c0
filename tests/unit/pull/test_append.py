"""How what arrives is appended, with a disk that can be held."""

from __future__ import annotations

import asyncio
import threading

import pytest

from orlop.errors import StoreFull
from orlop.pull.append import Appender
from orlop.testing.manual_clock import ManualClock
from orlop.testing.memory_store import MemoryStore
from tests.unit.pull.rig import until

MIB = 1 << 20


class Disk:
    """An ingest that takes bytes while it may, and fails when it must."""

    def __init__(self) -> None:
        self.writes: list[int] = []
        self.may = threading.Event()
        self.may.set()
        self.failure: Exception | None = None
        self.asked = threading.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.asked.set()
        assert self.may.wait(10)
        if self.failure is not None:
            raise self.failure
        self.writes.append(len(data))


def appender(disk: Disk, told: list[int] | None = None) -> Appender:
    ingest = MemoryStore(ManualClock()).ingest("layer-x")
    ingest.write = disk.write  # type: ignore[method-assign]
    return Appender(ingest, lambda: None if told is None else told.append(sum(disk.writes)))


async def test_what_is_here_is_written_in_one_batch() -> None:
    disk, told = Disk(), list[int]()
    async with appender(disk, told) as one:
        await one.add(b"a" * 1000, more=True, left=9 * MIB)
        assert disk.writes == []
        await one.add(b"b" * 500, more=False, left=9 * MIB)
        assert disk.writes == [1000, 500]
    assert told == [1500]


async def test_a_batch_is_bounded() -> None:
    disk = Disk()
    async with appender(disk) as one:
        for _ in range(4):
            await one.add(b"a" * (MIB // 4), more=True, left=9 * MIB)
        assert sum(disk.writes) == MIB


async def test_a_slow_disk_holds_the_reader_up() -> None:
    disk = Disk()
    disk.may.clear()
    async with appender(disk) as one:
        adding = asyncio.create_task(one.add(b"a" * 1000, more=False, left=9 * MIB))
        await until(disk.asked.is_set)
        await asyncio.sleep(0.01)
        assert not adding.done()
        disk.may.set()
        await adding


async def test_the_end_of_a_body_is_not_held_up() -> None:
    disk = Disk()
    disk.may.clear()
    async with appender(disk) as one:
        await one.add(b"a" * 1000, more=False, left=2000)
        await one.add(b"b" * 1000, more=False, left=1000)
        await one.add(b"c" * 1000, more=False, left=0)
        assert disk.writes == []
        disk.may.set()
    assert disk.writes == [1000, 1000, 1000]


async def test_what_was_read_is_written_when_reading_fails() -> None:
    disk = Disk()

    async def read() -> None:
        async with appender(disk) as one:
            await one.add(b"a" * 1000, more=True, left=9 * MIB)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await read()
    assert disk.writes == [1000]


async def test_a_full_disk_is_told_to_the_reader() -> None:
    disk = Disk()
    disk.failure = StoreFull("full")
    with pytest.raises(StoreFull):
        async with appender(disk) as one:
            await one.add(b"a" * 1000, more=False, left=9 * MIB)


async def test_a_full_disk_is_told_at_the_end_at_the_latest() -> None:
    disk = Disk()
    disk.failure = StoreFull("full")
    with pytest.raises(StoreFull):
        async with appender(disk) as one:
            await one.add(b"a" * 1000, more=False, left=0)


async def test_a_cancelled_reader_leaves_no_thread_behind() -> None:
    disk = Disk()
    disk.may.clear()

    async def read() -> None:
        async with appender(disk) as one:
            await one.add(b"a" * 1000, more=False, left=9 * MIB)

    reading = asyncio.create_task(read())
    await until(disk.asked.is_set)
    reading.cancel()
    await asyncio.sleep(0.01)
    assert not reading.done()
    disk.may.set()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert disk.writes == [1000]
