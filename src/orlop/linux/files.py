"""Files and directories: the system calls that make bytes and names durable.

Nobody else calls ``fsync``, ``fdatasync``, ``syncfs``, ``renameat2``,
``sync_file_range``, ``fallocate`` or ``openat2``. Nothing here knows what a blob
or a snapshot is, starts a thread, or logs.

Errors. The thin wrappers raise ``OSError`` as ``os`` does; a caller puts
``with translated("write blob X"):`` around a step. The barriers (``fsync``,
``fdatasync``, ``syncfs``) raise ``StoreIO`` themselves for whatever errno:
after a failed barrier the kernel may have dropped dirty pages, so a second
attempt that succeeds proves nothing, and no caller may make one.

Watching. Each function that changes the disk first raises the audit event
``orlop.files`` with the operation's name and its subject. A crash test installs
a hook (``sys.addaudithook``) that counts, kills the process or raises an
``OSError``; without a hook the event costs some ten nanoseconds.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import (
    AlreadyExists,
    Internal,
    InvalidArgument,
    NotFound,
    OrlopError,
    PermissionDenied,
    StoreCorrupt,
    StoreFull,
    StoreIO,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

# Rules of openat2(2) for resolving a path.
RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10

# Flags of renameat2(2).
RENAME_NOREPLACE: Final = 0x1
RENAME_EXCHANGE: Final = 0x2

# Flags of sync_file_range(2).
SYNC_FILE_RANGE_WAIT_BEFORE: Final = 0x1
SYNC_FILE_RANGE_WRITE: Final = 0x2
SYNC_FILE_RANGE_WAIT_AFTER: Final = 0x4

# Modes of fallocate(2).
FALLOC_FL_KEEP_SIZE: Final = 0x1
FALLOC_FL_PUNCH_HOLE: Final = 0x2

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags that open a directory, and nothing else, by its own name."""

_SYS_OPENAT2: Final = 437  # the same number on every architecture but alpha
_EAGAIN_ATTEMPTS: Final = 1024  # openat2 gives EAGAIN while somebody renames around it

_libc = ctypes.CDLL(None, use_errno=True)

_openat2 = _libc.syscall
_openat2.argtypes = (
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.c_size_t,
)
_openat2.restype = ctypes.c_long

_renameat2 = _libc.renameat2
_renameat2.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
)
_renameat2.restype = ctypes.c_int

_syncfs = _libc.syncfs
_syncfs.argtypes = (ctypes.c_int,)
_syncfs.restype = ctypes.c_int

_sync_file_range = _libc.sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_sync_file_range.restype = ctypes.c_int

_fallocate = getattr(_libc, "fallocate64", _libc.fallocate)
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_fallocate.restype = ctypes.c_int


class _OpenHow(ctypes.Structure):
    """``struct open_how`` of linux/openat2.h."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_HOW_SIZE: Final = ctypes.sizeof(_OpenHow)


@functools.lru_cache(maxsize=512)
def _open_how(flags: int, mode: int, resolve: int) -> tuple[_OpenHow, int]:
    """The structure and its address; never changed, so threads may share it."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    return how, ctypes.addressof(how)


def _oserror(code: int, path: bytes | None = None) -> OSError:
    return OSError(code, os.strerror(code), path)


def _mutates(operation: str, subject: object) -> None:
    sys.audit("orlop.files", operation, subject)


# --- errors -------------------------------------------------------------------------------


_KINDS: Final[dict[int, tuple[type[OrlopError], str]]] = {
    code: (kind, hint)
    for kind, hint, codes in (
        (StoreFull, "free space or inodes, or run `orlop gc`", (errno.ENOSPC, errno.EDQUOT)),
        (
            StoreIO,
            "look for disk errors in the kernel's log (dmesg)",
            (errno.EIO, errno.EROFS, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.EUCLEAN),
        ),
        (
            PermissionDenied,
            "orlop needs to own its root directory",
            (errno.EACCES, errno.EPERM),
        ),
        (
            Unavailable,
            "",
            (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY, errno.EINTR),
        ),
        (
            StoreCorrupt,
            "somebody else changed files below the root directory",
            (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EXDEV),
        ),
        (NotFound, "", (errno.ENOENT,)),
        (AlreadyExists, "", (errno.EEXIST,)),
        (InvalidArgument, "", (errno.ENAMETOOLONG,)),
    )
    for code in codes
}


