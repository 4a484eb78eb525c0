"""Work that is shared: started once, awaited by many, ended when nobody waits.

A *flight* is a task with a key. Whoever joins holds it until it leaves; a
holder's cancellation ends only its own wait. Work that needs other flights
holds them too, so that they last as long as it does. When the last holder
leaves, a task that still runs is cancelled, and what it had made is released.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from orlop.pull.completion import completed, settled

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
    """One running or finished piece of work; made by ``Flights.join``."""

    def __init__(self, flights: Flights[W], key: Hashable, work: W) -> None:
        self.work = work
        self._flights = flights
        self._key = key
        self._task = asyncio.create_task(work.run())
        self._holders = 0

    async def done(self) -> W:
        """Wait until the work is done. Raises what it raised."""
        await asyncio.shield(self._task)
        return self.work

    def hold(self) -> None:
        """Have it last until ``leave``; only for whoever got it from one who holds it."""
        self._holders += 1

    async def leave(self) -> None:
        """Need it no longer. The last one waits until it has ended and is released."""
        self._holders -= 1
        if not self._holders:
            await self._flights.end(self._key)

    async def stop(self) -> None:
        """Stop the task if it runs, then release what it made; for ``Flights`` only."""
        self._task.cancel()
        try:
            await settled(self._task)
        finally:
            await self.work.release()


class Flights(Generic[W]):
    """Flights of one kind, by key. Used from one event loop."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight[W]] = {}
        self._ending: dict[Hashable, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._flights) + len(self._ending)

    @asynccontextmanager
    async def join(self, key: Hashable, make: Callable[[], W]) -> AsyncIterator[Flight[W]]:
        """Hold the flight of ``key``, which is started with ``make()`` if there is none.

        A flight that is ending is waited for: what it held open is free afterwards.
        """
        while (ending := self._ending.get(key)) is not None:
            await asyncio.wait({ending})
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(self, key, make())
        flight.hold()
        try:
            yield flight
        finally:
            await flight.leave()

    async def end(self, key: Hashable) -> None:
        """End the flight of ``key``, which nobody holds; for ``Flight`` only."""
        ending = asyncio.ensure_future(self._flights.pop(key).stop())
        self._ending[key] = ending
        ending.add_done_callback(lambda _: self._ending.pop(key))
        await completed(ending)
