"""Appends what arrives to an ingest, in a thread, while the next bytes arrive.

What waits is bounded: whoever reads faster than the disk writes is held up. What
waits when the reading ends, for whatever reason, is written all the same.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from orlop.pull.completion import completed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from orlop.ports.content import Ingest

_WAITING_BYTES: Final = 1024 * 1024
"""Bytes that may wait for the thread: fewer hops between threads, and little memory."""


class Appender:
    """Writes to one ingest; use it in an ``async with``, which ends when all is written.

    Args:
        ingest: stays its owner's.
        written: called on the event loop each time that something was appended.
    """

    def __init__(self, ingest: Ingest, written: Callable[[], None]) -> None:
        self._ingest = ingest
        self._written = written
        self._chunks: list[bytes | memoryview] = []
        self._waiting = 0
        self._work: asyncio.Future[None] | None = None

    async def add(self, chunk: bytes | memoryview) -> None:
        """Append ``chunk`` soon; waits while too much is waiting.

        Raises:
            StoreFull, StoreIO: what came before could not be written.
        """
        self._chunks.append(chunk)
        self._waiting += len(chunk)
        if self._work is not None and (self._work.done() or self._waiting >= _WAITING_BYTES):
            await completed(self._work)
            self._work = None
        if self._work is None:
            self._work = asyncio.ensure_future(self._write())

    async def _write(self) -> None:
        while self._chunks:
            chunks, self._chunks, self._waiting = self._chunks, [], 0
            await asyncio.to_thread(self._append, chunks)
            self._written()

    def _append(self, chunks: list[bytes | memoryview]) -> None:
        for chunk in chunks:
            self._ingest.write(chunk)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._work is not None:
            await completed(self._work)
