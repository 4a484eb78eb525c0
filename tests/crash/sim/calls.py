"""The system calls of this process, answered by a ``Disk`` for everything below ``HOME``.

Production code is not changed: the functions of ``os`` and ``fcntl`` that it calls are
replaced, and so are the few that ``orlop.linux.files`` takes from the C library. Other
paths and descriptors go to the kernel as before. Descriptors of a disk are large numbers
that no kernel gives. The process is given up afterwards.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import fcntl
import io
import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from orlop.linux import boot, files
from tests.crash.sim.disk import BLOCK, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.crash.sim.disk import Disk

HOME: Final = "/simulated"
"""Where the disk's root is."""

_FIRST: Final = 1 << 20
_CHANGING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_DEVICE: Final = 4242
_SECTOR: Final = 512
_SHARED: Final = "-shm"


@dataclass(slots=True)
class _Open:
    """An open file description; ``inodes`` leads to it from the root."""

    inodes: tuple[int, ...]
    at: int = 0


def _error(code: int, name: object = None) -> OSError:
    return OSError(code, os.strerror(code), name)


class Kernel:
    """Answers for one disk after the other; made by ``install``.

    Args:
        memory: real directory for what processes share and no power cut leaves.
    """

    def __init__(self, memory: str) -> None:
        self.memory = memory
        self.disk: Disk
        self._open: dict[int, _Open] = {}
        self._next = _FIRST

    def insert(self, disk: Disk) -> None:
        """Work on another disk from now on; whatever was open is gone."""
        self.disk = disk
        self._open.clear()
        self._next = _FIRST

    # --- paths ----------------------------------------------------------------------------

    def has(self, path: object, dir_fd: int | None = None) -> bool:
        """Whether a path or descriptor is on the disk."""
        if isinstance(path, int):
            return path >= _FIRST
        text = os.fsdecode(path)  # type: ignore[arg-type]  # as os does it
        if text.startswith("/"):
            return text.startswith(HOME)
        return dir_fd is not None and dir_fd >= _FIRST

    def shared(self, path: object) -> str:
        """The real path of a file that SQLite maps into memory; "" for any other."""
        if isinstance(path, str) and path.startswith(HOME) and path.endswith(_SHARED):
            return os.path.join(self.memory, os.path.basename(path))
        return ""

    def parent(self, path: object, dir_fd: int | None = None) -> tuple[int, str]:
        """The directory that a path's last name is in, and the name; "" is the directory."""
        above, name = self._walk(path, dir_fd)
        return above[-1], name

    def inode(self, path: object, dir_fd: int | None = None) -> int:
        """The inode of a path or descriptor. Raises OSError ENOENT."""
        if isinstance(path, int):
            return self._description(path).inodes[-1]
        directory, name = self.parent(path, dir_fd)
        return self._child(directory, name, path) if name else directory

    def _walk(self, path: object, dir_fd: int | None) -> tuple[tuple[int, ...], str]:
        """The directories on the way to a path's last name, from the root on, and the name."""
        text = os.fsdecode(path)  # type: ignore[arg-type]
        inodes = [ROOT] if text.startswith("/") else list(self._description(dir_fd).inodes)
        name = ""
        for part in text.removeprefix(HOME).split("/"):
            if part in ("", "."):
                continue
            if name:
                inodes.append(self._child(inodes[-1], name, text))
            name = part
            if part == "..":
                inodes.pop()
                name = ""
        if name and not self.disk.attributes(inodes[-1]).is_directory:
            raise _error(errno.ENOTDIR, path)
        return tuple(inodes), name

    def _child(self, directory: int, name: str, path: object) -> int:
        if not self.disk.attributes(directory).is_directory:  # on the way
            raise _error(errno.ENOTDIR, path)
        found = self.disk.lookup(directory, name)
        if not found:
            raise _error(errno.ENOENT, path)
        return found

    def _description(self, fd: int | None) -> _Open:
        found = self._open.get(fd or 0)
        if found is None:
            raise _error(errno.EBADF)
        return found

    # --- descriptors ----------------------------------------------------------------------

    def open(self, path: object, flags: int, mode: int = 0o777, dir_fd: int | None = None) -> int:
        """See open(2)."""
        above, name = self._walk(path, dir_fd)
        found = self.disk.lookup(above[-1], name) if name else above[-1]
        if found and flags & os.O_CREAT and flags & os.O_EXCL:
            raise _error(errno.EEXIST, path)
        if not found:
            if not flags & os.O_CREAT:
                raise _error(errno.ENOENT, path)
            found = self.disk.make(above[-1], name, stat.S_IFREG | mode & 0o7777)
        directory = self.disk.attributes(found).is_directory
        if flags & os.O_DIRECTORY and not directory:
            raise _error(errno.ENOTDIR, path)
        if directory and flags & _CHANGING:
            raise _error(errno.EISDIR, path)
        if flags & os.O_TRUNC and self.disk.size(found):
            self.disk.truncate(found, 0)
        return self._give(_Open((*above, found) if name else above))

    def rename(self, old: tuple[bytes, int], new: tuple[bytes, int], *, noreplace: bool) -> int:
        """See renameat2(2); each is a path and the directory that it begins at."""
        source, target = self.parent(*old), self.parent(*new)
        moved, replaced = self.disk.lookup(*source), self.disk.lookup(*target)
        if not moved:
            raise _error(errno.ENOENT)
        if replaced and noreplace:
            raise _error(errno.EEXIST)
        if replaced == moved:
            return 0
        if replaced:
            new_tree = self.disk.attributes(moved).is_directory
            if new_tree != self.disk.attributes(replaced).is_directory:
                raise _error(errno.ENOTDIR if new_tree else errno.EISDIR)
        self.disk.rename(source, target)
        return 0

    def dup(self, fd: int) -> int:
        """See dup(2)."""
        return self._give(self._description(fd))

    def close(self, fd: int) -> None:
        """See close(2)."""
        self._open.pop(fd, None)

    def _give(self, description: _Open) -> int:
        fd, self._next = self._next, self._next + 1
        self._open[fd] = description
        return fd

    def read(self, fd: int, count: int) -> bytes:
        """See read(2)."""
        description = self._description(fd)
        data = self.disk.read(description.inodes[-1], description.at, count)
        description.at += len(data)
        return data

    def write(self, fd: int, data: bytes | bytearray | memoryview) -> int:
        """See write(2)."""
        description = self._description(fd)
        self.disk.write(description.inodes[-1], description.at, bytes(data))
        description.at += len(bytes(data))
        return len(bytes(data))

    def stat(self, inode: int) -> os.stat_result:
        """See stat(2)."""
        attributes = self.disk.attributes(inode)
        directory = attributes.is_directory
        size = BLOCK if directory else self.disk.size(inode)
        seconds = attributes.mtime // 1_000_000_000
        fields = (attributes.mode, inode, _DEVICE, 1 + directory, attributes.uid, attributes.gid)
        more = {
            "st_blocks": -(-size // BLOCK) * (BLOCK // _SECTOR),
            "st_blksize": BLOCK,
            "st_rdev": 0,
            "st_mtime_ns": attributes.mtime,
            "st_atime_ns": attributes.mtime,
            "st_ctime_ns": attributes.mtime,
        }
        return os.stat_result((*fields, size, seconds, seconds, seconds), more)


class _Entry:
    """An ``os.DirEntry``."""

    def __init__(self, kernel: Kernel, inode: int, name: str) -> None:
        self._kernel = kernel
        self._inode = inode
        self.name = name

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        del follow_symlinks  # there are no links
        return self._kernel.disk.attributes(self._inode).is_directory

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        del follow_symlinks
        return self._kernel.stat(self._inode)


class _Entries:
    """What ``os.scandir`` gives."""

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._entries = entries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[_Entry]:
        return iter(self._entries)


def install(memory: str) -> Kernel:
    """Replace the calls of this process, for good."""
    kernel = Kernel(memory)
    _replace_opening(kernel)
    _replace_names(kernel)
    _replace_contents(kernel)
    _replace_attributes(kernel)
    _replace_library(kernel)
    return kernel


def _replace(
    kernel: Kernel, name: str, answer: Callable[..., object], *, module: object = os
) -> None:
    """Let ``answer`` serve what is on the disk, by the call's first argument and ``dir_fd``."""
    real = getattr(module, name)

    def either(first: object = ".", *arguments: object, **keywords: object) -> object:
        ours = kernel.has(first, keywords.get("dir_fd"))  # type: ignore[arg-type]
        return (answer if ours else real)(first, *arguments, **keywords)

    setattr(module, name, either)


def _replace_opening(kernel: Kernel) -> None:
    real = os.open

    def opened(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if shared := kernel.shared(path):
            return real(shared, flags, mode)
        return kernel.open(path, flags, mode, dir_fd)

    _replace(kernel, "open", opened)
    _replace(kernel, "close", kernel.close)
    _replace(kernel, "dup", kernel.dup)
    _replace(kernel, "flock", lambda *_: None, module=fcntl)
    _replace(kernel, "fcntl", lambda *_: 0, module=fcntl)
    for module in (boot, files):
        module.open = _stream  # type: ignore[attr-defined]


def _stream(path: str | int, mode: str) -> object:
    """``open`` for whole small files."""
    if isinstance(path, int) and path < _FIRST:
        return builtins.open(path, mode)
    if isinstance(path, str) and not path.startswith(HOME):
        return builtins.open(path, mode)
    fd = path if isinstance(path, int) else os.open(path, os.O_RDONLY)
    if mode == "wb":
        return _Draft(fd)
    with _Draft(fd):
        return io.BytesIO(os.pread(fd, os.fstat(fd).st_size, 0))


class _Draft:
    """A file that is written at once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes) -> None:
        os.write(self._fd, data)

    def flush(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _replace_names(kernel: Kernel) -> None:
    def mkdir(path: object, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        directory, name = kernel.parent(path, dir_fd)
        if not name or kernel.disk.lookup(directory, name):
            raise _error(errno.EEXIST, path)
        kernel.disk.make(directory, name, stat.S_IFDIR | mode & 0o7777)

    def rmdir(path: object, *, dir_fd: int | None = None) -> None:
        if not kernel.disk.attributes(kernel.inode(path, dir_fd)).is_directory:
            raise _error(errno.ENOTDIR, path)
        kernel.disk.remove(*kernel.parent(path, dir_fd))

    def unlink(path: object, *, dir_fd: int | None = None) -> None:
        if kernel.disk.attributes(kernel.inode(path, dir_fd)).is_directory:
            raise _error(errno.EISDIR, path)
        kernel.disk.remove(*kernel.parent(path, dir_fd))

    def listdir(path: object) -> list[str]:
        inode = kernel.inode(path)
        if not kernel.disk.attributes(inode).is_directory:
            raise _error(errno.ENOTDIR, path)
        return kernel.disk.names(inode)

    def scandir(path: object) -> _Entries:
        disk, inode = kernel.disk, kernel.inode(path)
        return _Entries(
            [_Entry(kernel, disk.lookup(inode, name), name) for name in disk.names(inode)]
        )

    def access(path: object, mode: int, *, dir_fd: int | None = None, **_: object) -> bool:
        del mode
        return bool(kernel.inode(path, dir_fd))

    _replace(kernel, "mkdir", mkdir)
    _replace(kernel, "rmdir", rmdir)
    _replace(kernel, "unlink", unlink)
    _replace(kernel, "listdir", listdir)
    _replace(kernel, "scandir", scandir)
    _replace(kernel, "access", access)


def _replace_contents(kernel: Kernel) -> None:
    def pread(fd: int, count: int, offset: int) -> bytes:
        return kernel.disk.read(kernel.inode(fd), offset, count)

    def preadv(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
        (buffer,) = buffers
        data = pread(fd, len(buffer), offset)
        buffer[: len(data)] = data
        return len(data)

    def pwrite(fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        taken = bytes(data)
        kernel.disk.write(kernel.inode(fd), offset, taken)
        return len(taken)

    def sync(fd: int) -> None:
        kernel.disk.sync(kernel.inode(fd))

    _replace(kernel, "pread", pread)
    _replace(kernel, "preadv", preadv)
    _replace(kernel, "pwrite", pwrite)
    _replace(kernel, "read", kernel.read)
    _replace(kernel, "write", kernel.write)
    _replace(kernel, "ftruncate", lambda fd, size: kernel.disk.truncate(kernel.inode(fd), size))
    _replace(kernel, "fsync", sync)
    _replace(kernel, "fdatasync", sync)


def _replace_attributes(kernel: Kernel) -> None:
    def found(path: object, *, dir_fd: int | None = None, **_: object) -> os.stat_result:
        return kernel.stat(kernel.inode(path, dir_fd))

    def chmod(path: object, mode: int, *, dir_fd: int | None = None, **_: object) -> None:
        inode = kernel.inode(path, dir_fd)
        old = kernel.disk.attributes(inode)
        kernel.disk.change(inode, replace(old, mode=stat.S_IFMT(old.mode) | mode))

    def chown(path: object, uid: int, gid: int, **_: object) -> None:
        inode = kernel.inode(path)
        kernel.disk.change(inode, replace(kernel.disk.attributes(inode), uid=uid, gid=gid))

    def utime(path: object, *, ns: tuple[int, int], **_: object) -> None:
        inode = kernel.inode(path)
        kernel.disk.change(inode, replace(kernel.disk.attributes(inode), mtime=ns[1]))

    def listxattr(path: object, **_: object) -> list[str]:
        return [name for name, _ in kernel.disk.attributes(kernel.inode(path)).xattrs]

    _replace(kernel, "stat", found)
    _replace(kernel, "lstat", found)
    _replace(kernel, "fstat", found)
    _replace(kernel, "chmod", chmod)
    _replace(kernel, "fchmod", chmod)
    _replace(kernel, "fchown", chown)
    _replace(kernel, "utime", utime)
    _replace(kernel, "listxattr", listxattr)


def _replace_library(kernel: Kernel) -> None:
    """Functions of the C library: they return -1 and leave their errno."""

    def renameat2(olddirfd: int, old: bytes, newdirfd: int, new: bytes, flags: int) -> int:
        noreplace = bool(flags & files.RENAME_NOREPLACE)
        return kernel.rename((old, olddirfd), (new, newdirfd), noreplace=noreplace)

    def openat2(_: int, dirfd: int, path: bytes, how: int, __: int) -> int:
        asked = files._OpenHow.from_address(how)
        return kernel.open(path, asked.flags, asked.mode, dirfd)

    def syncfs(fd: int) -> int:
        kernel.inode(fd)
        kernel.disk.sync()
        return 0

    def nothing(*_: int) -> int:
        """Hints to the kernel, and space that is kept: they change no byte."""
        return 0

    answers: dict[str, tuple[int, Callable[..., int]]] = {
        "_renameat2": (0, renameat2),
        "_openat2": (1, openat2),
        "_syncfs": (0, syncfs),
        "_sync_file_range": (0, nothing),
        "_fallocate": (0, nothing),
    }
    for name, (at, answer) in answers.items():
        vars(files)[name] = _either(at, answer, vars(files)[name])


def _either(at: int, answer: Callable[..., int], real: Callable[..., int]) -> Callable[..., int]:
    """Let ``answer`` serve descriptors of the disk, which are the argument number ``at``."""

    def either(*arguments: int) -> int:
        if arguments[at] < _FIRST:
            return real(*arguments)
        try:
            return answer(*arguments)
        except OSError as error:
            ctypes.set_errno(error.errno or errno.EIO)
            return -1

    return either
