"""The task that collects: when it does, and what happens when it cannot."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from orlop.errors import InvalidArgument, StoreIO, Unavailable
from orlop.gc.collect import Collector
from orlop.gc.schedule import ScheduleSettings
from orlop.gc.scheduler import Scheduler
from orlop.linux.clock import SystemClock
from orlop.ports.content import IngestStatus
from orlop.ports.service import GCReport

if TYPE_CHECKING:
    from collections.abc import Callable

NOTHING = GCReport(images=0, blobs=0, snapshots=0, bytes=0)


@dataclass
class Collecting:
    """A collector that only counts; errors are raised in their order, one each time."""

    errors: list[Exception] = field(default_factory=list)
    runs: int = 0
    dry: int = 0
    hold: asyncio.Event | None = None

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        self.dry += dry_run
        self.runs += not dry_run
        if self.hold is not None:
            await self.hold.wait()
        if self.errors:
            raise self.errors.pop(0)
        return NOTHING


@dataclass
class Ingests:
    """A store whose ingests are all old."""

    refs: list[str] = field(default_factory=list)

    def status(self) -> list[IngestStatus]:
        return [IngestStatus(ref, 0, 0, 1, 1) for ref in self.refs]

    def abort(self, ref: str) -> None:
        self.refs.remove(ref)


def scheduler(
    collecting: Collecting, ingests: Ingests | None = None, **settings: float
) -> Scheduler:
    chosen = ScheduleSettings(**{"startup_delay": 0.0, "pause_threshold": 0.5} | settings)  # type: ignore[arg-type]
    return Scheduler(
        cast("Collector", collecting),
        ingests or Ingests(),
        chosen,
        clock=SystemClock(),
        ingest_seconds=60,
    )


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0.001)


async def test_it_collects_after_the_start_and_after_a_deletion() -> None:
    collecting = Collecting()
    async with scheduler(collecting, startup_delay=0.01).running() as running:
        assert collecting.runs == 0
        await until(lambda: collecting.runs == 1)
        running.changed(deletion=False)
        await asyncio.sleep(0.05)
        assert collecting.runs == 1
        running.changed(deletion=True)
        await until(lambda: collecting.runs == 2)


async def test_the_delay_after_the_start() -> None:
    collecting = Collecting()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with scheduler(collecting, startup_delay=0.1).running() as running:
        running.changed(deletion=True)
        await until(lambda: collecting.runs)
        assert loop.time() - begun >= 0.1


async def test_a_collection_that_was_asked_for_counts() -> None:
    collecting = Collecting()
    async with scheduler(collecting).running() as running:
        running.changed(deletion=True)
        assert await running.collect() == NOTHING
        await asyncio.sleep(0.05)
        assert collecting.runs == 1


async def test_a_dry_run_does_not_count() -> None:
    collecting = Collecting()
    async with scheduler(collecting).running() as running:
        running.changed(deletion=True)
        assert await running.collect(dry_run=True) == NOTHING
        await until(lambda: collecting.runs == 1)
        assert collecting.dry == 1


async def test_what_expires_goes_with_time() -> None:
    collecting, ingests = Collecting(), Ingests(["a", "b"])
    async with scheduler(collecting, ingests, period=0.01).running():
        await until(lambda: not ingests.refs)
        assert collecting.runs


@pytest.mark.parametrize("error", [Unavailable("it keeps changing"), ValueError("a defect")])
async def test_a_failure_is_logged_and_tried_again(
    caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    collecting = Collecting([error])
    loop = asyncio.get_running_loop()
    async with scheduler(collecting).running() as running:
        begun = loop.time()
        running.changed(deletion=True)
        await until(lambda: collecting.runs == 2)
        assert loop.time() - begun > 0.9
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert record.message.startswith("garbage collection failed")
    assert str(error) in caplog.text


async def test_a_failed_disk_ends_whoever_is_inside() -> None:
    failure = StoreIO("the disk failed")

    async def work() -> None:
        async with scheduler(Collecting([failure])).running() as running:
            running.changed(deletion=True)
            await asyncio.sleep(60)

    with pytest.raises(StoreIO) as caught:
        await work()
    assert caught.value is failure
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("error", [InvalidArgument("x"), KeyError("y")])
async def test_errors_of_others_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        async with scheduler(Collecting()).running():
            raise error
    assert caught.value is error


async def test_a_collection_that_runs_at_the_end_is_waited_for() -> None:
    collecting = Collecting(hold=asyncio.Event())
    assert collecting.hold is not None
    async with scheduler(collecting).running() as running:
        running.changed(deletion=True)
        await until(lambda: collecting.runs)
        asyncio.get_running_loop().call_later(0.05, collecting.hold.set)
    assert collecting.hold.is_set()


async def test_also_when_it_is_cancelled() -> None:
    collecting = Collecting(hold=asyncio.Event())
    hold = collecting.hold
    assert hold is not None

    async def work() -> None:
        async with scheduler(collecting).running() as running:
            running.changed(deletion=True)
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await until(lambda: collecting.runs)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    hold.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_protects_as_the_collector_does() -> None:
    collector = Collector(
        cast("object", None),  # type: ignore[arg-type] # it is not asked
        SystemClock(),
        delete_blob=lambda _: None,
        delete_directory=lambda *_: None,
    )
    one = scheduler(cast("Collecting", collector))
    async with one.protect() as protection:
        assert protection in collector._protections
