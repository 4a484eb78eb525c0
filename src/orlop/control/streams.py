"""Archives between streams of messages and descriptors, a bounded piece at a time.

The service reads archives from descriptors and writes them to descriptors; on the
wire they are messages. A pipe lies between the two, so that neither side runs ahead
of the other by more than the pipe holds.
"""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from orlop.model import tarwrite
from orlop.pull.completion import in_thread
from orlop.pull.descriptors import PIECE_BYTES, pieces, ready

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator

_BLOBS: Final = "blobs"


@asynccontextmanager
async def readable(parts: AsyncIterator[bytes]) -> AsyncIterator[int]:
    """A descriptor from which ``parts`` can be read, for as long as the ``async with`` lasts.

    Raises:
        Exception: what ``parts`` raised, at the end of the ``async with``.
    """
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        feeding = asyncio.create_task(_feed(parts, writer))
        try:
            yield reader
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
        if not feeding.cancelled():
            feeding.result()
    finally:
        os.close(reader)


async def _feed(parts: AsyncIterator[bytes], writer: int) -> None:
    """Write all parts to a pipe, which is closed at their end."""
    try:
        async for part in parts:
            rest = memoryview(part)
            while rest:
                try:
                    rest = rest[os.write(writer, rest) :]
                except BlockingIOError:
                    await ready(writer, writing=True)
    finally:
        os.close(writer)


async def written(
    write: Callable[[int], Coroutine[object, object, None]],
) -> AsyncGenerator[bytes, None]:
    """What ``write`` writes to the descriptor that it gets.

    Close it (``contextlib.aclosing``) when it is left early: ``write`` is cancelled then.

    Raises:
        Exception: what ``write`` raised, after everything that it had written.
    """
    reader, writer = os.pipe()

    async def run() -> None:
        try:
            await write(writer)
        finally:
            os.close(writer)

    writing = asyncio.create_task(run())
    try:
        async for piece in pieces(reader):
            yield piece
        await writing
    finally:
        os.close(reader)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


def archive(source: int) -> AsyncIterator[bytes]:
    """An archive's bytes; a directory's layout becomes a tar archive on the way.

    Args:
        source: see ``ImageService.import_images``.
    """
    return _packed(source) if stat.S_ISDIR(os.fstat(source).st_mode) else pieces(source)


async def _packed(directory: int) -> AsyncIterator[bytes]:
    """The regular files of a layout; what else is there is none of its parts."""
    for name in await in_thread(lambda: sorted(_names(directory))):
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                continue
            yield tarwrite.header(name, found.st_size)
            left = found.st_size
            async for piece in pieces(fd):
                yield piece[:left]
                left -= min(left, len(piece))
            # A file that was cut meanwhile has a wrong digest, and harms nothing else.
            while left:
                yield bytes(min(left, PIECE_BYTES))
                left -= min(left, PIECE_BYTES)
            yield tarwrite.padding(found.st_size)
        finally:
            os.close(fd)
    yield tarwrite.END


def _names(directory: int) -> Iterator[str]:
    yield from (name for name in os.listdir(directory) if name.isascii() and name != _BLOBS)
    try:
        blobs = os.open(_BLOBS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return
    try:
        for algorithm in filter(str.isascii, os.listdir(blobs)):
            inner = os.open(algorithm, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=blobs)
            try:
                names = filter(str.isascii, os.listdir(inner))
                yield from (f"{_BLOBS}/{algorithm}/{name}" for name in names)
            finally:
                os.close(inner)
    finally:
        os.close(blobs)
