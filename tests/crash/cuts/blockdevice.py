"""A disk that writes down what it is told: one file of a FUSE file system, for a loop device.

Runs as a process of its own: ``python -m tests.crash.cuts.blockdevice TARGET DISK LOG``
serves the file DISK as ``TARGET/disk``, and appends to LOG (see ``log``) each write and
each flush, in the one order in which its only thread gets them. A flush arrives as fsync,
and a line that a test writes to ``TARGET/marks`` becomes a mark. The process ends when
TARGET is unmounted, or with the one that started it.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import mfusepy

from orlop.linux import mountcalls, procs
from tests.crash.cuts import log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DISK: Final = "/disk"
_MARKS: Final = "/marks"
_PATIENCE: Final = 10.0


class Recorder:
    """The operations of the file system, which has a disk and a file for marks."""

    use_ns = True

    def __init__(self, disk: int, record: int) -> None:
        self._disk = disk
        self._record = record

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        size = {_DISK: os.fstat(self._disk).st_size, _MARKS: 0}.get(path)
        if size is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}

    def open(self, path: str, flags: int) -> int:
        return 0

    def release(self, path: str, fh: int) -> int:
        return 0

    def flush(self, path: str, fh: int) -> int:
        """Of a descriptor that is closed: nothing for the disk."""
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(self._disk, size, offset) if path == _DISK else b""

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if path == _MARKS:
            self._append(log.record("mark", data=data.strip()))
            return len(data)
        self._append(log.record("write", offset=offset, data=data))
        return os.pwrite(self._disk, data, offset)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._append(log.record("flush"))
        return 0

    def fallocate(self, path: str, mode: int, offset: int, size: int, fh: int) -> int:
        """Zeros: a hole is punched, or a range is zeroed."""
        self._append(log.record("zero", offset=offset, length=size))
        os.pwrite(self._disk, bytes(size), offset)
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        return 0

    def _append(self, record: bytes) -> None:
        rest = memoryview(record)
        while rest:
            rest = rest[os.write(self._record, rest) :]


@contextmanager
def recorded(disk: Path, record: Path, target: Path) -> Iterator[Path]:
    """Serve ``disk`` through a recorder; yields the file for a loop device.

    Everything that uses it must have ended when the block does.
    """
    command = (sys.executable, "-m", __spec__.name, str(target), str(disk), str(record))
    parent = str(os.getpid())
    process = subprocess.Popen([*command, parent], stdin=subprocess.DEVNULL)
    try:
        file = target / "disk"
        deadline = time.monotonic() + _PATIENCE
        while not file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the recording disk did not start")
            time.sleep(0.01)
        yield file
        mountcalls.unmount(str(target))
        process.wait(_PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def main() -> None:
    """See the module."""
    target, disk, record, parent = sys.argv[1:]
    procs.die_with_parent(int(parent))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    operations = Recorder(os.open(disk, os.O_RDWR), os.open(record, flags, 0o600))
    # One thread, so that there is one order; in the foreground, so that it can be waited for.
    mfusepy.FUSE(operations, target, foreground=True, nothreads=True)


if __name__ == "__main__":
    main()
