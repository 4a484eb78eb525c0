"""Content: immutable blobs named by their digest, and the ingests that become blobs.

Life of a blob. A caller opens an *ingest* under a reference of its choice
(the pull uses ``layer-<digest>`` and the like). An ingest is a growing file;
it survives errors, cancellation and restarts, and opening it again continues
where it stopped. ``Ingest.verify`` compares size and digest with what was
written; only a verified ingest can be published. ``BlobStore.publish`` is the
one way in: it makes the bytes durable, gives them their final names and makes
the names durable. From then on the blob never changes until it is deleted.

The store knows files. Which namespace may see a blob, and its labels, are
kept by the metadata room.

All methods block on the disk: call them from a thread. An ingest belongs to
one caller at a time, the store itself may be used from many threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from orlop.model.digest import Digest


@dataclass(frozen=True, slots=True)
class BlobStat:
    """What the file system knows about a blob.

    ``disk_bytes`` is what the blob occupies (blocks), ``size`` its length.
    """

    digest: Digest
    size: int
    disk_bytes: int
    created_at: int


@dataclass(frozen=True, slots=True)
class IngestStatus:
    """A partial blob that waits for its next bytes."""

    ref: str
    offset: int
    total: int
    started_at: int
    updated_at: int


@runtime_checkable
class Ingest(Protocol):
    """A blob that is being written; ``with`` closes the file and keeps the bytes."""

    @property
    def ref(self) -> str:
        """The reference it was opened under."""

    @property
    def offset(self) -> int:
        """How many bytes are in it; the next write goes there."""

    def fileno(self) -> int:
        """A descriptor open for reading and writing; followers duplicate it."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hash and append ``data`` (all of it).

        Raises:
            StoreFull: no space left; what fitted stays.
            StoreIO: the disk failed.
        """

    def truncate(self) -> None:
        """Forget everything written so far; ``offset`` becomes 0."""

    def verify(self, digest: Digest, size: int) -> None:
        """Check what was written against its name; afterwards it may be published.

        Raises:
            SizeMismatch: more or fewer bytes than ``size``.
            DigestMismatch: other bytes; the caller decides whether to truncate.
        """

    def abort(self) -> None:
        """Close it and delete what was written."""

    def close(self) -> None:
        """Close the file and keep the bytes for the next opening."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Provider(Protocol):
    """Reads blobs."""

    def stat(self, digest: Digest) -> BlobStat | None:
        """What is stored under ``digest``; None if nothing is."""

    def open(self, digest: Digest) -> int:
        """A read-only descriptor of the blob, owned by the caller.

        Raises:
            NotFound: no such blob.
        """

    def read(self, digest: Digest, limit: int) -> bytes:
        """The whole blob, hashed again on the way (for documents).

        Raises:
            NotFound: no such blob.
            LimitExceeded: it is longer than ``limit`` bytes.
            StoreCorrupt: the bytes are not what the name says.
        """

    def verify(self, digest: Digest, spend: Callable[[int], None] | None = None) -> None:
        """Hash the blob as the disk has it; raises as ``read`` does, without the limit.

        ``spend`` is told of bytes as they are read, and may block.
        """


class Ingester(Protocol):
    """Writes blobs."""

    def ingest(self, ref: str, *, total: int = 0) -> Ingest:
        """Open, or continue, the ingest ``ref``.

        Bytes that are already there are hashed again.

        Args:
            ref: any text of at most 1024 characters.
            total: expected length, 0 if unknown; kept for display only.

        Raises:
            Unavailable: somebody else has it open now.
        """

    def publish(self, ingests: Sequence[Ingest], *, synced: bool = False) -> None:
        """Turn verified ingests into blobs; durable when this returns.

        A blob that exists already stays; its ingest is dropped.

        Args:
            ingests: verified by ``Ingest.verify``; closed afterwards.
            synced: True when a ``syncfs`` has already covered their data.

        Raises:
            FailedPrecondition: one of them is not verified.
            StoreIO: the disk failed: nothing may be written until a restart.
        """

    def status(self) -> list[IngestStatus]:
        """All ingests, open or not."""

    def abort(self, ref: str) -> None:
        """Delete a closed ingest.

        Raises:
            NotFound: there is none of that name.
            Unavailable: it is open.
        """


class Manager(Protocol):
    """Lists and deletes blobs."""

    def walk(self) -> Iterator[BlobStat]:
        """Every blob, in no order."""

    def digests(self) -> set[str]:
        """The digest of every blob, as text; looks at no blob, and so is quick."""

    def delete(self, digest: Digest) -> None:
        """Remove the file. The caller has removed what refers to it.

        Raises:
            NotFound: no such blob.
        """


class BlobStore(Provider, Ingester, Manager, Protocol):
    """All of it."""
