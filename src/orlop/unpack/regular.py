"""A regular file that is being written, with holes where its sparse map has them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from orlop.linux.files import sync_file_range
from orlop.model.checksum import Checksum
from orlop.model.treemanifest import Kind
from orlop.unpack import attributes

if TYPE_CHECKING:
    from orlop.model.tar import Entry
    from orlop.unpack.journal import Journal

CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags that make a new file and never open what is there."""

_EARLY_BYTES: Final = 1 << 20  # smaller files cost more to ask for than they gain


class RegularFile:
    """A new, empty file and the entry that describes it.

    Owns the descriptor until ``finish`` or ``close``.

    Args:
        fd: of the file, opened with ``CREATE`` and the entry's mode.
        path: of the file, in the tree.
        entry: its member of the archive.
        fresh: see ``attributes.apply``.
    """

    __slots__ = ("_checksum", "_entry", "_fd", "_fresh", "_path", "_regions", "_summed")

    def __init__(self, fd: int, path: bytes, entry: Entry, *, fresh: bool) -> None:
        self._fd = fd
        self._path = path
        self._entry = entry
        self._fresh = fresh
        self._checksum = Checksum()
        self._summed = 0  # bytes of the file that the checksum covers
        self._regions: list[tuple[int, int]] = []  # still to be filled, the next one last
        if entry.sparse is not None:
            self._regions = [region for region in reversed(entry.sparse) if region[1]]

    def write(self, piece: memoryview) -> None:
        """Append data, to the next region if there are any. Raises OSError."""
        if self._regions:
            self._write_regions(piece)
        else:
            self._checksum.update(piece)
            _write_all(self._fd, piece)

    def finish(self, dropped: dict[str, int], journal: Journal) -> int:
        """Set length, attributes and time, record the file, and close it.

        Returns:
            Bytes of the disk that its extended attributes take; 0 if the inode holds them.

        Raises:
            ArchiveInvalid, LimitExceeded, OSError: see ``attributes.apply``.
        """
        fd, entry = self._fd, self._entry
        try:
            if entry.sparse is not None:
                os.ftruncate(fd, entry.real_size)
                self._checksum.skip(entry.real_size - self._summed)
            attribute_bytes = self._apply_attributes(dropped)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
            if entry.size >= _EARLY_BYTES:
                # The barrier that publishes the image is then short.
                sync_file_range(fd, offset=0, length=0)
            journal.entry(
                Kind.FILE,
                self._path,
                entry,
                size=entry.real_size,
                checksum=self._checksum.value,
                xattrs=attributes.present(fd) if entry.xattrs else None,
            )
            return attribute_bytes
        finally:
            self.close()

    def close(self) -> None:
        """Close the file as it is; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _apply_attributes(self, dropped: dict[str, int]) -> int:
        """Returns what they take of the disk, as the kernel counts it before and after."""
        fd, entry = self._fd, self._entry
        if self._fresh and not attributes.needed(entry):
            return 0
        before = os.fstat(fd).st_blocks if entry.xattrs else 0
        attributes.apply(fd, entry, dropped, fresh=self._fresh)
        return max(os.fstat(fd).st_blocks - before, 0) * 512 if entry.xattrs else 0

    def _write_regions(self, piece: memoryview) -> None:
        while len(piece):
            offset, length = self._regions.pop()
            part = piece[:length]
            os.lseek(self._fd, offset, os.SEEK_SET)
            self._checksum.skip(offset - self._summed)
            self._checksum.update(part)
            self._summed = offset + len(part)
            _write_all(self._fd, part)
            if len(part) < length:
                self._regions.append((offset + len(part), length - len(part)))
            piece = piece[len(part) :]


def stored_bytes(entry: Entry, block: int) -> int:
    """What the file's data takes of a disk with blocks of ``block`` bytes."""
    if entry.sparse is None:
        return -(-entry.size // block) * block
    blocks = end = 0
    for offset, length in entry.sparse:
        if length:
            first = max(offset // block, end)
            end = -(-(offset + length) // block)
            blocks += end - first
    return blocks * block


def _write_all(fd: int, data: memoryview) -> None:
    while True:
        written = os.write(fd, data)
        if written == len(data):
            return
        data = data[written:]
