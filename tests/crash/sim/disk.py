"""A file system in memory that remembers in which order it was changed.

All that a file system holds is *cells*: a name in a directory, the names of a directory, a
file's length, one of its blocks, an inode's attributes. A ``Disk`` begins with the cells
that somebody else has (a new file system, or what a power cut has left), keeps its changes
to itself, and writes down each change and each barrier. It also remembers which of the
given cells it was asked for: whoever changes none of them changes nothing for the one who
asked.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

Cell: TypeAlias = tuple[str, int, "str | int"]
"""Kind, inode and what of it: ``("entry", directory, name)``, ``("names", directory, 0)``,
``("size", file, 0)``, ``("block", file, index)``, ``("attributes", inode, 0)``."""

Value: TypeAlias = "int | bytes | Attributes | frozenset[str] | None"

Sort: TypeAlias = Literal["entries", "size", "data", "attributes"]

BLOCK: Final = 4096
ZEROS: Final = bytes(BLOCK)
ROOT: Final = 1
NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an inode is besides its contents; ``mode`` has the type in it."""

    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()

    @property
    def is_directory(self) -> bool:
        """True for a directory."""
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that reaches the disk as a whole or not at all.

    Attributes:
        call: number of the call that made it, from 1.
        sort: a rename is one change of two names.
        inodes: that it belongs to; a barrier on one of them may cover it.
        cells: with their new values; of entries, the names of their directories follow.
    """

    call: int
    sort: Sort
    inodes: tuple[int, ...]
    cells: tuple[tuple[Cell, Value], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A call that changed something, or a barrier.

    Attributes:
        name: for people.
        changes: that are not durable yet.
        barrier: the inode that becomes durable; 0 is all of the file system, -1 is none.
    """

    name: str
    changes: tuple[Change, ...] = ()
    barrier: int = -1


def new() -> dict[Cell, Value]:
    """The cells of a new file system: an empty directory that is the caller's alone."""
    return {("attributes", ROOT, 0): Attributes(stat.S_IFDIR | 0o700, os.geteuid(), os.getegid())}


