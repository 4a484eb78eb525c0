"""A readers-writer lock for tasks of one event loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class SharedLock:
    """Many may hold it shared, or one exclusively; who waits to be exclusive goes first."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._shared = 0
        self._free = asyncio.Event()
        self._free.set()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold it together with others."""
        async with self._turn:
            self._shared += 1
            self._free.clear()
        try:
            yield
        finally:
            self._shared -= 1
            if not self._shared:
                self._free.set()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold it alone: everybody has left, and nobody enters before the end."""
        async with self._turn:
            await self._free.wait()
            yield
