"""Emptying the trash: trees that nobody can see any more leave the disk a slice at a time.

On ext4 files are created five to ten times slower for about a minute after many were
deleted, because the kernel passes over inodes that were in use a moment ago. So the
trash waits while pulls run, and is emptied in slices with pauses between them, by a
thread whose reads and writes come after everybody else's. When space is short all of
that ends: kubelet looks at the disk right after it has removed images, and goes on to
evict pods when there is not enough. Nobody waits for that thread: on a busy disk it can
stand still for seconds.

What is left at the end waits for the next start.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

from orlop.errors import OrlopError, StoreIO
from orlop.linux.priority import yield_disk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

_log = logging.getLogger(__name__)

SLICE: Final = 1000
"""Inodes that go with a removal, so that small images leave no trash; some ten
milliseconds' work."""

LEISURE: Final = 200
"""Inodes that are removed between two pauses."""

SHORT: Final = 0.2
"""Share of free bytes or inodes below which space is short. kubelet begins to remove
images at 0.15 and ends at 0.2, unless it is told otherwise."""

_PAUSE_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 1.0
"""How long a removal waits for a slice that has begun, unless space is short."""

_LOOK_SECONDS: Final = 5.0
"""How often to see whether space has become short while pulls run."""

_RETRY_SECONDS: Final = 300.0
_FAILED: Final = "the trash cannot be emptied, which is tried again"
_END_SECONDS: Final = 10.0
"""How long the end may be put off by what is still in the trash."""


def pause(*, pulls: int, free: float) -> float | None:
    """Seconds to wait before the next slice; None: until a pull ends, or space is short.

    Args:
        pulls: how many run.
        free: share of the file system, see ``orlop.linux.space.free_share``.
    """
    if free < SHORT:
        return 0.0
    return None if pulls else _PAUSE_SECONDS


class Trash:
    """Empties trash by itself while ``running``.

    Args:
        places: each removes at most so many inodes from its trash, and returns how many
            it did; blocks, may raise OrlopError.
        free_share: what is left of the fullest file system of a place, from 0 to 1.
    """

    def __init__(
        self, places: Sequence[Callable[[int], int]], *, free_share: Callable[[], float]
    ) -> None:
        self._places = places
        self._free_share = free_share
        self._executor = ThreadPoolExecutor(1, "trash", initializer=yield_disk)
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._pulls = 0
        self._bytes = 0
        # Numbers of the latest tree that came and that went; nobody knows what was left before.
        self._added, self._emptied = 1, 0

    @property
    def bytes(self) -> int:
        """What waits in it, at most: of a tree that is half gone, all is counted."""
        return self._bytes

    @property
    def short(self) -> bool:
        """Whether space is short now."""
        return self._free_share() < SHORT

    def add(self, size: int) -> None:
        """So many bytes were thrown away."""
        self._bytes += size
        self._added += 1
        self._news.set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let the trash wait as long as a pull runs."""
        self._pulls += 1
        try:
            yield
        finally:
            self._pulls -= 1
            self._news.set()

    async def relieve(self, *, short: bool = False) -> None:
        """After a removal: what is small goes at once, and everything when space is short.

        What cannot be deleted is tried again later: it may be of an earlier removal.

        Args:
            short: space was short before the removal.

        Raises:
            StoreIO: the disk failed.
        """
        short = short or self.short
        if self._emptied == self._added or (self._pulls and not short):
            return
        try:
            async with asyncio.timeout(None if short else _PATIENCE_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            return
        try:
            while not await self._slice(SLICE) and short:
                pass
        except StoreIO:
            raise
        except OrlopError as error:
            _log.warning("%s: %s", _FAILED, error)
        finally:
            self._turn.release()

    async def empty(self) -> None:
        """Empty it now, whoever works.

        Raises:
            OrlopError: something could not be deleted.
        """
        async with self._turn:
            while not await self._slice(SLICE):
                pass

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Empty it at leisure, until the ``async with`` is left."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait({task})
            with suppress(TimeoutError, OrlopError):
                async with asyncio.timeout(_END_SECONDS):
                    await self.empty()
            self._executor.shutdown()

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._paced()
                continue
            except OrlopError as error:
                _log.warning("%s: %s", _FAILED, error)
            except Exception:  # noqa: BLE001 (logged; a defect here must not end the daemon)
                _log.exception(_FAILED)
            await self._changed(_RETRY_SECONDS)
            self._news.set()

    async def _paced(self) -> None:
        empty = False
        while not empty:
            seconds = self._pause()
            if seconds is None:
                await self._changed(_LOOK_SECONDS)
                continue
            await asyncio.sleep(seconds)
            async with self._turn:
                idle = self._executor if seconds else None
                empty = await self._slice(LEISURE if seconds else SLICE, idle)

    def _pause(self) -> float | None:
        return pause(pulls=self._pulls, free=self._free_share())

    async def _changed(self, seconds: float) -> None:
        """Wait for news, but not longer than this."""
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def _slice(self, inodes: int, executor: ThreadPoolExecutor | None = None) -> bool:
        """Remove some; returns True when nothing is left. It must be the caller's turn.

        A slice that has begun is finished, also when the caller is cancelled.
        """
        before, added = self._bytes, self._added
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(executor, self._remove, inodes)
        try:
            empty = await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait({work})
            raise
        if empty:
            self._bytes -= before
            self._emptied = added
        return empty

    def _remove(self, inodes: int) -> bool:
        removed = 0
        failure: OrlopError | None = None
        for place in self._places:
            try:
                removed += place(inodes - removed)
            except OrlopError as error:
                failure = failure or error
            if removed >= inodes:
                return False
        if failure is not None:
            raise failure
        return True
