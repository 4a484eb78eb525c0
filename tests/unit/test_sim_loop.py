"""The event loop of the simulation: time that nobody waits for, and turns by chance."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.crash.sim.loop import SimulatedLoop

DAY = 86_400.0


def test_time_passes_while_everybody_waits() -> None:
    loop = SimulatedLoop()
    loop.run_until_complete(asyncio.sleep(DAY))
    assert DAY <= loop.time() < DAY + 1
    loop.close()


def test_nobody_waits_for_ever() -> None:
    loop = SimulatedLoop()
    with pytest.raises(RuntimeError, match="everybody waits"):
        loop.run_until_complete(loop.create_future())
    loop.close()


async def turns() -> list[int]:
    order: list[int] = []
    await asyncio.gather(*(asyncio.to_thread(order.append, number) for number in range(20)))
    return order


def test_threads_take_turns_by_chance_that_can_be_repeated() -> None:
    orders = []
    for chance in (None, random.Random(1), random.Random(1), random.Random(2)):
        loop = SimulatedLoop(chance)
        orders.append(loop.run_until_complete(turns()))
        loop.close()
    assert orders[0] == list(range(20))
    assert orders[1] == orders[2] != orders[3]
    assert sorted(orders[1]) == list(range(20))


def test_what_fails_in_a_thread_fails_its_caller() -> None:
    loop = SimulatedLoop()
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(asyncio.to_thread(divmod, 1, 0))
    loop.close()
