"""A blob store in memory, with the behaviour of the one on disk.

For tests of rooms that use a store. Durability is the one promise that it does
not keep.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from orlop.errors import (
    DigestMismatch,
    FailedPrecondition,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    SizeMismatch,
    StoreCorrupt,
    Unavailable,
)
from orlop.model.digest import Digest
from orlop.ports.content import BlobStat, IngestStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from orlop.ports.clock import Clock
    from orlop.ports.content import Ingest

_REF_CHARACTERS = 1024
_BLOCK_BYTES = 4096


@dataclass(slots=True)
class _Partial:
    """The bytes of an ingest between openings; the store owns the descriptor."""

    fd: int
    total: int
    started_at: int
    updated_at: int
    open: bool = False


class MemoryIngest:
    """Implements ``orlop.ports.content.Ingest``; made by ``MemoryStore.ingest``."""

    def __init__(self, store: MemoryStore, ref: str, partial: _Partial, clock: Clock) -> None:
        self._store = store
        self._ref = ref
        self._partial = partial
        self._clock = clock
        self._fd = os.dup(partial.fd)
        self._verified: Digest | None = None

    @property
    def ref(self) -> str:
        """The reference it was opened under."""
        return self._ref

    @property
    def offset(self) -> int:
        """How many bytes are in it."""
        return os.fstat(self.fileno()).st_size

    @property
    def verified(self) -> Digest | None:
        """What ``verify`` confirmed, and no byte has changed since."""
        return self._verified

    def fileno(self) -> int:
        """Descriptor of an anonymous file, open for reading and writing."""
        if self._fd < 0:
            raise FailedPrecondition(f"ingest {self._ref} is closed")
        return self._fd

    def content(self) -> bytes:
        """Everything written so far."""
        return os.pread(self.fileno(), self.offset, 0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``."""
        fd = self.fileno()
        self._verified = None
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[os.pwrite(fd, rest, self.offset) :]
        self._partial.updated_at = self._clock.now()

    def truncate(self) -> None:
        """Forget everything written so far."""
        self._verified = None
        os.ftruncate(self.fileno(), 0)

    def verify(self, digest: Digest, size: int) -> None:
        """Compare size and digest; raises as the port says."""
        if self.offset != size:
            raise SizeMismatch(f"{self.offset} bytes instead of {size}: {digest}")
        if Digest.of(self.content(), digest.algorithm) != digest:
            raise DigestMismatch(f"the bytes are not {digest}")
        self._verified = digest

    def abort(self) -> None:
        """Close it and delete what was written."""
        self.fileno()
        self.close()
        self._store.abort(self._ref)

    def close(self) -> None:
        """Close it and keep the bytes; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._partial.open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class MemoryStore:
    """Implements ``orlop.ports.content.BlobStore``; ``close`` it for its descriptors.

    ``blobs`` may be changed by tests: put other bytes under a digest to damage it.
    """

    def __init__(self, clock: Clock) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self._created: dict[Digest, int] = {}
        self._partials: dict[str, _Partial] = {}
        self._clock = clock
        self._mutex = threading.Lock()

    def close(self) -> None:
        """Forget all ingests."""
        while self._partials:
            os.close(self._partials.popitem()[1].fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def stat(self, digest: Digest) -> BlobStat | None:
        """What is stored under ``digest``."""
        data = self.blobs.get(digest)
        if data is None:
            return None
        blocks = -(-len(data) // _BLOCK_BYTES)
        return BlobStat(digest, len(data), blocks * _BLOCK_BYTES, self._created.get(digest, 0))

    def open(self, digest: Digest) -> int:
        """A read-only descriptor of a copy. Raises NotFound."""
        fd = os.memfd_create(digest.short)
        try:
            rest = memoryview(self._content(digest))
            while rest:
                rest = rest[os.write(fd, rest) :]
            return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(fd)

    def read(self, digest: Digest, limit: int) -> bytes:
        """The whole blob, verified; raises as the port says."""
        data = self._content(digest)
        if len(data) > limit:
            raise LimitExceeded(
                f"blob {digest} has {len(data)} bytes; at most {limit} may be read at once",
                limit="manifest_bytes",
            )
        self.verify(digest)
        return data

    def verify(self, digest: Digest, spend: Callable[[int], None] | None = None) -> None:
        """Hash the blob. Raises NotFound, StoreCorrupt."""
        if spend is not None:
            spend(len(self._content(digest)))
        if Digest.of(self._content(digest), digest.algorithm) != digest:
            raise StoreCorrupt(f"the bytes are not what the name says: blob {digest}")

    def walk(self) -> Iterator[BlobStat]:
        """Every blob."""
        for digest in list(self.blobs):
            found = self.stat(digest)
            if found is not None:
                yield found

    def digests(self) -> set[str]:
        """The digest of every blob, as text."""
        return set(map(str, self.blobs))

    def ingest(self, ref: str, *, total: int = 0) -> MemoryIngest:
        """Open, or continue, the ingest ``ref``; raises as the port says."""
        if not 0 < len(ref) <= _REF_CHARACTERS:
            raise InvalidArgument(f"an ingest reference has 1 to {_REF_CHARACTERS} characters")
        with self._mutex:
            partial = self._partials.get(ref)
            if partial is None:
                now = self._clock.now()
                partial = _Partial(os.memfd_create("ingest"), total, now, now)
                self._partials[ref] = partial
            if partial.open:
                raise Unavailable(f"ingest {ref} is open already")
            partial.total = total or partial.total
            partial.open = True
        return MemoryIngest(self, ref, partial, self._clock)

    def publish(self, ingests: Sequence[Ingest], *, synced: bool = False) -> None:
        """Turn verified ingests into blobs. Raises FailedPrecondition."""
        del synced  # nothing here is durable
        verified: list[tuple[MemoryIngest, Digest]] = []
        for ingest in dict.fromkeys(ingests):
            if not isinstance(ingest, MemoryIngest) or ingest.verified is None:
                raise FailedPrecondition(f"ingest {ingest.ref} is not verified")
            verified.append((ingest, ingest.verified))
        for one, digest in verified:
            self.blobs.setdefault(digest, one.content())
            self._created.setdefault(digest, self._clock.now())
            one.abort()

    def status(self) -> list[IngestStatus]:
        """All ingests, by reference."""
        return [
            IngestStatus(ref, os.fstat(one.fd).st_size, one.total, one.started_at, one.updated_at)
            for ref, one in sorted(self._partials.items())
        ]

    def abort(self, ref: str) -> None:
        """Delete a closed ingest. Raises NotFound, Unavailable."""
        with self._mutex:
            partial = self._partials.get(ref)
            if partial is None:
                raise NotFound(f"ingest {ref}: there is none")
            if partial.open:
                raise Unavailable(f"ingest {ref} is open")
            del self._partials[ref]
            os.close(partial.fd)

    def delete(self, digest: Digest) -> None:
        """Remove the blob. Raises NotFound."""
        self._content(digest)
        with suppress(KeyError):
            del self.blobs[digest]
        self._created.pop(digest, None)

    def _content(self, digest: Digest) -> bytes:
        try:
            return self.blobs[digest]
        except KeyError:
            raise NotFound(f"blob {digest}: not in the store") from None
