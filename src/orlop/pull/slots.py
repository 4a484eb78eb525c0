"""Slots: how much may happen at the same time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager


def semaphore(limit: int) -> asyncio.Semaphore | None:
    """A semaphore with ``limit`` slots; None, which limits nothing, for 0 and less."""
    return asyncio.Semaphore(limit) if limit > 0 else None


class Slots:
    """One slot of each of several semaphores, taken in their order.

    Take the narrowest first: who waits for it then holds nothing that others need.
    """

    def __init__(self, *semaphores: asyncio.Semaphore | None) -> None:
        self._semaphores = [one for one in semaphores if one is not None]

    def taken(self) -> AbstractAsyncContextManager[None]:
        """Hold a slot of each for as long as the ``async with`` lasts."""
        return self._taken()

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for one in self._semaphores:
                await stack.enter_async_context(one)
            yield
