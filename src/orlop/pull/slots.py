"""Slots: how much may happen at the same time, and in a fair order.

A ``Pool`` has so many slots. Who takes one does so in a lane; the lanes of all
pulls take turns (``orlop.pull.turns``).
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from orlop.pull.turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable
    from contextlib import AbstractAsyncContextManager


class Pool:
    """So many slots; used from one event loop.

    Args:
        limit: how many; 0 and less limit nothing.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._turns: Turns[asyncio.Future[None]] = Turns()

    async def take(self, lane: Hashable) -> None:
        """Wait for a slot; give it back with ``give_back``."""
        if self._limit <= 0:
            return
        if self._taken < self._limit:
            self._taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.join(lane, turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._turns.leave(lane, turn)
            if turn.done() and not turn.cancelled():
                self.give_back()  # it had been called at the same moment
            raise

    def give_back(self) -> None:
        """Let the next one have the slot."""
        if self._limit <= 0:
            return
        while (turn := self._turns.call()) is not None:
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1

    @asynccontextmanager
    async def taken(self, lane: Hashable) -> AsyncIterator[None]:
        """Hold a slot for as long as the ``async with`` lasts."""
        await self.take(lane)
        try:
            yield
        finally:
            self.give_back()


class Slots:
    """One slot of each of several pools, taken in their order and in one lane.

    Take the narrowest first: who waits for it then holds nothing that others need.

    Args:
        pools: where to take slots.
        lane: whose turn it is to be: the pull, as a rule.
    """

    def __init__(self, *pools: Pool, lane: Hashable = None) -> None:
        self._pools = pools
        self._lane = lane

    def taken(self) -> AbstractAsyncContextManager[None]:
        """Hold a slot of each for as long as the ``async with`` lasts."""
        return self._taken()

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for pool in self._pools:
                await stack.enter_async_context(pool.taken(self._lane))
            yield
