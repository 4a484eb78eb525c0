"""Which errnos a call can have, and what may then be said; pure.

Sources: the ERRORS sections of open(2), mkdir(2), rename(2), unlink(2), link(2), symlink(2),
mknod(2), write(2), truncate(2), fallocate(2), chmod(2), chown(2), utimensat(2), setxattr(2),
fsync(2), syncfs(2), sync_file_range(2), umount(2), fsconfig(2), and for what takes
descriptors, processes and threads socket(2), fork(2), pthread_create(3). Those that tell of
the caller's own mistakes (EBADF, EFAULT, EINVAL) are left out.
"""

from __future__ import annotations

from errno import (
    EACCES,
    EAGAIN,
    EDQUOT,
    EINTR,
    EIO,
    EMFILE,
    ENFILE,
    ENOMEM,
    ENOSPC,
    EOPNOTSUPP,
    EPERM,
    EROFS,
)
from typing import Final

from tests.crash.kills.preloaded import Kind

_FULL: Final = (ENOSPC, EDQUOT)
_NAMES: Final = (*_FULL, EIO, EROFS, ENOMEM, EACCES, EPERM)
_FEATURES: Final = (EIO, EROFS, ENOMEM, EPERM)
_BARRIER: Final = (EIO, *_FULL, EROFS)

ERRNOS: Final[dict[str, tuple[int, ...]]] = {
    "open": (*_NAMES, EMFILE, ENFILE, EINTR),
    **dict.fromkeys(("mkdir", "mkdirat", "symlinkat", "linkat", "mknodat", "mkfifoat"), _NAMES),
    **dict.fromkeys(("rename", "renameat", "renameat2"), _NAMES),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), (EIO, EROFS, ENOMEM, EACCES, EPERM)),
    **dict.fromkeys(("write", "pwrite", "pwrite64", "pwritev"), (*_FULL, EIO, EINTR, ENOMEM)),
    **dict.fromkeys(("ftruncate", "ftruncate64"), (*_FULL, EIO, EROFS, EINTR)),
    **dict.fromkeys(("fallocate", "fallocate64"), (*_FULL, EIO, EINTR, EOPNOTSUPP)),
    **dict.fromkeys(("fchmod", "fchmodat", "chmod", "futimens", "utimensat"), _FEATURES),
    **dict.fromkeys(("fchown", "fchownat", "lchown"), (*_FEATURES, EDQUOT)),
    # EPERM is left out: an attribute that the file system refuses is dropped, and counted.
    **dict.fromkeys(("fsetxattr", "setxattr", "lsetxattr"), (EIO, EROFS, ENOMEM, *_FULL)),
    **dict.fromkeys(("fremovexattr", "removexattr"), (EIO, EROFS, ENOMEM)),
    **dict.fromkeys(("fsync", "fdatasync", "syncfs"), _BARRIER),
    "sync_file_range": (EIO, *_FULL, ENOMEM),
    **dict.fromkeys(("mount", "umount2"), (ENOMEM, EPERM)),
    # EROFS is left out: it is what overlayfs says of a file system that it cannot use.
    "fsconfig": (EIO, *_FULL, ENOMEM, EPERM),
    **dict.fromkeys(("copy_file_range", "sendfile", "sendfile64"), (*_FULL, EIO, ENOMEM)),
}
"""By the calls that ``changes.c`` tells of."""

_DESCRIPTORS: Final = (EMFILE, ENFILE, ENOMEM)
_PROCESSES: Final = {"fork": (EAGAIN, ENOMEM), "pthread_create": (EAGAIN,)}

BARRIERS: Final = frozenset({"fsync", "fdatasync", "syncfs"})
REMOVALS: Final = frozenset({"unlink", "unlinkat", "rmdir"})

_SAID: Final = {
    **dict.fromkeys(_FULL, "StoreFull"),
    **dict.fromkeys((EIO, EROFS), "StoreIO"),
    **dict.fromkeys((EACCES, EPERM), "PermissionDenied"),
    **dict.fromkeys((EMFILE, ENFILE, ENOMEM, EINTR, EAGAIN), "Unavailable"),
}


def errnos_of(kind: Kind, call: str) -> tuple[int, ...]:
    """With which a call can fail, as a change or as one that takes what is short."""
    return ERRNOS[call] if kind is Kind.CHANGE else _PROCESSES.get(call, _DESCRIPTORS)


def may_say(call: str, error: int, *, database: bool, probe: bool = False) -> frozenset[str]:
    """The classes of errors with which work may fail when ``call`` has failed with ``error``.

    Args:
        call: its name.
        error: the errno.
        database: it was SQLite's, which does not say why it could not open a file. What
            fails once only is not found out afterwards.
        probe: it was on an overlay, to see what can be done there.
    """
    said = {"StoreIO"} if call in BARRIERS else {_SAID[error]} if error in _SAID else set()
    if database and call == "open":
        said.add("Unavailable")
    if call.endswith("setxattr") and error == ENOSPC:
        said.add("LimitExceeded")  # as long as the disk has space, it is the inode that has none
    if call == "pthread_create":
        said |= {"RuntimeError", "Internal"}  # what asyncio and the start of a plugin make of it
    if call in ("socket", "epoll_create1"):
        said.add("RegistryUnavailable")
    if probe and error == EROFS:
        said.add("FailedPrecondition")  # what overlayfs says when its upper directory is no good
    return frozenset(said)


def may_go_on(said: str) -> bool:
    """True when the same work must succeed after it has failed with this class of error."""
    return said != "StoreIO"
