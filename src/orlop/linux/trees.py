"""Directory trees: removing them by descriptor, without following anything.

Iterative, so that depth costs memory and not the stack; each step names one
component below an open directory, so that no path is ever too long.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed.

    Attributes:
        inodes: how many; a file that has another name elsewhere is not counted.
        disk: bytes that they took, directories left out.
        paths: of everything, from the name that was given on.
    """

    inodes: int
    disk: int
    paths: tuple[bytes, ...]


@dataclass(slots=True)
class _Level:
    """A directory that is being emptied."""

    fd: int
    name: bytes
    path: bytes
    names: list[bytes]


def remove_tree(name: bytes, dirfd: int, *, block: int) -> Removed:
    """Remove the directory ``name`` below ``dirfd`` and everything in it.

    Args:
        name: one name, not a path.
        dirfd: descriptor of the directory that has it; the caller's.
        block: size of the file system's blocks in bytes, see ``disk_bytes``.

    Raises:
        OSError: as the kernel says; what was removed until then is gone.
    """
    inodes = size = 0
    paths = [name]
    levels = [_enter(dirfd, name, name)]
    try:
        while levels:
            level = levels[-1]
            if not level.names:
                os.close(level.fd)
                levels.pop()
                os.rmdir(level.name, dir_fd=levels[-1].fd if levels else dirfd)
                inodes += 1
                continue
            child = level.names.pop()
            path = level.path + b"/" + child
            paths.append(path)
            found = os.stat(child, dir_fd=level.fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                levels.append(_enter(level.fd, child, path))
            else:
                os.unlink(child, dir_fd=level.fd)
                if found.st_nlink == 1:
                    inodes += 1
                    size += disk_bytes(found, block)
    finally:
        for level in levels:
            os.close(level.fd)
    return Removed(inodes, size, tuple(paths))


def disk_bytes(found: os.stat_result, block: int) -> int:
    """What a file or link that is no directory takes of the disk, in bytes.

    Its length in blocks, or less when it has holes. The kernel's own number alone
    would not do: it has the file system's bookkeeping in it, and room reserved ahead.
    """
    return min(found.st_blocks * 512, -(-found.st_size // block) * block)


def _enter(parent: int, name: bytes, path: bytes) -> _Level:
    fd = os.open(name, _OPEN, dir_fd=parent)
    try:
        return _Level(fd, name, path, [os.fsencode(child) for child in os.listdir(fd)])
    except BaseException:
        os.close(fd)
        raise
