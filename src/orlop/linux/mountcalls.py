"""Mount calls: mount(2), umount2(2), and the newer calls that make mounts without a place.

Each function is one system call, with the kernel's own words for the cause
where it gives any. Nothing here decides what is mounted; that is
``orlop.linux.mounts``.

Sources: mount(2), umount2(2), fsopen(2), fsconfig(2), fsmount(2), move_mount(2),
open_tree(2), mount_setattr(2).
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_T = TypeVar("_T")

# Flags of mount(2).
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_RELATIME: Final = 1 << 21
MS_STRICTATIME: Final = 1 << 24

# Flags of umount2(2).
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8

CLONE_FS: Final = 0x200
CLONE_NEWNS: Final = 0x20000

# The same numbers on every architecture but alpha.
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_FSOPEN: Final = 430
_SYS_FSCONFIG: Final = 431
_SYS_FSMOUNT: Final = 432
_SYS_MOUNT_SETATTR: Final = 442

_SYS_PIVOT_ROOT_GENERIC: Final = 41
_SYS_PIVOT_ROOT: Final = {"x86_64": 155}

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_FSOPEN_CLOEXEC: Final = 1
_FSMOUNT_CLOEXEC: Final = 1
_FSCONFIG_SET_FLAG: Final = 0
_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6

_FSCONFIG_VALUE_MAX: Final = 255  # the kernel copies 256 bytes with their NUL
_ATIME_MASK: Final = 0x70  # mount_setattr(2): to be cleared when an atime flag is set

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)


def mount(source: str, target: str, *, fstype: str, flags: int = 0, data: str = "") -> None:
    """Mount a file system, bind a directory, or change what is mounted.

    Args:
        source: device, directory or label.
        target: an existing directory (or file, for a bind of a file).
        fstype: "" where mount(2) ignores it (bind, remount, propagation).
        flags: ``MS_*`` bits.
        data: options for the file system, one page at most.

    Raises:
        OSError: the kernel refused.
    """
    arguments = (os.fsencode(source), os.fsencode(target), os.fsencode(fstype) or None)
    if _libc.mount(*arguments, flags, os.fsencode(data) or None) != 0:
        raise mount_error(ctypes.get_errno(), f"mount {fstype or source} on {target}")


def unmount(target: str, *, detach: bool = False) -> None:
    """Undo the topmost mount at ``target``, which is never followed when it is a link.

    Args:
        target: where something is mounted.
        detach: take it out of sight now, and end it when its last user is gone.

    Raises:
        OSError: EINVAL when nothing is mounted there, EBUSY when it is in use.
    """
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if detach else 0)
    if _libc.umount2(os.fsencode(target), flags) != 0:
        raise mount_error(ctypes.get_errno(), f"unmount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make the mount at ``new`` the root of this mount namespace; the old one is then at ``old``.

    Raises:
        OSError: the kernel refused.
    """
    number = _SYS_PIVOT_ROOT.get(os.uname().machine, _SYS_PIVOT_ROOT_GENERIC)
    system_call("change the root", number, os.fsencode(new), os.fsencode(old))


def mount_error(code: int, doing: str, words: str = "") -> OSError:
    """An ``OSError`` that says the cause (the kernel's words if it gave any), then the step."""
    return OSError(code, f"{words or os.strerror(code)}: {doing}")


def system_call(doing: str, number: int, *arguments: int | bytes | None) -> int:
    """Make a call that libc may not know; integers are passed as long."""
    passed = [
        ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value)
        for value in arguments
    ]
    result: int = _libc.syscall(ctypes.c_long(number), *passed)
    if result < 0:
        raise mount_error(ctypes.get_errno(), doing)
    return result


def clone_tree(path: str, *, recursive: bool) -> int:
    """A detached copy of the mount at ``path``, and of those below it if ``recursive``.

    Returns:
        A descriptor that owns the copy, unless it is attached.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    return system_call(f"bind {path}", _SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)


def clone_descriptor(directory: int) -> int:
    """A detached copy of a directory as a mount of its own, without the mounts below it.

    Returns:
        A descriptor that owns the copy, unless it is attached.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH
    return system_call("bind a directory", _SYS_OPEN_TREE, directory, b"", flags)


def attach(descriptor: int, target: str) -> None:
    """Give a detached mount a place; ``target`` is not followed when it is a link."""
    system_call(
        f"mount on {target}",
        _SYS_MOVE_MOUNT,
        descriptor,
        b"",
        _AT_FDCWD,
        os.fsencode(target),
        _MOVE_MOUNT_F_EMPTY_PATH,
    )


def set_attributes(descriptor: int, attributes: int) -> None:
    """Add ``MOUNT_ATTR_*`` bits to a mount and all mounts below it."""
    cleared = _ATIME_MASK if attributes & _ATIME_MASK else 0
    # struct mount_attr: attr_set, attr_clr, propagation, userns_fd
    wanted = b"".join(n.to_bytes(8, sys.byteorder) for n in (attributes, cleared, 0, 0))
    system_call(
        "set the attributes of a mount",
        _SYS_MOUNT_SETATTR,
        descriptor,
        b"",
        _AT_EMPTY_PATH | _AT_RECURSIVE,
        wanted,
        len(wanted),
    )


class Configuration:
    """A file system between fsopen(2) and fsmount(2); closed by ``with``."""

    def __init__(self, fstype: str) -> None:
        self._fstype = fstype
        self._fd = -1

    def __enter__(self) -> Self:
        name = os.fsencode(self._fstype)
        doing = f"open file system {self._fstype}"
        self._fd = system_call(doing, _SYS_FSOPEN, name, _FSOPEN_CLOEXEC)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def set(self, key: str, value: str) -> None:
        """One option; without ``value`` a flag."""
        command = _FSCONFIG_SET_STRING if value else _FSCONFIG_SET_FLAG
        self._configure(command, key, os.fsencode(value) if value else None)

    def set_directory(self, key: str, path: str) -> None:
        """A directory by its name, or by a descriptor where a name cannot be said."""
        if len(os.fsencode(path)) <= _FSCONFIG_VALUE_MAX and not re.search(r"[\\:,]", path):
            self.set(key, path)
            return
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.set(key, f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)

    def mount(self, attributes: int) -> int:
        """Make the file system, and a mount of it that has no place; the caller closes it."""
        self._configure(_FSCONFIG_CMD_CREATE)
        doing = f"mount {self._fstype}"
        return system_call(doing, _SYS_FSMOUNT, self._fd, _FSMOUNT_CLOEXEC, attributes)

    def _configure(self, command: int, key: str = "", value: bytes | None = None) -> None:
        doing = f"configure {self._fstype} {key}".rstrip()
        name = os.fsencode(key) or None
        try:
            system_call(doing, _SYS_FSCONFIG, self._fd, command, name, value, 0)
        except OSError as error:
            raise mount_error(error.errno or 0, doing, self._messages()) from error

    def _messages(self) -> str:
        """What the kernel says about the failure; "" if nothing."""
        found = []
        with suppress(OSError):  # ENODATA ends the list
            while message := os.read(self._fd, 4096):
                found.append(os.fsdecode(message).strip().removeprefix("e "))
        return "; ".join(found)


def apart(unshared: int, call: Callable[[], _T]) -> _T:
    """Call in a thread that has what ``unshared`` names (``CLONE_*``) for itself, and ends."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            if _libc.unshare(unshared) != 0:
                raise mount_error(ctypes.get_errno(), "leave a namespace")
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            errors.append(error)

    thread = threading.Thread(target=run, name="mount")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
