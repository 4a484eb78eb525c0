"""Appends what arrives to an ingest, in a thread, a batch at a time.

While the thread hashes and writes one batch, the connection's own buffer takes the
next: the event loop is woken once a batch, not once a packet. Whoever reads is held
up by a slow disk, and what has been read is written whatever ends the reading.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from orlop.pull.completion import completed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from orlop.ports.content import Ingest

_BATCH_BYTES: Final = 1 << 20
"""Enough that the hop to a thread is cheap beside hashing, and little memory."""


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

    async def add(self, chunk: bytes | memoryview, *, more: bool, left: int) -> None:
        """Append ``chunk``; returns once it is written, or at once to wait for its batch.

        The end of a body is not held up: its connection is done when it is read.

        Args:
            chunk: is not changed by anybody any more.
            more: the next one is here already.
            left: bytes that are still to be read after it.

        Raises:
            StoreFull, StoreIO: it, or what came before, could not be written.
        """
        self._chunks.append(chunk)
        self._waiting += len(chunk)
        if more and self._waiting < _BATCH_BYTES:
            return
        at_end = self._waiting + left <= _BATCH_BYTES
        if at_end and self._work is not None and not self._work.done():
            return
        await self._settle()
        self._begin()
        if not at_end:
            await self._settle()

    def _begin(self) -> None:
        chunks, self._chunks, self._waiting = self._chunks, [], 0

        def append() -> None:
            for chunk in chunks:
                self._ingest.write(chunk)

        self._work = asyncio.get_running_loop().run_in_executor(None, append)
        self._work.add_done_callback(lambda _: self._written())

    async def _settle(self) -> None:
        if (work := self._work) is not None:
            self._work = None
            await completed(work)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._settle()
        if self._chunks:
            self._begin()
            await self._settle()
