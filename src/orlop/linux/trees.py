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
    """What was removed: inodes, and bytes of disk of all but directories."""

    inodes: int
    bytes: int


def remove_tree(name: bytes, dirfd: int) -> Removed:
    """Remove the directory ``name`` below ``dirfd`` and everything in it.

    Files with other links outside are counted as if they went away only when
    theirs was the last link.

    Raises:
        OSError: as the kernel says; what was removed until then is gone.
    """
    inodes = size = 0
    # Each level: descriptor, its name in the level above, names still to remove.
    levels: list[tuple[int, bytes, list[bytes]]] = []

    def enter(parent: int, child: bytes) -> None:
        fd = os.open(child, _OPEN, dir_fd=parent)
        levels.append((fd, child, [os.fsencode(n) for n in os.listdir(fd)]))

    enter(dirfd, name)
    try:
        while levels:
            fd, own_name, names = levels[-1]
            if not names:
                os.close(fd)
                levels.pop()
                os.rmdir(own_name, dir_fd=levels[-1][0] if levels else dirfd)
                inodes += 1
                continue
            child = names.pop()
            found = os.stat(child, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                enter(fd, child)
            else:
                os.unlink(child, dir_fd=fd)
                if found.st_nlink == 1:
                    inodes += 1
                    size += found.st_blocks * 512
    finally:
        for fd, _, _ in levels:
            os.close(fd)
    return Removed(inodes, size)
