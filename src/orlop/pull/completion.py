"""Waiting that a cancellation does not cut short.

A thread cannot be stopped, and a half-ended piece of work cannot be left: when
the one who waits is cancelled, the wait goes on to its end and the cancellation
is raised afterwards.
"""

from __future__ import annotations

import asyncio
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
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            cancelled = True
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
    return await completed(asyncio.ensure_future(asyncio.to_thread(work)))
