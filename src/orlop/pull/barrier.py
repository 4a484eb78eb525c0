"""The barrier before publishing: one ``syncfs`` for all pulls that wait for one.

A ``syncfs`` covers what was written before it began. Whoever asks while one is
running waits for the next, together with everybody else who asked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orlop.pull.completion import completed, settled

if TYPE_CHECKING:
    from collections.abc import Callable


class Barrier:
    """Group commit for pulls.

    Args:
        sync: makes everything written so far durable; blocks; raises ``StoreIO``.
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Return when everything that was written before this call is durable.

        When cancelled it still waits to the end, so that nothing goes on behind
        the caller's back.

        Raises:
            StoreIO: the disk failed; everybody who waited is told.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._turn(self._running))
        await completed(self._next)

    async def _turn(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await settled(before)
        else:
            await asyncio.sleep(0)  # let those who ask in the same moment join
        self._running, self._next = self._next, None
        await asyncio.to_thread(self._sync)
