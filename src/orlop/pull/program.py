"""A program of the operator's, from the event loop's side: run, listened to, ended.

The program and all it has started are gone when the ``async with`` is left, also
after a cancellation. Never decides what its exit code means.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from orlop.linux import programs
from orlop.pull.completion import completed, in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""``PATH`` of every program, whatever ours is."""

_PIECE: Final = 1 << 16


class Program:
    """A running program; made by ``running``."""

    def __init__(self, process: programs.Process) -> None:
        self._process = process

    async def ended(self) -> int:
        """Wait for its end; its exit code, or the negated number of the signal that ended it."""
        await _readable(self._process.pidfd)
        return programs.status(self._process)

    async def end(self) -> None:
        """Kill whatever is left of it; for ``running`` only."""
        programs.kill(self._process)
        await _readable(self._process.pidfd)
        programs.reap(self._process)


@asynccontextmanager
async def running(
    path: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    descriptors: Mapping[int, int],
) -> AsyncIterator[Program]:
    """Run a program while the ``async with`` lasts.

    The arguments are those of ``orlop.linux.programs.spawn``.

    Raises:
        OSError: it cannot be run.
    """
    started: list[Program] = []

    def start() -> None:
        process = programs.spawn(path, arguments, environment=environment, descriptors=descriptors)
        started.append(Program(process))

    try:
        await in_thread(start)
        yield started[0]
    finally:
        for program in started:
            await completed(asyncio.ensure_future(program.end()))


class Output:
    """What a program says, up to a limit; the rest is read and forgotten.

    Attributes:
        writer: descriptor that the program writes to.
        data: what was kept.
        flooded: set when it said more than the limit.
    """

    def __init__(self, reader: int, writer: int, limit: int) -> None:
        self.writer = writer
        self.data = bytearray()
        self.flooded = asyncio.Event()
        self._reader = reader
        self._limit = limit

    def read(self) -> int:
        """Take what has arrived; returns how many bytes that was."""
        with suppress(BlockingIOError):
            piece = os.read(self._reader, _PIECE)
            self.data += piece[: self._limit - len(self.data) + 1]
            if len(self.data) > self._limit:
                del self.data[self._limit :]
                self.flooded.set()
            return len(piece)
        return 0

    def read_rest(self) -> None:
        """Take what was said by a program that has ended."""
        while not self.flooded.is_set() and self.read():
            pass


@contextmanager
def listening(limit: int) -> Iterator[Output]:
    """Collect what is written to ``Output.writer`` while the ``with`` lasts.

    Args:
        limit: bytes to keep.
    """
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe()
    try:
        os.set_blocking(reader, False)
        output = Output(reader, writer, limit)
        loop.add_reader(reader, output.read)
        try:
            yield output
        finally:
            loop.remove_reader(reader)
    finally:
        os.close(reader)
        os.close(writer)


@contextmanager
def in_memory(data: bytes) -> Iterator[int]:
    """A descriptor of a file with ``data``, at its start: what a program is to read.

    A program that does not read it, or not all of it, harms nobody.
    """
    fd = os.memfd_create("orlop", os.MFD_CLOEXEC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
