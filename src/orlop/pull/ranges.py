"""One blob in parts that are fetched side by side and read in order.

For registries that serve one connection slower than the line is. Only the parts
that are under way are in memory; what is behind a part that breaks is fetched
again, because only the bytes that were read in order are on the disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from orlop.errors import RegistryProtocol, RegistryUnavailable
from orlop.pull.completion import settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orlop.model.descriptor import Descriptor
    from orlop.ports.registry import BlobStream, Remote


@asynccontextmanager
async def in_parts(
    remote: Remote, descriptor: Descriptor, *, offset: int, part: int, parallel: int
) -> AsyncIterator[BlobStream]:
    """Open the bytes of a blob from ``offset``; in one piece if the registry ignores ranges.

    Args:
        remote: where from.
        descriptor: of the blob.
        offset: where to begin.
        part: bytes of a part, less than there are.
        parallel: parts that are fetched at the same time; so many are in memory.

    Raises:
        RegistryProtocol, RegistryUnavailable, ...: as ``Remote.blob``, also while reading.
    """
    async with remote.blob(descriptor, offset=offset, length=part) as first:
        if (first.start, first.end) != (offset, offset + part):
            yield first
            return
        stream = _InOrder(remote, descriptor, first, part=part, parallel=parallel)
        try:
            yield stream
        finally:
            await stream.close()


class _InOrder:
    """The parts of a blob as one ``BlobStream``."""

    def __init__(
        self,
        remote: Remote,
        descriptor: Descriptor,
        first: BlobStream,
        *,
        part: int,
        parallel: int,
    ) -> None:
        self._start = first.start
        self._end = descriptor.size
        self._rest = iter(range(first.end, descriptor.size, part))
        self._parts: deque[_Part] = deque(
            [_Part(remote, descriptor, first.start, first.end, first)]
        )
        self._more = self._made(remote, descriptor, part)
        for _ in range(parallel - 1):
            self._begin_another()

    @property
    def start(self) -> int:
        """Offset in the blob of the first byte that ``read`` returns."""
        return self._start

    @property
    def end(self) -> int:
        """Offset in the blob after the last byte that ``read`` returns."""
        return self._end

    @property
    def waiting(self) -> int:
        """Bytes of the part in front that are here."""
        return self._parts[0].waiting if self._parts else 0

    async def read(self) -> bytes:
        """The next bytes in order; ``b""`` at the end. Raises what the next part raised."""
        while self._parts:
            if data := await self._parts[0].read():
                return data
            self._parts.popleft()
            self._begin_another()
        return b""

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = [part.task for part in self._parts]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*(settled(task) for task in tasks))

    def _made(self, remote: Remote, descriptor: Descriptor, part: int) -> Iterator[_Part]:
        for start in self._rest:
            yield _Part(remote, descriptor, start, min(start + part, descriptor.size))

    def _begin_another(self) -> None:
        if (part := next(self._more, None)) is not None:
            self._parts.append(part)


class _Part:
    """Bytes ``start`` to ``end`` of a blob, fetched by a task of its own into memory.

    Goes on after a broken connection as long as each brings something.
    """

    def __init__(
        self,
        remote: Remote,
        descriptor: Descriptor,
        start: int,
        end: int,
        stream: BlobStream | None = None,
    ) -> None:
        self._remote = remote
        self._descriptor = descriptor
        self._position = start
        self._end = end
        self._chunks: deque[bytes] = deque()
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self._run(stream))
        self.task.add_done_callback(lambda _: self._news.set())

    @property
    def waiting(self) -> int:
        """Bytes that are here and have not been read."""
        return sum(map(len, self._chunks))

    async def read(self) -> bytes:
        """The next bytes; ``b""`` at the end of the part. Raises what broke it."""
        while not self._chunks:
            if self.task.done():
                self.task.result()
                return b""
            self._news.clear()
            await self._news.wait()
        return self._chunks.popleft()

    async def _run(self, stream: BlobStream | None) -> None:
        while self._position < self._end:
            before = self._position
            try:
                if stream is not None:
                    await self._take(stream)
                else:
                    await self._open()
            except RegistryUnavailable:
                if self._position == before:
                    raise
            stream = None

    async def _open(self) -> None:
        left = self._end - self._position
        async with self._remote.blob(
            self._descriptor, offset=self._position, length=left
        ) as stream:
            if (stream.start, stream.end) != (self._position, self._end):
                raise RegistryProtocol(
                    f"blob {self._descriptor.digest}: the registry ignores some ranges"
                )
            await self._take(stream)

    async def _take(self, stream: BlobStream) -> None:
        while data := await stream.read():
            self._chunks.append(data)
            self._position += len(data)
            self._news.set()
