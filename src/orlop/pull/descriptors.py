"""Bytes from and to descriptors of any kind, without holding up the event loop.

Files are read and written in threads. Pipes and sockets are waited for first: a
thread that waits for bytes which never come could not be stopped. Their modes are
left alone, since other processes share them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import FailedPrecondition, StoreCorrupt
from orlop.pull.completion import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PIECE_BYTES: Final = 1 << 20
"""The most that is read or copied at once."""

_ATOMIC_BYTES: Final = 4096
"""What a pipe that is ready takes without waiting (PIPE_BUF, pipe(7))."""

_CANNOT = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP, errno.ETXTBSY}
)
"""Why a descriptor cannot be copied to in the kernel; it can be written to all the same."""


async def pieces(source: int) -> AsyncIterator[bytes]:
    """What is read from ``source``, from where it stands to its end. Raises OSError."""
    waits = not stat.S_ISREG(os.fstat(source).st_mode)
    while True:
        if waits and await ready(source, writing=False):
            piece = os.read(source, PIECE_BYTES)
        else:
            piece = await in_thread(lambda: os.read(source, PIECE_BYTES))
        if not piece:
            return
        yield piece


async def ready(fd: int, *, writing: bool) -> bool:
    """Wait until a pipe or socket can be read or written; False for what is always ready."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    try:
        (loop.add_writer if writing else loop.add_reader)(fd, told.set)
    except PermissionError:
        return False  # epoll(7) watches no files
    try:
        await told.wait()
    finally:
        (loop.remove_writer if writing else loop.remove_reader)(fd)
    return True


class Output:
    """A descriptor that is written to, from where it stands; stays its opener's.

    Each method raises FailedPrecondition when it takes no more bytes.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        mode = os.fstat(target).st_mode
        self._waits = not stat.S_ISREG(mode)
        self._copies: tuple[Callable[[int, int, int], int], ...] = (
            (self._splice,) if stat.S_ISFIFO(mode) else (self._copy_range, self._send)
        )

    async def write(self, data: bytes | memoryview) -> None:
        """Write all of ``data``."""
        rest = memoryview(data)
        while rest:
            if self._waits and await ready(self._target, writing=True):
                count = _written(partial(os.write, self._target, rest[:_ATOMIC_BYTES]))
            else:
                count = await in_thread(partial(_written, partial(os.write, self._target, rest)))
            rest = rest[count:]

    async def copy(self, source: int, size: int) -> None:
        """Copy the first ``size`` bytes of a file, in the kernel where it can.

        Raises:
            StoreCorrupt: the file is shorter.
        """
        at = 0
        while at < size:
            at += await self._copy_piece(source, at, min(PIECE_BYTES, size - at))

    async def _copy_piece(self, source: int, at: int, size: int) -> int:
        while self._copies:
            if self._waits:
                await ready(self._target, writing=True)
            copy = partial(self._copies[0], source, at, size)
            try:
                count = await in_thread(partial(_written, copy))
            except BlockingIOError:
                continue
            except OSError:
                self._copies = self._copies[1:]
                continue
            if not count:
                raise _too_short(source)
            return count
        data = await in_thread(lambda: os.pread(source, size, at))
        if not data:
            raise _too_short(source)
        await self.write(data)
        return len(data)

    def _copy_range(self, source: int, at: int, size: int) -> int:
        return os.copy_file_range(source, self._target, size, at)

    def _send(self, source: int, at: int, size: int) -> int:
        return os.sendfile(self._target, source, at, size)

    def _splice(self, source: int, at: int, size: int) -> int:
        return os.splice(source, self._target, size, at, flags=os.SPLICE_F_NONBLOCK)


def _written(call: Callable[[], int]) -> int:
    """How much a call has written. Raises BlockingIOError, or OSError if it cannot work here."""
    try:
        return call()
    except OSError as error:
        if isinstance(error, BlockingIOError) or error.errno in _CANNOT:
            raise
        raise FailedPrecondition(f"the archive cannot be written: {error.strerror}") from error


def _too_short(source: int) -> StoreCorrupt:
    size = os.fstat(source).st_size
    return StoreCorrupt(f"a blob ends after {size} bytes", hint="run `orlop check`")
