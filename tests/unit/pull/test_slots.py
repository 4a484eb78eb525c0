"""How much happens at the same time, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from orlop.pull.slots import Pool, Slots


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (0, 9), (-1, 9)])
async def test_the_limit(limit: int, most: int) -> None:
    slots = Slots(Pool(limit))
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
    own, everybody = Pool(1), Pool(2)
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


async def test_a_small_image_is_not_stuck_behind_a_large_one() -> None:
    pool = Pool(1)
    order: list[str] = []

    async def layer(image: str) -> None:
        async with pool.taken(image):
            order.append(image)
            await asyncio.sleep(0)

    images = ["large"] * 6 + ["small"] + ["other"] * 2
    await asyncio.gather(*(layer(image) for image in images))
    assert order == ["large", "large", "small", "other", "large", "other", *["large"] * 3]


async def test_a_cancel_at_the_moment_of_the_call_loses_no_slot() -> None:
    pool = Pool(1)
    await pool.take("a")
    called = asyncio.create_task(pool.take("b"))
    waiting = asyncio.create_task(pool.take("c"))
    await asyncio.sleep(0)
    pool.give_back()
    called.cancel()
    async with asyncio.timeout(1):
        await waiting
    assert called.cancelled()
    pool.give_back()
    async with asyncio.timeout(1), pool.taken("d"):
        pass
