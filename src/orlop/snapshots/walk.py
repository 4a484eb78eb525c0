"""Walks through directory trees by descriptor: measuring and removing.

A walk follows no link, leaves its tree by no ``..`` that it did not come by,
and stays on one mount. Depth costs memory, not descriptors or stack: one
directory is open at a time.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from orlop.linux import files
from orlop.ports.metadata import Usage

if TYPE_CHECKING:
    from types import TracebackType

_BELOW: Final = files.RESOLVE_BENEATH | files.RESOLVE_NO_SYMLINKS | files.RESOLVE_NO_XDEV
_BLOCK: Final = 512  # unit of st_blocks; see inode(7)


class Cursor:
    """An open directory that moves through a tree; closed by ``with``.

    Attributes:
        fd: descriptor of the directory where it stands; changes with every move.
    """

    __slots__ = ("_above", "fd")

    def __init__(self, path: str, *, dir_fd: int | None = None) -> None:
        self.fd = os.open(path, files.DIRECTORY, dir_fd=dir_fd)
        self._above: list[tuple[int, int]] = []

    def enter(self, name: str) -> None:
        """Go into a subdirectory.

        Raises:
            OSError: EXDEV when something is mounted there; ENOTDIR, ELOOP, ENOENT.
        """
        below = files.openat2(self.fd, os.fsencode(name), files.DIRECTORY, resolve=_BELOW)
        try:
            self._above.append(_identity(self.fd))
        except BaseException:
            os.close(below)
            raise
        os.close(self.fd)
        self.fd = below

    def leave(self) -> None:
        """Go back to the directory it came from.

        Raises:
            OSError: EXDEV when somebody moved the directory to another place.
        """
        above = os.open("..", files.DIRECTORY, dir_fd=self.fd)
        if _identity(above) != self._above.pop():
            os.close(above)
            raise OSError(errno.EXDEV, "directory was moved away during a walk")
        os.close(self.fd)
        self.fd = above

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.fd)


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


class Visitor:
    """What to do on a walk; by itself it does nothing."""

    __slots__ = ()

    def directory(self, fd: int) -> list[str]:
        """Deal with one directory's entries; returns the subdirectories to visit."""
        return [name for name in os.listdir(fd) if _is_directory(fd, name)]

    def entering(self, fd: int, name: str) -> None:
        """About to go into ``name`` below ``fd``."""

    def leaving(self, fd: int) -> None:
        """All below the subdirectory ``fd`` has been visited."""

    def left(self, fd: int, name: str) -> None:
        """Back in ``fd``, having visited ``name``."""


def _is_directory(fd: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)


def walk(cursor: Cursor, visitor: Visitor) -> None:
    """Visit the directory where ``cursor`` stands and all below it, depth first.

    Raises:
        OSError: whatever the visitor's or the walk's own calls raise.
    """
    pending = [visitor.directory(cursor.fd)]
    while pending[-1] or len(pending) > 1:
        if pending[-1]:
            name = pending[-1][-1]
            visitor.entering(cursor.fd, name)
            cursor.enter(name)
            pending.append(visitor.directory(cursor.fd))
        else:
            pending.pop()
            visitor.leaving(cursor.fd)
            cursor.leave()
            visitor.left(cursor.fd, pending[-1].pop())


# --- measuring ----------------------------------------------------------------------------


def measure(path: str) -> Usage:
    """Disk bytes and inodes of a tree, its root included, hard links once.

    Files that disappear meanwhile are not counted.

    Raises:
        OSError: a directory cannot be read.
    """
    count = _Count()
    with Cursor(path) as cursor:
        count.add(os.fstat(cursor.fd))
        walk(cursor, count)
    return Usage(bytes=count.bytes, inodes=count.inodes)


class _Count(Visitor):
    __slots__ = ("_linked", "bytes", "inodes")

    def __init__(self) -> None:
        self.bytes = 0
        self.inodes = 0
        self._linked: set[int] = set()

    def add(self, found: os.stat_result) -> None:
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            if found.st_ino in self._linked:
                return
            self._linked.add(found.st_ino)
        self.bytes += found.st_blocks * _BLOCK
        self.inodes += 1

    def directory(self, fd: int) -> list[str]:
        below = []
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                self.add(found)
                if stat.S_ISDIR(found.st_mode):
                    below.append(entry.name)
        return below


# --- removing -----------------------------------------------------------------------------


def remove_tree(dirfd: int, name: str) -> bool:
    """Remove a file, or a directory with everything in it.

    Directories without permissions are given them if that is what stands in the way.
    What is mounted somewhere in the tree is not touched.

    Returns:
        False when there was nothing.

    Raises:
        OSError: EXDEV or EBUSY at a mount point; or as the kernel says. What was removed
            until then is gone.
    """
    try:
        if not _is_directory(dirfd, name):
            files.remove_file(dirfd, name)
            return True
        _make_enterable(dirfd, name)
        with Cursor(name, dir_fd=dirfd) as cursor:
            walk(cursor, _Remove())
        files.remove_directory(dirfd, name)
    except FileNotFoundError:
        return False
    return True


def remove_part(dirfd: int, name: str, inodes: int) -> int:
    """Remove a tree as ``remove_tree`` does, but stop when so many inodes are gone.

    Returns:
        How many were removed; fewer than ``inodes`` when nothing is left.

    Raises:
        OSError: as ``remove_tree``.
    """
    remove = _RemovePart(inodes)
    with suppress(FileNotFoundError, _Enough):
        if _is_directory(dirfd, name):
            _make_enterable(dirfd, name)
            with Cursor(name, dir_fd=dirfd) as cursor:
                walk(cursor, remove)
            files.remove_directory(dirfd, name)
        else:
            files.remove_file(dirfd, name)
        remove.removed += 1
    return remove.removed


class _Remove(Visitor):
    __slots__ = ()

    def directory(self, fd: int) -> list[str]:
        below = []
        # Entries are removed while they are read: a directory may be larger than memory.
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.name)
                else:
                    self.remove(fd, entry.name)
        return below

    def remove(self, fd: int, name: str) -> None:
        """Remove what is no directory."""
        files.remove_file(fd, name)

    def entering(self, fd: int, name: str) -> None:
        _make_enterable(fd, name)

    def left(self, fd: int, name: str) -> None:
        files.remove_directory(fd, name)


class _Enough(Exception):
    """As much was removed as was wanted."""


class _RemovePart(_Remove):
    __slots__ = ("_inodes", "removed")

    def __init__(self, inodes: int) -> None:
        self._inodes = inodes
        self.removed = 0

    def remove(self, fd: int, name: str) -> None:
        super().remove(fd, name)
        self._count()

    def left(self, fd: int, name: str) -> None:
        super().left(fd, name)
        self._count()

    def _count(self) -> None:
        self.removed += 1
        if self.removed >= self._inodes:
            raise _Enough


def _make_enterable(dirfd: int, name: str) -> None:
    """Give a directory the permissions that its removal needs, if we lack them."""
    if not os.access(
        name, os.R_OK | os.W_OK | os.X_OK, dir_fd=dirfd, effective_ids=True, follow_symlinks=False
    ):
        os.chmod(name, 0o700, dir_fd=dirfd)
