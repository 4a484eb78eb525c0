"""When the trash is emptied, and how fast."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from orlop.errors import FailedPrecondition, StoreIO
from orlop.gc import trash as room
from orlop.gc.trash import LEISURE, SHORT, SLICE, Trash, pause

if TYPE_CHECKING:
    from collections.abc import Callable

PLENTY = 0.9


@dataclass
class Place:
    """A trash of so many inodes."""

    inodes: int = 0
    failure: StoreIO | None = None
    slices: list[int] = field(default_factory=list)

    def empty(self, inodes: int) -> int:
        removed = min(inodes, self.inodes)
        self.inodes -= removed
        self.slices.append(removed)
        if self.failure is not None:
            raise self.failure
        return removed


@dataclass
class Disk:
    """What is left of a file system."""

    free: float = PLENTY

    def share(self) -> float:
        return self.free


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(room, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(room, "_RETRY_SECONDS", 0.001)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - conditions have no events
            await asyncio.sleep(0.001)


def test_when() -> None:
    assert pause(pulls=0, free=PLENTY) == room._PAUSE_SECONDS
    assert pause(pulls=1, free=PLENTY) is None
    assert pause(pulls=1, free=SHORT) is None
    assert pause(pulls=1, free=SHORT - 0.01) == 0
    assert pause(pulls=0, free=0) == 0


async def test_what_is_small_goes_with_its_removal() -> None:
    place = Place(SLICE - 1)
    trash = Trash([place.empty], free_share=Disk().share)
    trash.add(10)
    await trash.relieve()
    assert (place.inodes, trash.bytes) == (0, 0)


async def test_the_rest_goes_later_in_slices() -> None:
    place, other = Place(2 * SLICE + 5), Place(7)
    trash = Trash([place.empty, other.empty], free_share=Disk().share)
    trash.add(10)
    await trash.relieve()
    assert (place.inodes, other.inodes, trash.bytes) == (SLICE + 5, 7, 10)
    async with trash.running():
        await until(lambda: not trash.bytes)
    assert (place.inodes, other.inodes) == (0, 0)
    assert place.slices[0] == SLICE
    assert max(place.slices[1:]) == LEISURE


async def test_pulls_come_first() -> None:
    place, disk = Place(3 * SLICE), Disk()
    trash = Trash([place.empty], free_share=disk.share)
    async with trash.running():
        with trash.waiting(), trash.waiting():
            trash.add(10)
            await trash.relieve()
            await asyncio.sleep(0.02)
            assert place.slices == []
        await until(lambda: not place.inodes)


async def test_when_space_is_short_everything_goes_at_once() -> None:
    place, disk = Place(3 * SLICE + 1), Disk(SHORT / 2)
    trash = Trash([place.empty], free_share=disk.share)
    with trash.waiting():
        await trash.relieve()
    assert place.inodes == 0


async def test_a_removal_that_began_short_of_space_empties_it_to_the_end() -> None:
    place, disk = Place(3 * SLICE + 1), Disk()
    trash = Trash([place.empty], free_share=disk.share)
    with trash.waiting():
        await trash.relieve(short=True)
    assert place.inodes == 0


async def test_what_it_frees_itself_does_not_stop_it() -> None:
    place, disk = Place(3 * SLICE + 1), Disk(SHORT - 0.01)

    def empty(inodes: int) -> int:
        disk.free = SHORT
        return place.empty(inodes)

    trash = Trash([empty], free_share=disk.share)
    await trash.relieve()
    assert (disk.free, place.inodes) == (SHORT, 0)


async def test_space_that_becomes_short_during_a_pull() -> None:
    place, disk = Place(3 * SLICE), Disk()
    trash = Trash([place.empty], free_share=disk.share)
    async with trash.running():
        with trash.waiting():
            trash.add(1)
            await asyncio.sleep(0.005)
            assert place.slices == []
            disk.free = 0
            await until(lambda: not place.inodes)


async def test_a_pull_that_needs_room_gets_it() -> None:
    place = Place(3 * SLICE)
    trash = Trash([place.empty], free_share=Disk().share)
    with trash.waiting():
        await trash.empty()
    assert place.inodes == 0


async def test_a_removal_does_not_wait_for_a_slow_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_PATIENCE_SECONDS", 0.01)
    begun, go_on = threading.Event(), threading.Event()

    def empty(inodes: int) -> int:
        begun.set()
        assert go_on.wait(10)
        return 0

    trash = Trash([empty], free_share=Disk().share)
    async with trash.running():
        trash.add(10)
        await asyncio.to_thread(begun.wait)
        await trash.relieve()
        assert trash.bytes == 10
        go_on.set()


async def test_what_comes_while_it_is_emptied_is_counted() -> None:
    def empty(inodes: int) -> int:
        trash.add(5)
        return 0

    trash = Trash([empty], free_share=Disk().share)
    trash.add(10)
    await trash.empty()
    assert trash.bytes == 5


async def test_one_place_that_fails_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    place, other = Place(1, StoreIO("broken")), Place(1)
    trash = Trash([place.empty, other.empty], free_share=Disk().share)
    with pytest.raises(StoreIO, match="broken"):
        await trash.relieve()
    assert other.inodes == 0
    with caplog.at_level(logging.WARNING):
        async with trash.running():
            trash.add(1)
            await until(lambda: len(place.slices) > 2)
            place.failure = None
            await until(lambda: not trash.bytes)
    assert "broken" in caplog.text


async def test_what_cannot_be_removed_does_not_spoil_a_removal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def empty(inodes: int) -> int:
        raise FailedPrecondition("something is mounted there")

    trash = Trash([empty], free_share=Disk().share)
    trash.add(10)
    await trash.relieve()
    assert "mounted there" in caplog.text
    with pytest.raises(FailedPrecondition):
        await trash.empty()


async def test_a_defect_is_logged_and_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    failures = [ZeroDivisionError("a defect")]

    def empty(inodes: int) -> int:
        if failures:
            raise failures.pop()
        return 0

    trash = Trash([empty], free_share=Disk().share)
    async with trash.running():
        trash.add(10)
        await until(lambda: not trash.bytes)
    assert "a defect" in caplog.text


async def test_the_end_empties_it() -> None:
    place = Place(3 * SLICE)
    trash = Trash([place.empty], free_share=Disk().share)
    async with trash.running():
        pass
    assert place.inodes == 0


async def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_END_SECONDS", 0.01)
    trash = Trash([lambda inodes: inodes], free_share=Disk().share)
    async with trash.running():
        pass


async def test_a_slice_that_has_begun_ends() -> None:
    place = Place(10 * SLICE)
    trash = Trash([place.empty], free_share=Disk(0).share)
    for _ in range(5):
        task = asyncio.create_task(trash.empty())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    await trash.empty()
    assert place.inodes == 0
