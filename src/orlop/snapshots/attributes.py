"""Attributes: owner, mode, times and extended attributes, from one inode to another.

What overlayfs keeps for itself in ``trusted.overlay.*`` describes one layer and
is never copied. Contents are not touched.
"""

from __future__ import annotations

import os
import stat
from typing import Final

_OVERLAY: Final = ("trusted.overlay.", "user.overlay.")
_NOT_REMOVED: Final = (*_OVERLAY, "security.")  # labels that a new inode gets by itself


def copy_attributes(source: int, target: int) -> None:
    """Give ``target`` what ``source`` has; both are open files or directories.

    The order matters: chown(2) drops capabilities and setuid bits, so that they
    come after it; times come last.

    Raises:
        OSError: the file system refused.
    """
    found = os.fstat(source)
    os.fchown(target, found.st_uid, found.st_gid)
    _copy_xattrs(source, target, follow=True)
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def copy_node_attributes(source: int, target: int, name: str) -> None:
    """The same for a link or a special file, ``name`` in two open directories.

    Raises:
        OSError: the file system refused.
    """
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    names = f"/proc/self/fd/{source}/{name}", f"/proc/self/fd/{target}/{name}"
    _copy_xattrs(*names, follow=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target)
    times = (found.st_atime_ns, found.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def _copy_xattrs(source: int | str, target: int | str, *, follow: bool) -> None:
    """Make the extended attributes equal; descriptors want ``follow``."""
    wanted = [
        name
        for name in os.listxattr(source, follow_symlinks=follow)
        if not name.startswith(_OVERLAY)
    ]
    for name in os.listxattr(target, follow_symlinks=follow):
        if name not in wanted and not name.startswith(_NOT_REMOVED):
            os.removexattr(target, name, follow_symlinks=follow)
    for name in wanted:
        value = os.getxattr(source, name, follow_symlinks=follow)
        os.setxattr(target, name, value, follow_symlinks=follow)
