"""A root file system that strangers have filled, looked into without being led out of it.

openat2(2) resolves every path as if the root were ``/``. What is opened is looked at
first: opening a device could do something, opening a FIFO would wait.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from orlop.errors import FailedPrecondition, ImageInvalid, LimitExceeded
from orlop.linux import files
from orlop.linux.trees import remove_tree

_INSIDE = files.RESOLVE_IN_ROOT | files.RESOLVE_NO_MAGICLINKS
_LOOK = os.O_PATH | os.O_CLOEXEC
_BLOCK = 4096
_SHOWN = 128


class SystemRootFiles:
    """Implements ``orlop.ports.rootfs.RootFiles``."""

    def read(self, root: str, path: str, *, limit: int) -> bytes:
        """See the port."""
        directory = os.open(root, files.DIRECTORY)
        try:
            return _read(directory, path, limit)
        except OSError as error:
            raise ImageInvalid(
                f"{_shown(path)} of the image cannot be read: {error.strerror}"
            ) from error
        finally:
            os.close(directory)

    def make_directory(self, root: str, path: str) -> None:
        """See the port."""
        opened = [os.open(root, files.DIRECTORY)]
        try:
            # By text, as for any path of a config: a link before ``..`` is not asked.
            done = ""
            for name in filter(None, posixpath.normpath(f"/{path}").split("/")):
                done = f"{done}/{name}" if done else name
                opened.append(_entered(opened[0], opened[-1], done, name))
        except (OSError, ValueError) as error:
            raise ImageInvalid(
                f"directory {_shown(path)} cannot be made in the image:"
                f" {getattr(error, 'strerror', None) or error}"
            ) from error
        finally:
            for fd in opened:
                os.close(fd)

    def remove(self, directory: str, name: str) -> None:
        """See the port."""
        try:
            above = os.open(directory, files.DIRECTORY)
            try:
                remove_tree(os.fsencode(name), above, block=_BLOCK)
            finally:
                os.close(above)
        except FileNotFoundError:
            return
        except OSError as error:
            raise FailedPrecondition(
                f"cannot remove {os.path.join(directory, name)}: {error.strerror}"
            ) from error


def _read(root: int, path: str, limit: int) -> bytes:
    try:
        place = files.openat2(root, os.fsencode(path), _LOOK, resolve=_INSIDE)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return b""
        raise
    try:
        found = os.fstat(place)
        if not stat.S_ISREG(found.st_mode):
            raise ImageInvalid(f"{_shown(path)} of the image is no file")
        fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
    with open(fd, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise LimitExceeded(
            f"{_shown(path)} of the image has more than {limit} bytes", limit="accounts_bytes"
        )
    return data


def _entered(root: int, parent: int, path: str, name: str) -> int:
    """A descriptor of the directory ``path``, which is made in ``parent`` if it is missing."""
    flags = _LOOK | os.O_DIRECTORY
    try:
        return files.openat2(root, os.fsencode(path), flags, resolve=_INSIDE)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=parent)
        fd = os.open(name, files.DIRECTORY, dir_fd=parent)
        os.fchmod(fd, 0o755)  # whatever the umask says
        return fd


def _shown(path: str) -> str:
    """A stranger's path as part of a message."""
    return ascii(path[:_SHOWN])
