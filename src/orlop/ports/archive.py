"""Archives of images: read as if each image had a registry of its own, and written.

An archive comes as a descriptor, which stays the caller's: of a file, of a
directory with an OCI layout, or of a pipe or socket that is read to its end. It is
foreign input: its names lead nowhere, and its bytes are checked as a registry's are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from orlop.model.digest import Digest
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.ports.pull import Origin


class ArchivedImage(Protocol):
    """One image of an archive, for one platform or for several."""

    @property
    def names(self) -> tuple[Reference, ...]:
        """What the archive calls it; may be empty."""

    @property
    def origin(self) -> Origin:
        """Where a pull gets it from, as long as the archive is open."""

    async def platforms(self) -> Sequence[Platform]:
        """The platforms whose manifests are in the archive.

        Raises:
            ImageInvalid, LimitExceeded: its documents are bad.
        """


class Archive(Protocol):
    """An archive that is open."""

    async def images(self, base: Reference | None = None) -> Sequence[ArchivedImage]:
        """Its images, in its order.

        Args:
            base: repository of images that the archive calls by a mere tag.

        Raises:
            ImageInvalid, LimitExceeded: its documents are bad.
        """


class Archives(Protocol):
    """Opens archives."""

    def opened(self, source: int) -> AbstractAsyncContextManager[Archive]:
        """The archive behind the descriptor ``source``.

        What has to be kept meanwhile goes into the store's own directory and is removed
        at the end.

        Raises:
            ImageInvalid: it is no archive.
            LimitExceeded: it has too many members, or is compressed beyond reason.
            StoreFull: there is no room to keep it.
        """


class Decompressor(Protocol):
    """One compressed stream."""

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """What ``data`` decompresses to, in bounded pieces.

        Raises:
            ArchiveInvalid: the stream is corrupt.
            LimitExceeded: it wants more memory than allowed.
        """

    def close(self) -> None:
        """Say that the stream has ended. Raises ArchiveInvalid when that is too early."""


class Decompression(Protocol):
    """Tells from the first four bytes of a stream how to read it."""

    def __call__(self, head: bytes) -> Decompressor | None:
        """A new decompressor; None for a stream that is not compressed."""


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file of an archive that is written.

    Attributes:
        name: path in the archive, ASCII.
        size: in bytes.
        content: the bytes, or the blob of the store that has them.
    """

    name: str
    size: int
    content: bytes | Digest


class ArchiveWriter(Protocol):
    """Writes archives."""

    async def write(self, members: Sequence[ArchiveMember], target: int) -> None:
        """Write these members, in this order, to the descriptor ``target``.

        The same members make the same bytes. Blobs are copied as they are.

        Args:
            members: blobs among them must stay in the store meanwhile.
            target: of a file, pipe or socket; stays the caller's.

        Raises:
            NotFound, StoreCorrupt: a blob is not there, or not of its size.
            FailedPrecondition: the target takes no more bytes.
        """
