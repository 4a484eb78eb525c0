"""Reading files as the disk has them, not as the page cache remembers them.

Whoever looks for bits that have gone bad must not be shown the good ones that are
still in memory, and must not drive out of memory what containers use. Where the file
system cannot read past the cache, the cache is what there is.

Source: open(2) on O_DIRECT; lseek(2) on SEEK_DATA.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUFFER_BYTES: Final = 1 << 20
_ALIGNED: Final = 4096  # at least what any disk of today asks for
_BLOCK: Final = 512  # unit of st_blocks; see inode(7)


class DiskReader:
    """Reads one file after the other; for one thread. It holds memory and nothing else."""

    __slots__ = ("_buffer", "_view")

    def __init__(self) -> None:
        self._buffer = mmap.mmap(-1, _BUFFER_BYTES)  # begins on a page, as O_DIRECT wants it
        self._view = memoryview(self._buffer)

    def chunks(self, fd: int) -> Iterator[tuple[int, memoryview]]:
        """All data of an open file with its offsets; what is between them is a hole.

        A chunk is valid until the next one is asked for. The descriptor's flags change.

        Raises:
            OSError: EIO where the disk cannot be read.
        """
        found = os.fstat(fd)
        sparse = found.st_blocks * _BLOCK < found.st_size
        direct = _set_direct(fd, wanted=True)
        end = 0
        offset = 0
        while offset < found.st_size:
            if sparse and offset >= end:
                try:
                    offset = os.lseek(fd, offset, os.SEEK_DATA)
                except OSError as error:
                    if error.errno != errno.ENXIO:
                        raise
                    return
                end = os.lseek(fd, offset, os.SEEK_HOLE)
            if direct and offset % _ALIGNED:
                direct = _set_direct(fd, wanted=False)
            count = os.preadv(fd, [self._buffer], offset)
            if not count:
                return
            yield offset, self._view[:count]
            offset += count


def _set_direct(fd: int, *, wanted: bool) -> bool:
    """Switch reading past the cache on or off; returns whether it is on."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return wanted