def as_store_error(error: OSError, doing: str) -> OrlopError:
    """The orlop error that says what ``error`` means for the store.

    Args:
        error: what a system call raised.
        doing: what was being done, as a verb phrase: ``"write blob sha256:…"``.
    """
    code = error.errno or 0
    kind, hint = _KINDS.get(code, (Internal, ""))
    return kind(f"{os.strerror(code) if code else error}: {doing}", hint=hint)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn an ``OSError`` of the block into an error of ``orlop.errors``.

    Args:
        doing: what the block does, as a verb phrase for the message.

    Raises:
        StoreFull: ENOSPC, EDQUOT.
        StoreIO: EIO, EROFS and other signs of a failed disk.
        PermissionDenied: EACCES, EPERM.
        Unavailable: out of descriptors or memory.
        StoreCorrupt: a link or another kind of file where a file of ours should be.
        NotFound: ENOENT.
        AlreadyExists: EEXIST.
        InvalidArgument: ENAMETOOLONG.
        Internal: anything else.
    """
    try:
        yield
    except OSError as error:
        raise as_store_error(error, doing) from error


# --- opening ------------------------------------------------------------------------------


def openat2(dirfd: int, path: bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open ``path`` below ``dirfd`` with rules for its resolution.

    ``O_CLOEXEC`` is always set. Interrupted calls, and those that lost a race
    with a rename (EAGAIN), are repeated.

    Args:
        dirfd: descriptor of a directory.
        path: without NUL bytes.
        flags: as for open(2); unknown bits are refused by the kernel.
        mode: permission bits, only with ``O_CREAT`` or ``O_TMPFILE``.
        resolve: ``RESOLVE_*`` bits.

    Raises:
        OSError: as the kernel says; EXDEV and ELOOP when ``resolve`` forbids the path.
        ValueError: ``path`` contains NUL.
    """
    if b"\0" in path:
        raise ValueError("embedded null byte")
    if flags & os.O_CREAT:
        _mutates("open", path)
    _, how = _open_how(flags, mode, resolve)
    code = 0
    for _ in range(_EAGAIN_ATTEMPTS):
        fd: int = _openat2(_SYS_OPENAT2, dirfd, path, how, _HOW_SIZE)
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise _oserror(code, path)


def open_file(dirfd: int, name: str, *, flags: int, mode: int = 0o600) -> int:
    """Open one file of the directory ``dirfd`` without following a link; owned by the caller."""
    if flags & (os.O_CREAT | os.O_TRUNC):
        _mutates("open", name)
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=dirfd)


def open_directory(dirfd: int, name: str) -> int:
    """Open one directory of the directory ``dirfd``; never a link. Owned by the caller."""
    return os.open(name, DIRECTORY, dir_fd=dirfd)


# --- names --------------------------------------------------------------------------------


def make_directory(dirfd: int, name: str, *, mode: int = 0o700) -> bool:
    """Make a directory unless it is there; True when it is new. The name is not durable yet."""
    _mutates("mkdir", name)
    try:
        os.mkdir(name, mode, dir_fd=dirfd)
    except FileExistsError:
        return False
    return True


def renameat2(olddirfd: int, old: bytes, newdirfd: int, new: bytes, flags: int = 0) -> None:
    """Rename a file or directory.

    Raises:
        OSError: EEXIST when ``flags`` has ``RENAME_NOREPLACE`` and ``new`` exists;
            EINVAL when the file system does not know the flag.
        ValueError: a name contains NUL.
    """
    if b"\0" in old or b"\0" in new:
        raise ValueError("embedded null byte")
    _mutates("rename", new)
    while _renameat2(olddirfd, old, newdirfd, new, flags) != 0:
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise _oserror(code, new)


def remove_file(dirfd: int, name: str) -> None:
    """Unlink a file. Raises FileNotFoundError when it is not there."""
    _mutates("unlink", name)
    os.unlink(name, dir_fd=dirfd)


def remove_directory(dirfd: int, name: str) -> None:
    """Remove an empty directory. Raises FileNotFoundError when it is not there."""
    _mutates("rmdir", name)
    os.rmdir(name, dir_fd=dirfd)


# --- contents -----------------------------------------------------------------------------


def write_at(fd: int, data: bytes | bytearray | memoryview, *, offset: int) -> int:
    """Write as much of ``data`` at ``offset`` as the kernel takes; returns how much."""
    _mutates("write", fd)
    return os.pwrite(fd, data, offset)


def truncate(fd: int, size: int) -> None:
    """Cut or extend the file to ``size`` bytes."""
    _mutates("truncate", fd)
    os.ftruncate(fd, size)


