"""The worker's side of a tree's manifest: a record for each thing that it does.

Written to a descriptor as it goes, so that a layer of a million files costs no memory.
The format is ``orlop.model.treemanifest``'s; whoever made the file seals it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orlop.model import treemanifest
from orlop.model.treemanifest import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.model.tar import Entry


class Journal:
    """Records of one layer; ``finish`` once at the end.

    Args:
        fd: a new file, open for writing; the caller's. -1 keeps no records.
    """

    __slots__ = ("_fd", "_records")

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd
        self._records = bytearray()
        if fd >= 0:
            os.write(fd, treemanifest.MAGIC)

    def entry(
        self,
        kind: Kind,
        path: bytes,
        entry: Entry,
        *,
        size: int = 0,
        checksum: int = 0,
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Something was made as ``entry`` says; of its attributes ``xattrs`` are there."""
        if self._fd < 0:
            return
        self._append(
            treemanifest.described(
                kind,
                path,
                (entry.uid, entry.gid),
                0o777 if kind is Kind.SYMLINK else entry.mode,
                entry.mtime,
                size=size,
                checksum=checksum,
                target=entry.link if kind is Kind.SYMLINK else b"",
                xattrs=xattrs,
            )
        )

    def mark(self, kind: Kind, path: bytes) -> None:
        """There is a whiteout or an implied directory, or nothing any more."""
        if self._fd >= 0:
            self._append(treemanifest.mark(kind, path))

    def link(self, path: bytes, target: bytes) -> None:
        """What is at ``target`` got one name more."""
        if self._fd >= 0:
            self._append(treemanifest.link(path, target))

    def finish(self) -> None:
        """Write what is left. Raises OSError."""
        if self._records:
            self._flush()

    def _append(self, record: bytes) -> None:
        self._records += record
        if len(self._records) >= treemanifest.BLOCK_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = memoryview(treemanifest.block(self._records))
        self._records.clear()
        while data:
            data = data[os.write(self._fd, data) :]
