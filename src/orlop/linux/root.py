"""The root directory: it must be ours alone, and one process at a time may change it.

Knows nothing of what is kept in it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING, Self

from orlop.errors import StoreCorrupt, StoreLocked
from orlop.linux import files

if TYPE_CHECKING:
    from types import TracebackType


def open_root(path: str) -> int:
    """Open a directory that must be ours alone; make it if it is not there.

    A new one gets mode 0700 and a durable name. An empty one of ours is made
    0700. Anything else that others could reach is refused.

    Returns:
        A descriptor, owned by the caller.

    Raises:
        StoreCorrupt: it is a link or no directory, belongs to somebody else, or
            others may enter it.
        PermissionDenied, StoreFull, StoreIO: it cannot be made or opened.
    """
    path = os.path.abspath(path)
    with files.translated(f"open root directory {path}"):
        _make_path(path)
        try:
            fd = os.open(path, files.DIRECTORY)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            raise StoreCorrupt(
                f"{path} is a symbolic link or no directory",
                hint="name the directory itself as the root",
            ) from error
        try:
            _check_private(fd, path)
        except BaseException:
            os.close(fd)
            raise
        return fd


def _make_path(path: str) -> None:
    """Make the directory and its missing parents, each name durable."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        above, name = os.path.split(directory)
        parent = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            files.make_directory(parent, name)
            files.fsync(parent, what=above)
        finally:
            os.close(parent)


def _check_private(fd: int, path: str) -> None:
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        raise StoreCorrupt(
            f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}",
            hint="use a directory of your own",
        )
    if not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return
    if os.listdir(fd):
        raise StoreCorrupt(
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others may reach what is in it",
            hint=f"if you trust what is in it: chmod 0700 {path}",
        )
    files.change_mode(fd, 0o700)


class Lock:
    """The right to change a root directory; made by ``lock_root``, ended by ``release``."""

    __slots__ = ("_descriptors", "root")

    def __init__(self, root: str, descriptors: tuple[int, ...]) -> None:
        self.root = root
        self._descriptors = descriptors

    def release(self) -> None:
        """Let the next one in; a second call does nothing.

        The lock is dropped also when a forked child still has the descriptors.
        """
        descriptors, self._descriptors = self._descriptors, ()
        for fd in descriptors:
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def lock_root(path: str) -> Lock:
    """Take the root directory for this process; see flock(2).

    Two things are locked: the file ``lock``, which holds the owner's process id
    for people to read, and the directory itself, which nobody can unlink and
    make anew as they can the file.

    Raises:
        StoreLocked: another process (or another service of this one) has it.
        StoreCorrupt, PermissionDenied, StoreFull, StoreIO: see ``open_root``.
    """
    path = os.path.abspath(path)
    descriptors = [open_root(path)]
    try:
        with files.translated(f"lock root directory {path}"):
            flags = os.O_RDWR | os.O_CREAT
            descriptors.append(files.open_file(descriptors[0], "lock", flags=flags))
            for fd in descriptors:
                _flock(fd, path, descriptors[1])
            files.truncate(descriptors[1], 0)
            # Our number where proc was mounted, which people outside a namespace see, too.
            files.write_at(descriptors[1], f"{os.readlink('/proc/self')}\n".encode(), offset=0)
        return Lock(path, tuple(descriptors))
    except BaseException:
        for fd in descriptors:
            os.close(fd)
        raise


def _flock(fd: int, path: str, pid_file: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(pid_file, 32, 0).decode("ascii", "replace").strip()
        raise StoreLocked(
            f"{path} is in use by process {holder or 'unknown'}",
            hint="stop that process, or talk to the running daemon with --address",
        ) from error