def change_mode(fd: int, mode: int) -> None:
    """Set the permission bits."""
    _mutates("chmod", fd)
    os.fchmod(fd, mode)


def change_mode_at(dirfd: int, name: str, *, mode: int) -> None:
    """Set the permission bits of a file that cannot be opened; follows links."""
    _mutates("chmod", name)
    os.chmod(name, mode, dir_fd=dirfd)


def fallocate(fd: int, *, offset: int, length: int, mode: int = 0) -> None:
    """Reserve (or, by ``mode``, punch out) a range of the file.

    Raises:
        OSError: ENOSPC; EOPNOTSUPP where the file system cannot do it.
    """
    _mutates("fallocate", fd)
    while _fallocate(fd, mode, offset, length) != 0:
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise _oserror(code)


# --- barriers -----------------------------------------------------------------------------


def fsync(fd: int, *, what: str = "a file") -> None:
    """Make a file's or directory's contents durable.

    Raises:
        StoreIO: it failed; ``what`` must be given up, not synced again.
    """
    try:
        _mutates("fsync", fd)
        os.fsync(fd)
    except OSError as error:
        raise _failed_barrier("fsync", what, error) from error


def fdatasync(fd: int, *, what: str = "a file") -> None:
    """Make a file's data, and what is needed to read it, durable. Raises as ``fsync``."""
    try:
        _mutates("fdatasync", fd)
        os.fdatasync(fd)
    except OSError as error:
        raise _failed_barrier("fdatasync", what, error) from error


def syncfs(fd: int, *, what: str = "the file system") -> None:
    """Make everything written so far to the file system of ``fd`` durable.

    The kernel (5.8 and later) reports a failed write-back once to each open file
    description that is older than the failure. Keep one descriptor from the
    start, and pass that.

    Raises:
        StoreIO: some write-back since the last call failed; nobody knows which.
    """
    try:
        _mutates("syncfs", fd)
        if _syncfs(fd) != 0:
            raise _oserror(ctypes.get_errno())
    except OSError as error:
        raise _failed_barrier("syncfs", what, error) from error


def fsync_dir(path: str, *, dirfd: int | None = None) -> None:
    """Make the names in a directory durable.

    Args:
        path: of the directory; relative to ``dirfd`` if that is given.
        dirfd: descriptor of a directory, or None.

    Raises:
        OSError: it cannot be opened.
        StoreIO: the barrier failed.
    """
    fd = os.open(path, DIRECTORY, dir_fd=dirfd)
    try:
        fsync(fd, what=path)
    finally:
        os.close(fd)


def sync_file_range(
    fd: int, *, offset: int, length: int, flags: int = SYNC_FILE_RANGE_WRITE
) -> None:
    """Ask the kernel to start writing a range back; promises nothing.

    It shortens the barrier that follows, and is never one itself. Errors of the
    disk are left for that barrier; ``length`` 0 means to the end of the file.
    """
    _mutates("sync_file_range", fd)
    if _sync_file_range(fd, offset, length, flags) != 0:
        code = ctypes.get_errno()
        if code in (errno.EBADF, errno.EINVAL):
            raise _oserror(code)


def _failed_barrier(call: str, what: str, error: OSError) -> StoreIO:
    cause = os.strerror(error.errno) if error.errno else str(error)
    return StoreIO(
        f"{cause}: {call} of {what} failed; what was written may be lost",
        hint="stop, check the disk, and start again: recovery runs at the start",
    )


# --- whole steps --------------------------------------------------------------------------


@contextmanager
def replaced(path: str, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Write a new version of a small file: all of it or nothing, durable at the end.

    The block gets a file to write to. When it ends well, the file is synced,
    renamed over ``path``, and the directory is synced; when it raises, ``path``
    is as it was. One writer at a time.

    Raises:
        OSError: as the system calls do.
        StoreIO: a barrier failed.
    """
    directory, name = os.path.split(path)
    dirfd = os.open(directory or ".", DIRECTORY & ~os.O_NOFOLLOW)
    draft = f".{name}.new"
    try:
        with suppress(FileNotFoundError):
            remove_file(dirfd, draft)
        fd = open_file(dirfd, draft, flags=os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=mode)
        try:
            with open(fd, "wb") as file:
                yield file
                file.flush()
                change_mode(fd, mode)
                fsync(fd, what=path)
            renameat2(dirfd, os.fsencode(draft), dirfd, os.fsencode(name))
        except BaseException:
            with suppress(OSError):
                remove_file(dirfd, draft)
            raise
        fsync(dirfd, what=directory)
    finally:
        os.close(dirfd)
