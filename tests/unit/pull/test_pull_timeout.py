"""What ``image_pull_progress_timeout`` ends, and what it does not: whole pulls.

A registry that sends some bytes and then none is one thing; a content store that
takes its time, and a commit that does, are others.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import Stalled
from orlop.model.mediatype import Compression
from orlop.pull.barrier import Barrier
from orlop.testing.faults import Fault
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import file
from orlop.testing.manual_clock import ManualClock
from orlop.testing.memory_store import MemoryIngest, MemoryStore
from tests.unit.pull.rig import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.ports.metadata import Image
    from orlop.ports.observe import PullProgress
    from tests.unit.pull.whole import Bench

IMAGE = build_image([build_layer([file("x", os.urandom(4_000_000))], Compression.NONE)])
BLOB = str(IMAGE.layers[0].digest)
AGE = 1e6
LOOKS = 0.25
"""Seconds in which a pull that reports is looked at twice."""


def quiet(_: PullProgress) -> None:
    """Reports are not of interest, but with them it looks ten times a second."""


def by_hand(bench: Bench) -> ManualClock:
    clock = ManualClock()
    bench.parts = replace(bench.parts, clock=clock)
    return clock


def begin(bench: Bench, timeout: float) -> asyncio.Task[Image]:
    pipeline = bench.pipeline(progress_timeout=timeout)
    return asyncio.create_task(pipeline.pull(bench.offer(IMAGE), quiet))


async def goes_on(pulling: asyncio.Task[Image], seconds: float = LOOKS) -> None:
    done, _ = await asyncio.wait({pulling}, timeout=seconds)
    assert not done, pulling.exception()


# No data after some MiB.


def stalls(bench: Bench) -> None:
    bench.registry.fail(Fault(stall_at=2_000_000), path=BLOB, times=None)


def arrived(bench: Bench) -> bool:
    return sum(one.offset for one in bench.store.status()) == 2_000_000


async def test_no_data_in_real_time(bench: Bench) -> None:
    stalls(bench)
    pulling = begin(bench, 0.3)
    await until(lambda: arrived(bench))
    begun = asyncio.get_running_loop().time()
    with pytest.raises(Stalled, match=r"^no progress for 300ms: 0 of 1 layers, 2.0 of 4.0 MB, "):
        await pulling
    assert 0.2 < asyncio.get_running_loop().time() - begun < 1


async def test_no_data_by_the_clock(bench: Bench) -> None:
    clock = by_hand(bench)
    stalls(bench)
    pulling = begin(bench, 5)
    await until(lambda: arrived(bench))
    await goes_on(pulling)  # and waits for more
    clock.advance(4.99)
    await goes_on(pulling)
    clock.advance(0.01)
    with pytest.raises(Stalled, match=r"no progress for 5s: .* waiting for 127\.0\.0\.1"):
        await asyncio.wait_for(pulling, 1)


async def test_no_data_and_no_timeout(bench: Bench) -> None:
    clock = by_hand(bench)
    stalls(bench)
    pulling = begin(bench, 0)
    await until(lambda: arrived(bench))
    clock.advance(AGE)
    await goes_on(pulling)
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling


# A content writer that is held.


class HeldIngest(MemoryIngest):
    """Takes the first bytes, and more only when it may."""

    permission = threading.Event()
    held = threading.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.offset:
            HeldIngest.held.set()
            HeldIngest.permission.wait(10)
        super().write(data)


class HeldStore(MemoryStore):
    """A disk that hangs."""

    def ingest(self, ref: str, *, total: int = 0) -> MemoryIngest:
        found = super().ingest(ref, total=total)
        if ref.startswith("layer-"):
            found.__class__ = HeldIngest
        return found


@contextmanager
def held_store(bench: Bench) -> Iterator[None]:
    HeldIngest.permission.clear()
    HeldIngest.held.clear()
    with HeldStore(bench.parts.clock) as store:
        bench.parts = replace(bench.parts, store=store)
        bench.store = store
        try:
            yield
        finally:
            HeldIngest.permission.set()


@pytest.mark.parametrize("seconds", [5, 0])
async def test_a_held_writer_by_the_clock(bench: Bench, seconds: float) -> None:
    clock = by_hand(bench)
    with held_store(bench):
        pulling = begin(bench, seconds)
        await until(HeldIngest.held.is_set)
        await asyncio.sleep(0.05)  # what could be read ahead has been read
        clock.advance(AGE)
        await goes_on(pulling)
        HeldIngest.permission.set()
        await pulling


async def test_a_held_writer_in_real_time(bench: Bench) -> None:
    with held_store(bench):
        pulling = begin(bench, 0.3)
        await until(HeldIngest.held.is_set)
        await goes_on(pulling, 1)
        HeldIngest.permission.set()
        await pulling


async def test_a_held_writer_does_not_hide_a_registry_that_stalls(bench: Bench) -> None:
    """Once the writer goes on, it is the registry that is waited for."""
    clock = by_hand(bench)
    bench.registry.fail(Fault(stall_at=3_990_000), path=BLOB, times=None)
    with held_store(bench):
        pulling = begin(bench, 5)
        await until(HeldIngest.held.is_set)
        await asyncio.sleep(0.05)
        clock.advance(AGE)
        HeldIngest.permission.set()
        await until(lambda: sum(one.offset for one in bench.store.status()) == 3_990_000)
        await goes_on(pulling)
        clock.advance(5)
        with pytest.raises(Stalled):
            await asyncio.wait_for(pulling, 1)


# A commit that takes its time.


@pytest.mark.parametrize("seconds", [5, 0])
async def test_a_slow_commit_by_the_clock(bench: Bench, seconds: float) -> None:
    clock = by_hand(bench)
    committing, permission = threading.Event(), threading.Event()

    def sync() -> None:
        committing.set()
        permission.wait(10)

    bench.parts = replace(bench.parts, barrier=Barrier(sync))
    pulling = begin(bench, seconds)
    await until(committing.is_set)
    clock.advance(AGE)
    await goes_on(pulling)
    permission.set()
    await pulling


async def test_a_slow_commit_in_real_time(bench: Bench) -> None:
    permission = threading.Event()

    def sync() -> None:
        permission.wait(10)

    bench.parts = replace(bench.parts, barrier=Barrier(sync))
    pulling = begin(bench, 0.3)
    await goes_on(pulling, 1)
    permission.set()
    await pulling