class Disk:
    """See the module; not for two threads.

    Args:
        given: the cells that it begins with.
        first: number of the first new inode; above all that are given.

    Attributes:
        calls: what was done, in order.
        asked: the given cells that were asked for, with their values, in order.
    """

    def __init__(self, given: Mapping[Cell, Value], *, first: int = 2) -> None:
        self._given = given
        self._first = self._next = first
        self._own: dict[Cell, Value] = {}
        self._moved: dict[int, dict[str, int]] = {}
        self.calls: list[Call] = []
        self.asked: dict[Cell, Value] = {}

    # --- reading --------------------------------------------------------------------------

    def lookup(self, directory: int, name: str) -> int:
        """The inode of a name; 0 when there is none."""
        return cast("int", self._read(("entry", directory, name))) or 0

    def names(self, directory: int) -> list[str]:
        """All names in a directory, sorted."""
        names = set(cast("frozenset[str]", self._read(("names", directory, 0))) or NONE)
        for name, inode in self._moved.get(directory, {}).items():
            (names.add if inode else names.discard)(name)
        return sorted(names)

    def attributes(self, inode: int) -> Attributes:
        """See ``Attributes``."""
        return cast("Attributes", self._read(("attributes", inode, 0)))

    def size(self, inode: int) -> int:
        """Length of a file, in bytes."""
        return cast("int", self._read(("size", inode, 0))) or 0

    def read(self, inode: int, offset: int, count: int) -> bytes:
        """Bytes of a file; fewer at its end."""
        end = min(offset + count, self.size(inode))
        index, start = divmod(offset, BLOCK)
        if start + end - offset <= BLOCK:
            return self._block(inode, index)[start : max(start, start + end - offset)]
        pieces = []
        while offset < end:
            index, start = divmod(offset, BLOCK)
            length = min(BLOCK - start, end - offset)
            block = self._block(inode, index)
            pieces.append(block if length == BLOCK else block[start : start + length])
            offset += length
        return b"".join(pieces)

    # --- changing -------------------------------------------------------------------------

    def make(self, directory: int, name: str, mode: int) -> int:
        """A new file or directory (``mode`` says which); returns its inode."""
        inode, self._next = self._next, self._next + 1
        attributes = Attributes(mode, os.geteuid(), os.getegid())
        self._own["attributes", inode, 0] = attributes
        # The inode is there as soon as its name is.
        change = self._entries((directory, name, inode))
        cells = ((("attributes", inode, 0), attributes), *change.cells)
        self._did("make", Change(change.call, "entries", (directory, inode), cells))
        return inode

    def remove(self, directory: int, name: str) -> None:
        """Take a name away. Raises OSError ENOTEMPTY."""
        inode = self.lookup(directory, name)
        self._require_empty(inode)
        change = self._entries((directory, name, 0))
        self._did("remove", Change(change.call, "entries", (directory, inode), change.cells))

    def rename(self, old: tuple[int, str], new: tuple[int, str]) -> None:
        """Move a name, in one step. Raises OSError ENOTEMPTY."""
        inode = self.lookup(*old)
        replaced = self.lookup(*new)
        if replaced:
            self._require_empty(replaced)
        change = self._entries((*old, 0), (*new, inode))
        self._did("rename", Change(change.call, "entries", (old[0], new[0], inode), change.cells))

    def write(self, inode: int, offset: int, data: bytes) -> None:
        """Change bytes of a file, which grows as it must."""
        size, end, at = self.size(inode), offset + len(data), offset
        cells: list[tuple[Cell, Value]] = []
        while at < end:
            index, start = divmod(at, BLOCK)
            length = min(BLOCK - start, end - at)
            piece = data[at - offset : at - offset + length]
            if length < BLOCK:
                block = self._block(inode, index) if index * BLOCK < size else ZEROS
                piece = block[:start] + piece + block[start + length :]
            cells.append((("block", inode, index), bytes(piece)))
            at += length
        self._data("write", inode, cells, end if end > size else None)

    def truncate(self, inode: int, size: int) -> None:
        """Set the length of a file; what is beyond it is gone."""
        cells: list[tuple[Cell, Value]] = []
        for index in range(size // BLOCK, -(-self.size(inode) // BLOCK)):
            keep = max(0, min(BLOCK, size - index * BLOCK))
            kept = self._block(inode, index)[:keep] if keep else b""
            cells.append((("block", inode, index), kept + ZEROS[keep:]))
        self._data("truncate", inode, cells, size)

    def change(self, inode: int, attributes: Attributes) -> None:
        """Give an inode other attributes."""
        cell: Cell = ("attributes", inode, 0)
        self._own[cell] = attributes
        number = len(self.calls) + 1
        self._did("change", Change(number, "attributes", (inode,), ((cell, attributes),)))

    def sync(self, inode: int = 0) -> None:
        """Make a file, or the names in a directory, durable; 0 is all there is."""
        self.calls.append(Call("sync" if inode else "syncfs", barrier=inode))

    # --- inside ---------------------------------------------------------------------------

    def _read(self, cell: Cell) -> Value:
        if cell in self._own:
            return self._own[cell]
        value = self._given.get(cell)
        if cell[1] < self._first and cell not in self.asked:
            self.asked[cell] = value
        return value

    def _block(self, inode: int, index: int) -> bytes:
        return cast("bytes", self._read(("block", inode, index))) or ZEROS

    def _require_empty(self, inode: int) -> None:
        if self.attributes(inode).is_directory and self.names(inode):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    def _entries(self, *entries: tuple[int, str, int]) -> Change:
        cells: list[tuple[Cell, Value]] = []
        for directory, name, inode in entries:
            self._own["entry", directory, name] = inode
            self._moved.setdefault(directory, {})[name] = inode
            cells.append((("entry", directory, name), inode))
        return Change(len(self.calls) + 1, "entries", (), tuple(cells))

    def _data(
        self, name: str, inode: int, cells: list[tuple[Cell, Value]], size: int | None
    ) -> None:
        number = len(self.calls) + 1
        changes = [Change(number, "data", (inode,), (cell,)) for cell in cells]
        if size is not None:
            grown: tuple[Cell, Value] = (("size", inode, 0), size)
            cells = [*cells, grown]
            changes.append(Change(number, "size", (inode,), (grown,)))
        self._own.update(cells)
        self._did(name, *changes)

    def _did(self, name: str, *changes: Change) -> None:
        self.calls.append(Call(name, changes))
