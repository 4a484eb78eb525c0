"""Shared work: begun once, ended when nobody needs it."""

from __future__ import annotations

import asyncio

import pytest

from orlop.errors import StoreFull
from orlop.pull.flights import Flight, Flights
from tests.unit.pull.rig import until


class Job:
    """Runs until it is told to end; remembers what happened."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.may_end = asyncio.Event()
        self.may_be_released = asyncio.Event()
        self.may_be_released.set()
        self.failure = failure
        self.events: list[str] = []

    async def run(self) -> None:
        self.events.append("begun")
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.events.append("cancelled")
            raise
        if self.failure is not None:
            raise self.failure
        self.events.append("done")

    async def release(self) -> None:
        await self.may_be_released.wait()
        self.events.append("released")


async def hold(flights: Flights[Job], job: Job, key: str = "key") -> Job:
    async with flights.join(key, lambda: job) as flight:
        return await flight.done()


async def test_joiners_share_it() -> None:
    flights: Flights[Job] = Flights()
    job = Job()
    waiting = [asyncio.create_task(hold(flights, job)) for _ in range(3)]
    await asyncio.sleep(0.001)
    assert len(flights) == 1
    job.may_end.set()
    assert await asyncio.gather(*waiting) == [job] * 3
    assert job.events == ["begun", "done", "released"]
    assert len(flights) == 0


async def test_keys_do_not_share() -> None:
    flights: Flights[Job] = Flights()
    jobs = [Job(), Job()]
    for job in jobs:
        job.may_end.set()
    found = await asyncio.gather(*(hold(flights, job, str(at)) for at, job in enumerate(jobs)))
    assert found == jobs


async def test_the_first_may_leave() -> None:
    flights: Flights[Job] = Flights()
    job = Job()
    first, second = (asyncio.create_task(hold(flights, job)) for _ in range(2))
    await asyncio.sleep(0.001)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert job.events == ["begun"]
    job.may_end.set()
    assert await second is job
    assert job.events == ["begun", "done", "released"]


async def test_with_the_last_one_it_ends() -> None:
    flights: Flights[Job] = Flights()
    job = Job()
    both = [asyncio.create_task(hold(flights, job)) for _ in range(2)]
    await asyncio.sleep(0.001)
    for task in both:
        task.cancel()
    await asyncio.wait(both)
    assert job.events == ["begun", "cancelled", "released"]
    assert len(flights) == 0


async def test_a_failure_is_everybodys() -> None:
    flights: Flights[Job] = Flights()
    job = Job(StoreFull("full"))
    waiting = [asyncio.create_task(hold(flights, job)) for _ in range(3)]
    await asyncio.sleep(0.001)
    job.may_end.set()
    assert await asyncio.gather(*waiting, return_exceptions=True) == [job.failure] * 3
    assert job.events == ["begun", "released"]


async def test_a_failure_that_nobody_asks_for_is_no_warning() -> None:
    flights: Flights[Job] = Flights()
    job = Job(StoreFull("full"))
    async with flights.join("key", lambda: job):
        job.may_end.set()
        await asyncio.sleep(0.001)
    assert job.events == ["begun", "released"]


async def test_who_comes_while_it_ends_waits_and_gets_a_new_one() -> None:
    flights: Flights[Job] = Flights()
    old, new = Job(), Job()
    old.may_be_released.clear()
    first = asyncio.create_task(hold(flights, old))
    await asyncio.sleep(0.001)
    first.cancel()
    await until(lambda: "cancelled" in old.events)
    later = [asyncio.create_task(hold(flights, new)) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert new.events == []
    assert not first.done()
    old.may_be_released.set()
    await until(lambda: new.events)
    assert old.events == ["begun", "cancelled", "released"]
    new.may_end.set()
    await asyncio.gather(*later)
    assert new.events == ["begun", "done", "released"]


async def test_a_second_cancel_does_not_cut_the_end_short() -> None:
    flights: Flights[Job] = Flights()
    job = Job()
    job.may_be_released.clear()
    task = asyncio.create_task(hold(flights, job))
    await asyncio.sleep(0.001)
    task.cancel()
    await until(lambda: "cancelled" in job.events)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    job.may_be_released.set()
    await asyncio.wait({task})
    assert job.events[-1] == "released"


class Dependent(Job):
    """Needs another flight for as long as it lasts."""

    def __init__(self, below: Flight[Job]) -> None:
        super().__init__()
        self.below = below
        below.hold()

    async def release(self) -> None:
        await super().release()
        await self.below.leave()


async def test_work_holds_what_it_is_made_from() -> None:
    """The one who began leaves; what the other still needs stays, down to the ground."""
    flights: Flights[Job] = Flights()
    ground = Job()
    proceed = asyncio.Event()

    async def leader() -> None:
        async with (
            flights.join("ground", lambda: ground) as below,
            flights.join("top", lambda: Dependent(below)),
        ):
            await proceed.wait()

    leading = asyncio.create_task(leader())
    await asyncio.sleep(0.001)
    async with flights.join("top", Job) as top:
        assert isinstance(top.work, Dependent)
        leading.cancel()
        await asyncio.wait({leading})
        assert ground.events == ["begun"]
        ground.may_end.set()
        assert await top.work.below.done() is ground
    assert ground.events == ["begun", "done", "released"]
    assert len(flights) == 0
