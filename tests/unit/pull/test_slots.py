"""How much happens at the same time."""

from __future__ import annotations

import asyncio

import pytest

from orlop.pull.slots import Slots, semaphore


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (0, 9), (-1, 9)])
async def test_the_limit(limit: int, most: int) -> None:
    slots = Slots(semaphore(limit))
    inside, highest = 0, 0

    async def work() -> None:
        nonlocal inside, highest
        async with slots.taken():
            inside += 1
            highest = max(highest, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(9)))
    assert highest == most


async def test_who_waits_for_the_first_holds_nothing_of_the_second() -> None:
    own, everybody = semaphore(1), semaphore(2)
    slots = Slots(own, everybody)
    async with slots.taken():
        waiting = asyncio.create_task(slots.taken().__aenter__())
        await asyncio.sleep(0.01)
        async with asyncio.timeout(1), Slots(everybody).taken():
            pass
        waiting.cancel()
        await asyncio.wait({waiting})
    async with asyncio.timeout(1), slots.taken():
        pass
