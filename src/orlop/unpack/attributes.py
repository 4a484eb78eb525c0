"""Owner, mode and extended attributes of what a layer makes.

The order is chown, setxattr, chmod: chown clears setuid and capabilities.
What must not come from an image is left out and counted (``dropped``):
overlayfs's and the kernel's own attributes, security labels of another host.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from orlop.errors import ArchiveInvalid, LimitExceeded
from orlop.model import tar
from orlop.model.layerpath import shown

if TYPE_CHECKING:
    from orlop.model.tar import Entry

_ACCESS_ACL = b"system.posix_acl_access"
_DEFAULT_ACL = b"system.posix_acl_default"
_CAPABILITY = b"security.capability"
_CREATED_BITS = 0o1777  # what open(2) and mkdir(2) both set as asked, with umask 0

# linux/capability.h: revision in the top byte of the first word, length fixed by it.
_CAPABILITY_LENGTHS = {0x01: 12, 0x02: 20, 0x03: 24}


def needed(entry: Entry) -> bool:
    """True when a file or directory created as root with its mode needs more to be right."""
    return bool(entry.uid or entry.gid or entry.xattrs or entry.mode > _CREATED_BITS)


def inherited_by_children(entry: Entry) -> bool:
    """True for a directory that would give its group or ACL to what is created in it."""
    return bool(entry.mode & stat.S_ISGID) or (
        entry.xattrs is not None and _DEFAULT_ACL in entry.xattrs
    )


def apply(fd: int, entry: Entry, dropped: dict[str, int], *, fresh: bool) -> None:
    """Give an open file or directory what ``entry`` says.

    Args:
        fd: descriptor of it.
        entry: the tar member.
        dropped: counts what is left out.
        fresh: True when it was just created by root in a directory that hands
            nothing down, with the permission bits of ``entry``.

    Raises:
        ArchiveInvalid: a file capability is malformed.
        LimitExceeded: the file system has no room for the attributes of one file.
    """
    changed = not fresh or bool(entry.uid or entry.gid)
    if changed:
        os.fchown(fd, entry.uid, entry.gid)
    if entry.xattrs:
        for name, value in entry.xattrs.items():
            if _allowed(name, value, entry):
                _set(fd, name, value, entry, dropped)
            else:
                _drop(name, dropped)
    if not fresh or entry.mode > (0o1777 if entry.type == tar.DIRECTORY or changed else 0o7777):
        os.fchmod(fd, entry.mode)


def apply_unopened(name: bytes, above: int, entry: Entry, dropped: dict[str, int]) -> None:
    """The same for links, devices and fifos, which are not opened.

    The kernel allows no user attributes on them.
    """
    os.chown(name, entry.uid, entry.gid, dir_fd=above, follow_symlinks=False)
    for attribute, value in (entry.xattrs or {}).items():
        _allowed(attribute, value, entry)
        _drop(attribute, dropped)


def _allowed(name: bytes, value: bytes, entry: Entry) -> bool:
    if name == _CAPABILITY:
        if entry.type != tar.REGULAR:
            raise ArchiveInvalid(f"{shown(entry.path)} in layer has capabilities but is no file")
        if len(value) < 4 or _CAPABILITY_LENGTHS.get(value[3]) != len(value):
            raise ArchiveInvalid(f"file capability of {shown(entry.path)} in layer is malformed")
        return True
    return (name.startswith(b"user.") and not name.startswith(b"user.overlay.")) or name in (
        _ACCESS_ACL,
        _DEFAULT_ACL,
    )


def _set(fd: int, name: bytes, value: bytes, entry: Entry, dropped: dict[str, int]) -> None:
    try:
        os.setxattr(fd, name, value)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE):
            raise LimitExceeded(
                f"extended attributes of {shown(entry.path)} in layer do not fit into one inode",
                limit="xattr_value_bytes",
            ) from error
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
            raise
        _drop(name, dropped)


def _drop(name: bytes, dropped: dict[str, int]) -> None:
    """Count by namespace and first word, so that an image cannot make up endless kinds."""
    namespace = name.split(b".")[0].decode("ascii", "replace")
    kind = (
        f"xattr {namespace}" if namespace in ("trusted", "security", "system", "user") else "xattr"
    )
    dropped[kind] = dropped.get(kind, 0) + 1
