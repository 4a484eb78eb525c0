"""Copying a directory tree so that nobody can tell the copy from the original.

Kept are types, owners, modes, extended attributes, times in nanoseconds, hard
links among the files of the tree, device numbers and holes. Where the file
system can share blocks, copy_file_range(2) shares them.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from orlop.linux import files
from orlop.snapshots import walk
from orlop.snapshots.attributes import copy_attributes, copy_node_attributes

_READ: Final = os.O_RDONLY | os.O_NOATIME
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_PIECE: Final = 1 << 30  # copy_file_range(2) takes less than 2 GiB at once
_BUFFER: Final = 1 << 20
_CANNOT_SHARE: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
)


def copy_tree(source: str, target: str, *, links: str) -> None:
    """Copy all that is in a directory, and the directory's own attributes.

    Args:
        source: a directory that nobody writes to meanwhile.
        target: an empty directory.
        links: an empty directory on the same file system as ``target``. Each file that
            has several names gets one more here, named by its inode in ``source``; so
            the next name is found whatever the depth. The caller removes it.

    Raises:
        OSError: the file system refused.
    """
    with walk.Cursor(source) as cursor, walk.Cursor(target) as copy, walk.Cursor(links) as known:
        walk.walk(cursor, _Copy(copy, links=known.fd))
        copy_attributes(cursor.fd, copy.fd)


class _Copy(walk.Visitor):
    """Follows a walk through the original with a cursor in the copy."""

    __slots__ = ("_copy", "_links")

    def __init__(self, copy: walk.Cursor, *, links: int) -> None:
        self._copy = copy
        self._links = links

    def directory(self, fd: int) -> list[str]:
        below = []
        for name in os.listdir(fd):
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                below.append(name)
            elif found.st_nlink == 1:
                self._copy_file(fd, name, found)
            elif not self._link(found.st_ino, name):
                self._copy_file(fd, name, found)
                os.link(
                    name,
                    str(found.st_ino),
                    src_dir_fd=self._copy.fd,
                    dst_dir_fd=self._links,
                    follow_symlinks=False,
                )
        return below

    def entering(self, fd: int, name: str) -> None:  # noqa: ARG002 - the visitor's signature
        files.make_directory(self._copy.fd, name)
        self._copy.enter(name)

    def leaving(self, fd: int) -> None:
        copy_attributes(fd, self._copy.fd)
        self._copy.leave()

    def _link(self, inode: int, name: str) -> bool:
        """Link to a file that was copied under another name; False if it was not yet."""
        try:
            os.link(
                str(inode),
                name,
                src_dir_fd=self._links,
                dst_dir_fd=self._copy.fd,
                follow_symlinks=False,
            )
        except FileNotFoundError:
            return False
        return True

    def _copy_file(self, fd: int, name: str, found: os.stat_result) -> None:
        target = self._copy.fd
        if stat.S_ISREG(found.st_mode):
            _copy_regular(fd, target, name, size=found.st_size)
            return
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=fd), name, dir_fd=target)
        else:
            os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
        copy_node_attributes(fd, target, name)


def _copy_regular(source: int, target: int, name: str, *, size: int) -> None:
    original = files.open_file(source, name, flags=_READ)
    try:
        copy = files.open_file(target, name, flags=_CREATE)
        try:
            _copy_contents(original, copy, size)
            copy_attributes(original, copy)
        finally:
            os.close(copy)
    finally:
        os.close(original)


def _copy_contents(original: int, copy: int, size: int) -> None:
    """Copy what is data and leave out what is a hole; see lseek(2)."""
    files.truncate(copy, size)
    end = 0
    while end < size:
        try:
            start = os.lseek(original, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # ENXIO: nothing but a hole is left
                raise
            return
        end = os.lseek(original, start, os.SEEK_HOLE)
        _copy_range(original, copy, start, end)


def _copy_range(original: int, copy: int, start: int, end: int) -> None:
    try:
        while start < end:
            length = min(end - start, _PIECE)
            copied = os.copy_file_range(original, copy, length, start, start)
            if not copied:
                return
            start += copied
    except OSError as error:
        if error.errno not in _CANNOT_SHARE:
            raise
        _copy_bytes(original, copy, start, end)


def _copy_bytes(original: int, copy: int, start: int, end: int) -> None:
    while start < end:
        data = os.pread(original, min(end - start, _BUFFER), start)
        if not data:
            return
        start += files.write_at(copy, data, offset=start)
