"""Unpack: a layer's bytes become files, in a process of its own.

The caller owns every descriptor it passes; the unpacker duplicates what it
needs. The worker ends before ``unpack`` returns or raises, also on
cancellation; what it left in the target is the caller's to discard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orlop.model.digest import Digest
    from orlop.model.mediatype import Compression
    from orlop.ports.snapshots import ApplyMode


class Source(Protocol):
    """A blob that may still be growing."""

    def fileno(self) -> int:
        """A descriptor of its file, readable with pread(2)."""

    def follow(self) -> AsyncIterator[int]:
        """How many bytes may be read, each time that grows; ends at the blob's end.

        Raises:
            OrlopError: the bytes will never be complete; the worker is stopped.
        """


@dataclass(frozen=True, slots=True)
class UnpackJob:
    """One layer.

    Attributes:
        source: the compressed bytes.
        target: directory descriptor of the tree to fill.
        compression: what the media type says; the bytes must agree.
        mode: see ``orlop.ports.snapshots.ApplyMode``.
        diff_id: what the uncompressed bytes must hash to.
        size: length of the blob, in bytes.
        manifest: descriptor of a new file that takes the records of
            ``orlop.model.treemanifest``; -1 for none.
    """

    source: Source
    target: int
    compression: Compression
    mode: ApplyMode
    diff_id: Digest
    size: int
    manifest: int = -1


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What a worker made.

    Attributes:
        needs_parent: True when the layer cannot be applied without the layers
            below it (a hard link into them, a path through one of their links);
            nothing else is valid then, and the target must be discarded.
        uncompressed: length of the tar stream in bytes.
        entries: how many tar entries were applied.
        disk_bytes: what the tree occupies, its root included (hard links once).
        inodes: how many inodes it has, its root included.
        implied: directories made only because something below was named.
        opaque: directories that hide all of the lower layers.
        dropped: how many attributes were left out on purpose, by kind.
    """

    needs_parent: bool = False
    uncompressed: int = 0
    entries: int = 0
    disk_bytes: int = 0
    inodes: int = 0
    implied: tuple[bytes, ...] = ()
    opaque: tuple[bytes, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)


class UnpackProgress(Protocol):
    """Told how far a worker is."""

    def unpacked(self, consumed: int) -> None:
        """``consumed`` bytes of the compressed blob have become files."""


class Unpacker(Protocol):
    """Starts workers."""

    async def unpack(self, job: UnpackJob, progress: UnpackProgress | None = None) -> Unpacked:
        """Apply one layer and check its diffID.

        Raises:
            ArchiveInvalid, ArchiveEscape, LimitExceeded: the layer is bad.
            DigestMismatch: the uncompressed bytes are not ``diff_id``.
            ManifestInvalid: the compression is not what the media type says.
            StoreFull, StoreIO: the disk.
            Internal: the worker died.
        """

    async def close(self) -> None:
        """Stop all workers and the process that makes them."""
