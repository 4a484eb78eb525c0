"""Work that a cancellation must not leave half-done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


async def to_the_end(
    work: Coroutine[object, object, T],
    *,
    undo: Callable[[], Coroutine[object, object, None]] | None = None,
) -> T:
    """Do ``work`` to its end even when cancelled; then ``undo`` it and pass the cancellation on."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if not cancelled:
        return task.result()
    # What went wrong with it concerns nobody any more.
    done = not task.cancelled() and task.exception() is None
    if done and undo is not None:
        await to_the_end(undo())
    raise asyncio.CancelledError
