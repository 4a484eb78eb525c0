"""One blob on its way from a registry into an ingest.

The ingest's file is the only buffer: a thread hashes and appends while the
event loop reads on, and workers follow the same file. A broken connection is
taken up again at the offset that was reached; an ingest outlives a failed
download, and the next one continues it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from orlop.errors import (
    DataLoss,
    RegistryProtocol,
    RegistryUnavailable,
    Unavailable,
)
from orlop.pull.completion import completed, in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orlop.model.descriptor import Descriptor
    from orlop.ports.content import BlobStore, Ingest
    from orlop.ports.registry import BlobStream, Remote
    from orlop.pull.slots import Slots
    from orlop.pull.traffic import SharedTraffic

_BATCH_BYTES: Final = 1024 * 1024
"""How much is handed to the writing thread at once: fewer hops between threads."""

_FUTILE_TRIES: Final = 5
"""Connections in a row that may break without bringing a single byte."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


class Restarted(Unavailable):
    """What was downloaded so far was wrong and is being fetched again from the start."""


def ingest_ref(descriptor: Descriptor) -> str:
    """The reference of a layer's ingest; containerd uses the same words."""
    return f"layer-{descriptor.digest}"


class Download:
    """A blob that is being fetched (``Work`` of a flight, ``Source`` of workers).

    Args:
        slots: one is taken while connected to the registry.
        remote: of the pull that started it; joiners have shown that they may have it.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        *,
        store: BlobStore,
        remote: Remote,
        traffic: SharedTraffic,
        slots: Slots,
    ) -> None:
        self.descriptor = descriptor
        self.traffic = traffic
        self.available = 0
        self.fetched = 0  # bytes that came over the network
        self.waiting = True
        self._store = store
        self._remote = remote
        self._slots = slots
        self._ingest: Ingest | None = None
        self._published = False
        self._complete = False
        self._failed = False
        self.generation = 0
        self._news = asyncio.Event()
        self._opened = asyncio.Event()

    # Work.

    async def run(self) -> None:
        """Fetch and verify; the ingest is ready to be published afterwards."""
        try:
            async with self._slots.taken():
                self.waiting = False
                await self._fetch(await in_thread(self._open))
                self._complete = True
        except BaseException:
            self._failed = True
            raise
        finally:
            self._opened.set()
            self._tell()

    def _open(self) -> Ingest:
        self._ingest = self._store.ingest(ingest_ref(self.descriptor), total=self.descriptor.size)
        return self._ingest

    async def release(self) -> None:
        """Keep the bytes for the next download, unless they have become a blob."""
        if self._ingest is not None and not self._published:
            await in_thread(self._ingest.close)

    def take_ingest(self) -> Ingest | None:
        """The verified ingest, for publishing; None when somebody has published it."""
        if self._published:
            return None
        assert self._complete
        return self._ingest

    def published(self) -> None:
        """Say that the ingest has become a blob."""
        self._published = True

    # Source.

    async def opened(self) -> None:
        """Wait until there is a file to follow. Raises when there will be none."""
        await self._opened.wait()
        if self._ingest is None:
            raise Unavailable(f"download of {self.descriptor.digest} has failed")

    def fileno(self) -> int:
        """The ingest's descriptor; valid after ``opened`` and until the release."""
        assert self._ingest is not None
        return self._ingest.fileno()

    async def follow(self) -> AsyncIterator[int]:
        """How far the file may be read, each time that grows; ends when all is verified.

        Raises:
            Restarted: everything read so far was wrong; start again.
            Unavailable: the download has failed (its holders see why).
        """
        generation = self.generation
        told = 0
        while True:
            if generation != self.generation:
                raise Restarted(f"blob {self.descriptor.digest} is being fetched again")
            if self._failed:
                raise Unavailable(f"download of {self.descriptor.digest} has failed")
            if self.available > told:
                told = self.available
                yield told
            elif self._complete:
                return
            else:
                await self._news.wait()

    def _tell(self) -> None:
        """Wake everybody who follows."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    # Fetching.

    async def _fetch(self, ingest: Ingest) -> None:
        self._opened.set()
        digest, size = self.descriptor.digest, self.descriptor.size
        resumed = ingest.offset > 0
        if ingest.offset > size:
            await in_thread(ingest.truncate)
        self.available = ingest.offset
        while True:
            await self._fetch_rest(ingest)
            try:
                await in_thread(lambda: ingest.verify(digest, size))
            except DataLoss:
                await in_thread(lambda: self._start_over(ingest))
                self._tell()
                if not resumed:
                    raise
                # Bytes of an earlier time may be to blame: one clean try.
                resumed = False
            else:
                return

    def _start_over(self, ingest: Ingest) -> None:
        ingest.truncate()
        self.available = 0
        self.generation += 1

    async def _fetch_rest(self, ingest: Ingest) -> None:
        """Append until the blob is whole, over as many connections as it takes."""
        futile = 0
        while ingest.offset < self.descriptor.size:
            before = ingest.offset
            try:
                async with self._remote.blob(self.descriptor, offset=before) as stream:
                    await self._copy(stream, ingest)
            except RegistryProtocol:
                if not before:
                    raise
                # The registry cannot continue where we stopped.
                await in_thread(lambda: self._start_over(ingest))
                self._tell()
            except RegistryUnavailable:
                futile = 0 if ingest.offset > before else futile + 1
                if futile >= _FUTILE_TRIES:
                    raise
                await asyncio.sleep(min(_FIRST_PAUSE * 2**futile, _LONGEST_PAUSE))

    async def _copy(self, stream: BlobStream, ingest: Ingest) -> None:
        """Read on while a thread hashes and writes what came before."""
        skip = ingest.offset - stream.start  # the registry ignored the range
        writing: asyncio.Future[None] | None = None
        batch: list[bytes] = []
        size = 0
        try:
            while chunk := await stream.read():
                self.fetched += len(chunk)
                if skip:
                    dropped = min(skip, len(chunk))
                    skip -= dropped
                    chunk = chunk[dropped:]
                batch.append(chunk)
                size += len(chunk)
                if size >= _BATCH_BYTES or (writing is None or writing.done()):
                    if writing is not None:
                        with self.traffic.held():
                            await writing
                    writing = self._write(ingest, batch)
                    batch, size = [], 0
        finally:
            if writing is not None:
                await completed(writing)
            if batch:
                await completed(self._write(ingest, batch))

    def _write(self, ingest: Ingest, batch: list[bytes]) -> asyncio.Future[None]:
        """Append in a thread, then tell the followers."""

        def append() -> None:
            for chunk in batch:
                ingest.write(chunk)

        async def work() -> None:
            await asyncio.to_thread(append)
            self.available = ingest.offset
            self._tell()

        return asyncio.ensure_future(work())


class StoredBlob:
    """A blob that is in the store, as a ``Source``; ``with`` closes its descriptor."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    def fileno(self) -> int:
        """Its descriptor."""
        return self._fd

    async def follow(self) -> AsyncIterator[int]:
        """All of it, at once."""
        yield self._size
