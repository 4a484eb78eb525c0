"""The mailbox between a pull and a client that may be slow."""

from __future__ import annotations

import asyncio

from orlop.control.server import Latest
from orlop.ports.observe import PullProgress


def picture(number: int) -> PullProgress:
    return PullProgress("a.example/b:c", "linux/amd64", "pulling", float(number))


async def test_a_slow_reader_sees_the_newest_and_always_the_last() -> None:
    latest = Latest()
    for number in range(1000):
        latest.put(picture(number))
    latest.close()
    assert [seen.elapsed async for seen in latest] == [999.0]


async def test_nothing_to_read() -> None:
    latest = Latest()
    latest.close()
    assert [seen async for seen in latest] == []


async def test_a_quick_reader_sees_each() -> None:
    latest = Latest()

    async def read() -> list[float]:
        return [one.elapsed async for one in latest]

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read())
        for number in range(3):
            latest.put(picture(number))
            await asyncio.sleep(0.01)
        latest.close()
    assert reading.result() == [0.0, 1.0, 2.0]


async def test_what_comes_while_the_reader_works_is_not_lost() -> None:
    latest = Latest()
    latest.put(picture(1))
    seen: list[float] = []
    async for one in latest:
        seen.append(one.elapsed)
        if one.elapsed == 1.0:
            latest.put(picture(2))
            latest.close()
    assert seen == [1.0, 2.0]
