"""Waits that a cancellation does not cut short."""

from __future__ import annotations

import asyncio
import threading

import pytest

from orlop.errors import StoreFull
from orlop.pull.completion import completed, in_thread, settled
from tests.unit.pull.rig import until


async def test_a_thread_has_ended_when_the_wait_has() -> None:
    begun, proceed, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert proceed.wait(5)
        ended.set()

    waiting = asyncio.create_task(in_thread(work))
    await until(begun.is_set)
    waiting.cancel()
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_results_and_errors_pass_through() -> None:
    assert await in_thread(lambda: 7) == 7

    def fail() -> None:
        raise StoreFull("full")

    with pytest.raises(StoreFull):
        await in_thread(fail)


async def test_the_cancellation_wins_over_the_error() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(completed(future))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    future.set_exception(StoreFull("full"))
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_settled_raises_nothing_of_the_future() -> None:
    loop = asyncio.get_running_loop()
    failed, cancelled = loop.create_future(), loop.create_future()
    failed.set_exception(StoreFull("full"))
    cancelled.cancel()
    await settled(failed)
    await settled(cancelled)
