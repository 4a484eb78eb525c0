"""Work that is shared: started once, awaited by many, ended when nobody waits.

A *flight* is a task with a key. Whoever joins holds it until it leaves; a
holder's cancellation ends only its own wait. When the last holder leaves, a
task that still runs is cancelled, and what it had made is released.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from orlop.pull.completion import completed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable


class Work(Protocol):
    """What flies: it runs once and is released once."""

    async def run(self) -> None:
        """Do it; raises what every holder shall see."""

    async def release(self) -> None:
        """Called when nobody holds it any more, also after a failure or a cancel."""


W = TypeVar("W", bound=Work)


class Flight(Generic[W]):
    """One running or finished piece of work."""

    def __init__(self, work: W, task: asyncio.Task[None]) -> None:
        self.work = work
        self._task = task
        self.holders = 0

    async def done(self) -> W:
        """Wait until the work is done. Raises what it raised."""
        await asyncio.shield(self._task)
        return self.work

    async def end(self) -> None:
        """Stop the task if it runs, then release what it made."""
        if not self._task.done():
            self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()  # its holders have seen it
        await self.work.release()


class Flights(Generic[W]):
    """Flights of one kind, by key. Used from one event loop."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight[W]] = {}
        self._ending: dict[Hashable, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    @asynccontextmanager
    async def join(self, key: Hashable, make: Callable[[], W]) -> AsyncIterator[Flight[W]]:
        """Hold the flight of ``key``, which is started with ``make()`` if there is none.

        A flight that is ending is waited for: what it held open is free afterwards.
        """
        while (ending := self._ending.get(key)) is not None:
            await asyncio.wait({ending})
        flight = self._flights.get(key)
        if flight is None:
            work = make()
            flight = Flight(work, asyncio.create_task(work.run()))
            self._flights[key] = flight
        flight.holders += 1
        try:
            yield flight
        finally:
            flight.holders -= 1
            if not flight.holders:
                del self._flights[key]
                ending = asyncio.ensure_future(flight.end())
                self._ending[key] = ending
                ending.add_done_callback(lambda _: self._ending.pop(key))
                await completed(ending)
