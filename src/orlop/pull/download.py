"""One blob on its way from a registry into an ingest.

The ingest's file is the only buffer: a thread hashes and appends while the
connection goes on receiving, and workers follow the same file. A broken connection is
taken up again at the offset that was reached; an ingest outlives a failed
download, and the next one continues it. A registry that cannot continue is asked
for the whole blob again, and the bytes that are here are skipped.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
from orlop.pull.append import Appender
from orlop.pull.completion import in_thread
from orlop.pull.patience import Patience
from orlop.pull.pending import PendingBlob
from orlop.pull.ranges import in_parts
from orlop.pull.space import Ledger
from orlop.pull.timeline import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable, Iterator
    from contextlib import AbstractAsyncContextManager

    from orlop.model.descriptor import Descriptor
    from orlop.ports.clock import Clock
    from orlop.ports.content import BlobStore, Ingest
    from orlop.ports.registry import BlobStream, Remote
    from orlop.ports.unpack import Source
    from orlop.pull.rate import TokenBucket
    from orlop.pull.slots import Slots
    from orlop.pull.traffic import SharedTraffic


class Restarted(Unavailable):
    """What was downloaded so far was wrong and is being fetched again from the start."""


@dataclass(frozen=True, slots=True)
class Speed:
    """A limit of bytes per second for all who share it."""

    bucket: TokenBucket
    clock: Clock

    async def rest(self, count: int) -> None:
        """``count`` bytes were read: wait until more may be."""
        if seconds := self.bucket.take(count, self.clock.monotonic()):
            await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Terms:
    """What downloads of all pulls have in common.

    Attributes:
        patience: with one download.
        jitter: random values from 0 to 1.
        now: seconds of a monotonic clock.
        ledger: is told what is still to come.
        speed: bounds all downloads together; None is as fast as possible.
        part_bytes: size of the parts that a blob is fetched in, side by side; 0 is in one piece.
        parallel: how many parts at once.
    """

    patience: Callable[[], Patience] = Patience
    jitter: Callable[[], float] = random.random
    now: Callable[[], float] = time.monotonic
    ledger: Ledger = field(default_factory=Ledger)
    speed: Speed | None = None
    part_bytes: int = 0
    parallel: int = 1


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
        terms: what it has in common with others.
        repository: where its first pull gets it from.
        key: names it in the ledger; None is by its digest.

    Attributes:
        available: bytes that may be read from the ingest.
        fetched: bytes that came over the network.
        waiting: True until there is a slot for it.
        generation: how often it was started over; bytes of different ones do not mix.
        repositories: whose readers may have it; who comes from elsewhere has to show that.
        record: where its time goes.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        *,
        store: BlobStore,
        traffic: SharedTraffic,
        slots: Slots,
        terms: Terms | None = None,
        repository: str = "",
        key: Hashable = None,
    ) -> None:
        self.descriptor = descriptor
        self.traffic = traffic
        self.pending = PendingBlob(f"blob {descriptor.digest}")
        self.available = 0
        self.fetched = 0
        self.waiting = True
        self.generation = 0
        self.repositories = {repository}
        self.record = Recorder()
        self._key = descriptor.digest if key is None else key
        self._store = store
        self._slots = slots
        self._terms = terms or Terms()
        self._remotes: list[Remote] = []
        self._refusals: list[tuple[Remote, OrlopError]] = []
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

    def require(self, remote: Remote) -> None:
        """Make sure that ``remote`` has not refused it, whoever else has given it.

        Raises:
            OrlopError: why it has.
        """
        for refused, error in self._refusals:
            if refused is remote:
                raise error

    def give_up_bytes(self) -> None:
        """Do not keep what was fetched for another time: the disk is full of it."""
        self._kept = False

    # Work.

    async def run(self) -> None:
        """Fetch and verify; the ingest is ready to be published afterwards."""
        self.record.begin("waiting", self._terms.now())
        try:
            async with self._slots.taken():
                self.waiting = False
                self.record.begin("downloading", self._terms.now())
                await self._fetch(await in_thread(self._open))
                self._complete = True
        except BaseException:
            self._failed = True
            raise
        finally:
            self.record.end(self._terms.now())
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
            Unavailable: the download has failed (its holders see why), or this process may
                open no more files.
        """
        await self._opened.wait()
        if await self.pending.in_store():
            fd = self._store.open(self.descriptor.digest)
        elif (ingest := self.pending.ingest) is not None and not self._failed:
            fd = self._duplicate(ingest)  # it may be published meanwhile
        else:
            raise Unavailable(f"download of {self.descriptor.digest} has failed")
        try:
            yield _Growing(fd, self)
        finally:
            os.close(fd)

    def _duplicate(self, ingest: Ingest) -> int:
        try:
            return os.dup(ingest.fileno())
        except OSError as error:
            digest = self.descriptor.digest
            raise Unavailable(f"{error.strerror}: follow the download of {digest}") from error

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
        patience = self._terms.patience()
        furthest = ingest.offset
        denial: OrlopError | None = None  # why it is asked for without a range
        while ingest.offset < self.descriptor.size:
            remote = self._remote()
            offset = 0 if denial else ingest.offset
            in_one = denial is not None or not self._has_parts(offset)
            try:
                async with self._stream(remote, offset, in_one=in_one) as stream:
                    self._joined |= ingest.offset > 0
                    await self._copy(stream, ingest)
                continue
            except RegistryUnavailable as error:
                failure: OrlopError = error
                self._move_back(remote)
            except (RegistryError, AuthFailed, PermissionDenied, NotFound) as error:
                failure = error
                if isinstance(error, RegistryProtocol) and (offset or not in_one):
                    denial = error
                else:
                    self._refused(remote, error)
            moved = ingest.offset > furthest
            pause = patience.pause(moved=moved, jitter=self._terms.jitter())
            if pause is None:
                raise denial or failure
            furthest = max(furthest, ingest.offset)
            self.record.begin("pausing", self._terms.now())
            await asyncio.sleep(pause)
            self.record.begin("downloading", self._terms.now())

    def _has_parts(self, offset: int) -> bool:
        """True when there is enough after ``offset`` to fetch it in parts."""
        terms = self._terms
        return 0 < terms.part_bytes < self.descriptor.size - offset and terms.parallel > 1

    def _stream(
        self, remote: Remote, offset: int, *, in_one: bool
    ) -> AbstractAsyncContextManager[BlobStream]:
        if in_one:
            return remote.blob(self.descriptor, offset=offset)
        part, parallel = self._terms.part_bytes, self._terms.parallel
        return in_parts(remote, self.descriptor, offset=offset, part=part, parallel=parallel)

    def _remote(self) -> Remote:
        if self._remotes:
            return self._remotes[0]
        raise Unavailable(f"nobody waits for blob {self.descriptor.digest}")

    def _move_back(self, remote: Remote) -> None:
        """Ask the others first, the next time."""
        if remote in self._remotes:
            self._remotes.remove(remote)
            self._remotes.append(remote)

    def _refused(self, remote: Remote, error: OrlopError) -> None:
        """Ask this one no more; raises ``error`` when there is no other."""
        self._refusals.append((remote, error))
        if remote in self._remotes:
            self._remotes.remove(remote)
        if not self._remotes:
            raise error

    async def _copy(self, stream: BlobStream, ingest: Ingest) -> None:
        """Hash and write what arrives, batch by batch."""
        skip = ingest.offset - stream.start  # the registry ignored the range
        before, now = self.fetched, self._terms.now

        def written() -> None:
            left = self.descriptor.size - ingest.offset
            self._terms.ledger.set_left(self._key, left)
            self.available = ingest.offset
            self._tell()

        async with Appender(ingest, written) as appender:
            while chunk := await stream.read():
                self.fetched += len(chunk)
                new = chunk[skip:] if skip else chunk
                skip -= len(chunk) - len(new)
                arrived = now()
                self.record.moved(self.fetched - before, arrived, host=self.traffic.host)
                if new:
                    left = stream.end - stream.start - (self.fetched - before)
                    await appender.add(new, more=stream.waiting > 0, left=left)
                    self.record.held(now() - arrived)
                if self._terms.speed is not None:
                    await self._terms.speed.rest(len(chunk))


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
