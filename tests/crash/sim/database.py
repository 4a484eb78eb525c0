"""SQLite on the simulated disk: a VFS that does what SQLite's own does on Linux.

Like that one it syncs the directory when a new log or journal is synced for the first time,
writes as it is told, and believes ``psow=0`` of the name. Locks and the log's index, which
outlive no process, are left to the kernel: each database has an empty file in memory for
them.

Source: os_unix.c of SQLite (unixOpen, unixSync, unixDelete, setDeviceCharacteristics).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import apsw

from tests.crash.sim.disk import BLOCK

if TYPE_CHECKING:
    from tests.crash.sim.calls import Kernel

_KERNELS: Final = "unix"
_BESIDE: Final = (
    apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
)
_LUCK: Final = 7


def _path(name: str | apsw.URIFilename | None) -> str:
    return name.filename() if isinstance(name, apsw.URIFilename) else name or ""


class SimulatedVFS(apsw.VFS):
    """The VFS of a process, which every connection takes from now on."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__("simulated", base=_KERNELS, makedefault=True)
        self._kernel = kernel

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(self._kernel, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        try:
            os.unlink(filename)
        except FileNotFoundError:
            raise apsw.IOError from None
        if syncdir:
            _sync_directory(filename)

    def xAccess(self, pathname: str, flags: int) -> bool:
        del flags
        return os.path.exists(pathname)

    def xFullPathname(self, name: str) -> str:
        return name

    def xRandomness(self, numbytes: int) -> bytes:
        return bytes([_LUCK]) * numbytes


class _File(apsw.VFSFile):
    def __init__(
        self, kernel: Kernel, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        path = _path(name)
        shadow = os.path.join(kernel.memory, os.path.basename(path))
        super().__init__(_KERNELS, shadow, [flags[0] | apsw.SQLITE_OPEN_CREATE, flags[1]])
        self._kernel = kernel
        self._path = path
        create = os.O_CREAT if flags[0] & apsw.SQLITE_OPEN_CREATE else 0
        try:
            self._inode = kernel.inode(os.open(path, os.O_RDWR | create, 0o644))
        except FileNotFoundError:
            raise apsw.CantOpenError from None
        self._new_name = bool(create and flags[0] & _BESIDE)
        self._powersafe = isinstance(name, apsw.URIFilename) and name.uri_boolean("psow", True)

    def xRead(self, amount: int, offset: int) -> bytes:
        return self._kernel.disk.read(self._inode, offset, amount)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._kernel.disk.write(self._inode, offset, data)

    def xTruncate(self, newsize: int) -> None:
        self._kernel.disk.truncate(self._inode, newsize)

    def xFileSize(self) -> int:
        return self._kernel.disk.size(self._inode)

    def xSync(self, flags: int) -> None:
        del flags
        self._kernel.disk.sync(self._inode)
        if self._new_name:
            _sync_directory(self._path)
            self._new_name = False

    def xSectorSize(self) -> int:
        return BLOCK

    def xDeviceCharacteristics(self) -> int:
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE if self._powersafe else 0

    def xFileControl(self, op: int, ptr: int) -> bool:
        # All others are hints, and questions that have no answer here.
        return op == apsw.SQLITE_FCNTL_MMAP_SIZE and super().xFileControl(op, ptr)


def _sync_directory(path: str) -> None:
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
