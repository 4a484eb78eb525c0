"""Many readers or one writer, and no writer starves."""

from __future__ import annotations

import asyncio

import pytest

from orlop.pull.shared_lock import SharedLock


class Log:
    """Who is inside, and when."""

    def __init__(self) -> None:
        self.lock = SharedLock()
        self.inside: list[str] = []
        self.most_readers = 0

    async def read(self, name: str = "r", *, leave: asyncio.Event | None = None) -> None:
        async with self.lock.shared():
            assert "w" not in self.inside
            self.inside.append(name)
            self.most_readers = max(self.most_readers, len(self.inside))
            await (leave.wait() if leave else asyncio.sleep(0))
            self.inside.remove(name)

    async def write(self) -> None:
        async with self.lock.exclusive():
            assert self.inside == []
            self.inside.append("w")
            await asyncio.sleep(0)
            self.inside.remove("w")


async def test_readers_together_writers_alone() -> None:
    log = Log()
    await asyncio.gather(*(log.write() if at % 5 == 0 else log.read() for at in range(50)))
    assert log.most_readers > 1


async def test_a_waiting_writer_goes_before_new_readers() -> None:
    log, leave = Log(), asyncio.Event()
    order = []

    async def then(name: str, work: object) -> None:
        assert asyncio.iscoroutine(work)
        await work
        order.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(then("old reader", log.read(leave=leave)))
        await asyncio.sleep(0)
        group.create_task(then("writer", log.write()))
        await asyncio.sleep(0)
        group.create_task(then("new reader", log.read()))
        await asyncio.sleep(0.01)
        assert order == []
        leave.set()
    assert order == ["old reader", "writer", "new reader"]


async def test_cancelled_waits_leave_it_free() -> None:
    log, leave = Log(), asyncio.Event()
    reader = asyncio.create_task(log.read(leave=leave))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(log.write()), asyncio.create_task(log.read())]
    await asyncio.sleep(0.01)
    for task in (*waiting, reader):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    log.inside.clear()
    async with asyncio.timeout(1):
        await log.write()
        await log.read()
