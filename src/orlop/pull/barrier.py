"""The barrier before publishing: one ``syncfs`` for all pulls that wait for one.

A ``syncfs`` covers what was written before it began. Whoever asks while one is
running waits for the next, together with everybody else who asked. Snapshots may
be on another file system than the store: then both are synced.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from orlop.errors import StoreIO
from orlop.linux import files
from orlop.pull.completion import completed, settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

LEAST_BYTES: Final = 32 << 20
MOST_BYTES: Final = 256 << 20
"""How many bytes of blobs become files before the disk begins with them: as many as are
still to come, within these bounds. Each sync then leaves half of the rest to those after
it, and the last one, for which a pull waits, finds little."""


class Barrier:
    """Group commit for pulls.

    Args:
        sync: makes everything written so far durable; blocks; raises ``StoreIO``.
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._left = self._written = 0

    def expect(self, size: int) -> None:
        """So many bytes of blobs will become files; negative: they will not after all."""
        self._left += size

    def wrote(self, size: int) -> None:
        """So many of them have.

        Every now and then this begins a sync for which nobody waits: while workers
        decompress, the disk has time. When it fails, so do those after it (``FileSystems``).
        """
        self._left -= size
        self._written += size
        enough = min(max(self._left, LEAST_BYTES), MOST_BYTES)
        if self._written < enough or self._is_busy():
            return
        self._written = 0
        self._next = asyncio.create_task(self._turn(self._running))
        self._next.add_done_callback(_look_away)

    @asynccontextmanager
    async def fed(self) -> AsyncIterator[None]:
        """While a pull calls ``expect`` and ``wrote``; a failed one leaves no sync behind.

        One that succeeds has called ``wait``, and need not wait for what others begin.
        """
        try:
            yield
        except BaseException:
            await self.rest()
            raise

    async def rest(self) -> None:
        """Wait until a sync that has begun is over, whatever becomes of it."""
        for turn in (self._running, self._next):
            if turn is not None:
                await settled(turn)

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

    def _is_busy(self) -> bool:
        return self._next is not None or not (self._running is None or self._running.done())


def _look_away(turn: asyncio.Task[None]) -> None:
    """The next one fails like this one."""
    if not turn.cancelled():
        turn.exception()


class Share:
    """What one layer adds to the next barrier.

    Args:
        barrier: None when there is none.
        size: of the blob, in bytes.
    """

    def __init__(self, barrier: Barrier | None, size: int) -> None:
        self._barrier = barrier
        self._left = size
        if barrier is not None:
            barrier.expect(size)

    def left(self, size: int) -> None:
        """So many bytes are still to become files; a layer that is begun anew does not count."""
        if self._barrier is not None and size < self._left:
            self._barrier.wrote(self._left - size)
            self._left = size

    def end(self) -> None:
        """Nothing more of it will."""
        if self._barrier is not None:
            self._barrier.expect(-self._left)
            self._left = 0


class FileSystems:
    """Every file system that pulls write to; made by ``opened``.

    Args:
        sync: makes the store's own file system durable.
        others: descriptors of the further ones, open since the start: the kernel tells
            an older descriptor only that something could not be written (syncfs(2)).
    """

    def __init__(self, sync: Callable[[], None], others: Sequence[int]) -> None:
        self._sync = sync
        self._others = others
        self._failure: StoreIO | None = None

    @classmethod
    @contextmanager
    def opened(
        cls, path: str, sync: Callable[[], None], others: Iterable[str]
    ) -> Iterator[FileSystems]:
        """All that the store and some directories are on, each once.

        Args:
            path: a directory of the store.
            sync: makes the store's own file system durable; raises ``StoreIO``.
            others: existing directories, on the same or on other file systems.

        Raises:
            NotFound, PermissionDenied, StoreIO: a directory cannot be opened.
        """
        seen = {os.stat(path).st_dev}
        with ExitStack() as stack:
            descriptors = []
            for other in others:
                with files.translated(f"open {other}"):
                    if (device := os.stat(other).st_dev) in seen:
                        continue
                    descriptors.append(os.open(other, files.DIRECTORY))
                stack.callback(os.close, descriptors[-1])
                seen.add(device)
            yield cls(sync, descriptors)

    def sync(self) -> None:
        """Make all of them durable; blocks.

        Raises:
            StoreIO: one of them failed, now or before; it is not tried again.
        """
        if self._failure is not None:
            raise self._failure
        try:
            self._sync()
            for fd in self._others:
                files.syncfs(fd, what="the file system of the snapshots")
        except StoreIO as error:
            self._failure = error
            raise
