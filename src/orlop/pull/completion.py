"""Waiting that a cancellation does not cut short.

A thread cannot be stopped, and a half-ended piece of work cannot be left: when
the one who waits is cancelled, the wait goes on to its end and the cancellation
is raised afterwards.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def settled(future: asyncio.Future[T]) -> None:
    """Wait until ``future`` is done, whatever becomes of it.

    Raises:
        CancelledError: the waiting task was cancelled meanwhile.
    """
    cancelled = False
    while not future.done():
        woken = asyncio.get_running_loop().create_future()

        def wake(_: asyncio.Future[T], woken: asyncio.Future[None] = woken) -> None:
            if not woken.done():
                woken.set_result(None)

        future.add_done_callback(wake)
        try:
            await woken
        except asyncio.CancelledError:
            cancelled = True
        finally:
            future.remove_done_callback(wake)
    if not future.cancelled():
        future.exception()  # seen: whoever wants it asks for the result
    if cancelled:
        raise asyncio.CancelledError


async def completed(future: asyncio.Future[T]) -> T:
    """Wait for ``future``; returns or raises what it does, or ``CancelledError`` if asked to."""
    await settled(future)
    return future.result()


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking ``work`` in a thread; it has ended when this returns or raises."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    return await completed(loop.run_in_executor(None, context.run, work))
