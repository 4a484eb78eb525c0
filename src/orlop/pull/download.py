"""One blob on its way from a registry into an ingest.

The ingest's file is the only buffer: a thread hashes and appends while the
event loop reads on, and workers follow the same file. A broken connection is
taken up again at the offset that was reached; an ingest outlives a failed
download, and the next one continues it.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from orlop.errors import (
    AuthFailed,
    DataLoss,
    NotFound,
    OrlopError,
    PermissionDenied,
    RegistryError,
    RegistryProtocol,
    RegistryUnavailable,
    Unavailable,
)
from orlop.pull.completion import completed, in_thread
from orlop.pull.pending import PendingBlob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orlop.model.descriptor import Descriptor
    from orlop.ports.content import BlobStore, Ingest
    from orlop.ports.registry import BlobStream, Remote
    from orlop.ports.unpack import Source
    from orlop.pull.slots import Slots
    from orlop.pull.traffic import SharedTraffic

_BATCH_BYTES: Final = 1024 * 1024
"""How much is handed to the writing thread at once: fewer hops between threads."""

_FUTILE_TRIES: Final = 5
"""Connections in a row that may break without bringing a single new byte."""

_LONGEST_PAUSE: Final = 5.0


class Restarted(Unavailable):
    """What was downloaded so far was wrong and is being fetched again from the start."""


def ingest_ref(descriptor: Descriptor) -> str:
    """The reference of a layer's ingest; containerd uses the same words."""
    return f"layer-{descriptor.digest}"


class Download:
    """A blob that is being fetched (``Work`` of a flight).

    It may be asked of any of the pulls that wait for it: each offers its own view
    of a registry, and so its own credentials, for as long as it waits.

    Args:
        traffic: what the offered remotes count on.
        slots: one is taken while connected to the registry.
        pause: seconds before a broken connection is made again; doubled each time.

    Attributes:
        available: bytes that may be read from the ingest.
        fetched: bytes that came over the network.
        waiting: True until there is a slot for it.
        generation: how often it was started over; bytes of different ones do not mix.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        *,
        store: BlobStore,
        traffic: SharedTraffic,
        slots: Slots,
        pause: float = 0.1,
    ) -> None:
        self.descriptor = descriptor
        self.traffic = traffic
        self.pending = PendingBlob(f"blob {descriptor.digest}")
        self.available = 0
        self.fetched = 0
        self.waiting = True
        self.generation = 0
        self._store = store
        self._slots = slots
        self._pause = pause
        self._remotes: list[Remote] = []
        self._refusal: OrlopError | None = None
        self._complete = False
        self._failed = False
        self._kept = True
        self._joined = False  # of more than one connection's bytes
        self._news = asyncio.Event()
        self._opened = asyncio.Event()

    @contextmanager
    def offered(self, remote: Remote) -> Iterator[None]:
        """Let it be fetched from ``remote``, too, as long as the ``with`` lasts."""
        self._remotes.append(remote)
        try:
            yield
        finally:
            if remote in self._remotes:
                self._remotes.remove(remote)

    def give_up_bytes(self) -> None:
        """Do not keep what was fetched for another time: the disk is full of it."""
        self._kept = False

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
        ingest = self._store.ingest(ingest_ref(self.descriptor), total=self.descriptor.size)
        self.pending.opened(ingest)
        return ingest

    async def release(self) -> None:
        """Keep the bytes for the next download, unless they have become a blob."""
        ingest = self.pending.ingest
        if ingest is not None:
            keep = self._kept and ingest.offset > 0
            await in_thread(ingest.close if keep else ingest.abort)

    # Following.

    @asynccontextmanager
    async def source(self) -> AsyncIterator[Source]:
        """The bytes as they arrive; those of the blob once it is published.

        Raises:
            Unavailable: the download has failed (its holders see why).
        """
        await self._opened.wait()
        if await self.pending.in_store():
            fd = self._store.open(self.descriptor.digest)
        elif (ingest := self.pending.ingest) is not None and not self._failed:
            fd = os.dup(ingest.fileno())  # the ingest may be published meanwhile
        else:
            raise Unavailable(f"download of {self.descriptor.digest} has failed")
        try:
            yield _Growing(fd, self)
        finally:
            os.close(fd)

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
        digest, size = self.descriptor.digest, self.descriptor.size
        if ingest.offset > size:
            await in_thread(ingest.truncate)
        self.available = ingest.offset
        self._joined = ingest.offset > 0
        self._opened.set()
        while True:
            await self._fetch_rest(ingest)
            try:
                await in_thread(lambda: ingest.verify(digest, size))
            except DataLoss:
                joined = self._joined
                await self._start_over(ingest)
                if not joined:
                    raise
                # Bytes of different times do not fit: one clean try.
            else:
                return

    async def _start_over(self, ingest: Ingest) -> None:
        self.available = 0
        self.generation += 1
        self._joined = False
        self._tell()
        await in_thread(ingest.truncate)

    async def _fetch_rest(self, ingest: Ingest) -> None:
        """Append until the blob is whole, over as many connections as it takes.

        What one of the pulls cannot have, another one may.
        """
        furthest = ingest.offset
        futile = 0
        while ingest.offset < self.descriptor.size:
            remote = self._remote()
            before = ingest.offset
            try:
                async with remote.blob(self.descriptor, offset=before) as stream:
                    self._joined |= before > 0
                    await self._copy(stream, ingest)
                continue
            except RegistryUnavailable as error:
                failure: OrlopError = error
                self._move_back(remote)
            except (RegistryError, AuthFailed, PermissionDenied, NotFound) as error:
                failure = self._refusal = error
                if before and isinstance(error, RegistryProtocol):
                    await self._start_over(ingest)  # it cannot continue where we stopped
                elif not self._without(remote):
                    raise
            futile = 0 if ingest.offset > furthest else futile + 1
            if futile >= _FUTILE_TRIES:
                raise failure
            furthest = max(furthest, ingest.offset)
            await asyncio.sleep(min(self._pause * 2 ** max(futile - 1, 0), _LONGEST_PAUSE))

    def _remote(self) -> Remote:
        if self._remotes:
            return self._remotes[0]
        raise self._refusal or Unavailable(f"nobody waits for blob {self.descriptor.digest}")

    def _move_back(self, remote: Remote) -> None:
        """Ask the others first, the next time."""
        if remote in self._remotes:
            self._remotes.remove(remote)
            self._remotes.append(remote)

    def _without(self, remote: Remote) -> bool:
        """Ask this one no more; False when there is no other."""
        if remote in self._remotes:
            self._remotes.remove(remote)
        return bool(self._remotes)

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
                            await completed(writing)
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


class _Growing:
    """A download's file, as a ``Source``."""

    def __init__(self, fd: int, download: Download) -> None:
        self._fd = fd
        self._download = download

    def fileno(self) -> int:
        """Its descriptor."""
        return self._fd

    def follow(self) -> AsyncIterator[int]:
        """See ``Download.follow``."""
        return self._download.follow()


class StoredBlob:
    """A blob that is in the store, as a ``Source``."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size

    def fileno(self) -> int:
        """Its descriptor, which stays its opener's."""
        return self._fd

    async def follow(self) -> AsyncIterator[int]:
        """All of it, at once."""
        yield self._size
