"""Owner, mode and extended attributes of what a layer makes.

The order is chown, setxattr, chmod: chown clears setuid and capabilities.
What must not come from an image is left out and counted (``dropped``):
overlayfs's and the kernel's own attributes, security labels of another host.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orlop.errors import ArchiveInvalid, FailedPrecondition, LimitExceeded
from orlop.model import tar
from orlop.model.layerpath import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.tar import Entry

_ACCESS_ACL = b"system.posix_acl_access"
_DEFAULT_ACL = b"system.posix_acl_default"
_CAPABILITY = b"security.capability"
_CREATED_BITS = 0o1777  # what open(2) and mkdir(2) both set as asked, with umask 0

IMPLIED_MODE = 0o755
"""Of a directory that nobody described."""

# linux/capability.h: the first word is the revision, and one flag; it fixes the length.
_CAPABILITY_LENGTHS = {0x01000000: 12, 0x02000000: 20, 0x03000000: 24}
_CAPABILITY_EFFECTIVE = 0x000001


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
        FailedPrecondition: this user namespace has no such owner.
        LimitExceeded: the file system has no room for the attributes of one file.
        OSError: the file system refused.
    """
    if not fresh or entry.uid or entry.gid:
        with _mapped(entry):
            os.fchown(fd, entry.uid, entry.gid)
    if entry.xattrs:
        for name, value in entry.xattrs.items():
            if _allowed(name, value, entry):
                _set(fd, name, value, entry, dropped)
            else:
                _drop(name, dropped)
    # A chown clears set-id bits, and so does a write where root is that of a user namespace;
    # mkdir does not set them, an ACL sets permission bits.
    if not fresh or entry.mode > _CREATED_BITS or (entry.xattrs and _ACCESS_ACL in entry.xattrs):
        os.fchmod(fd, entry.mode)


def apply_unopened(name: bytes, above: int, entry: Entry, dropped: dict[str, int]) -> None:
    """The same for links, devices and fifos, which are not opened.

    The kernel allows no user attributes on them. ``name`` was made just now, with
    the permission bits of ``entry``.
    """
    with _mapped(entry):
        os.chown(name, entry.uid, entry.gid, dir_fd=above, follow_symlinks=False)
    if entry.mode > _CREATED_BITS and entry.type != tar.SYMLINK:
        # chown has cleared set-id bits. This call would follow a link, and it is none.
        os.chmod(name, entry.mode, dir_fd=above)
    for attribute, value in (entry.xattrs or {}).items():
        _allowed(attribute, value, entry)
        _drop(attribute, dropped)


class Owners:
    """The ids that there are in a user namespace; others become root's, instead of an error.

    Args:
        uids, gids: how many there are, from 0 on.
        dropped: counts the entries that were changed.
    """

    __slots__ = ("_dropped", "_gids", "_uids")

    def __init__(self, uids: int, gids: int, dropped: dict[str, int]) -> None:
        self._uids, self._gids, self._dropped = uids, gids, dropped

    def adopt(self, entry: Entry) -> None:
        """Change the owner of an entry that nobody here could be."""
        if entry.uid < self._uids and entry.gid < self._gids:
            return
        entry.uid = entry.uid if entry.uid < self._uids else 0
        entry.gid = entry.gid if entry.gid < self._gids else 0
        self._dropped["owner"] = self._dropped.get("owner", 0) + 1


@contextmanager
def _mapped(entry: Entry) -> Iterator[None]:
    """Say what EINVAL of chown(2) means: in this user namespace there is no such id."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise FailedPrecondition(
            f"{shown(entry.path)} in layer belongs to {entry.uid}:{entry.gid}, and this user has"
            " no such ids: install newuidmap and grant some in /etc/subuid and /etc/subgid,"
            " or set ignore_chown_errors"
        ) from error


def clear(fd: int) -> None:
    """Take away all attributes that an image can give to a file or directory."""
    for name in os.listxattr(fd):
        if _is_image_attribute(os.fsencode(name)):
            os.removexattr(fd, name)


def present(fd: int) -> dict[bytes, bytes] | None:
    """All attributes that an image can give to a file or directory; None without any."""
    names = [os.fsencode(name) for name in os.listxattr(fd)]
    found = {name: os.getxattr(fd, name) for name in names if _is_image_attribute(name)}
    return found or None


def reset(fd: int) -> None:
    """Make a directory look like one that nobody described: root's, 0755."""
    clear(fd)
    os.fchown(fd, 0, 0)
    os.fchmod(fd, IMPLIED_MODE)


def take_default_acl(fd: int) -> bytes | None:
    """Take from a directory the ACL that it hands down; None when it has none."""
    try:
        acl = os.getxattr(fd, _DEFAULT_ACL)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise
        return None
    os.removexattr(fd, _DEFAULT_ACL)
    return acl


def give_default_acl(fd: int, acl: bytes) -> None:
    """The reverse of ``take_default_acl``."""
    os.setxattr(fd, _DEFAULT_ACL, acl)


def _allowed(name: bytes, value: bytes, entry: Entry) -> bool:
    if name == _CAPABILITY:
        if entry.type != tar.REGULAR:
            raise ArchiveInvalid(f"{shown(entry.path)} in layer has capabilities but is no file")
        revision = int.from_bytes(value[:4], "little") & ~_CAPABILITY_EFFECTIVE
        if _CAPABILITY_LENGTHS.get(revision) != len(value):
            raise ArchiveInvalid(f"file capability of {shown(entry.path)} in layer is malformed")
    return _is_image_attribute(name)


def _is_image_attribute(name: bytes) -> bool:
    if name.startswith(b"user."):
        return not name.startswith(b"user.overlay.")
    return name in (_ACCESS_ACL, _DEFAULT_ACL, _CAPABILITY)


def _set(fd: int, name: bytes, value: bytes, entry: Entry, dropped: dict[str, int]) -> None:
    try:
        os.setxattr(fd, name, value)
    except OSError as error:
        full = error.errno == errno.ENOSPC and not os.fstatvfs(fd).f_bavail
        if error.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE) and not full:
            raise LimitExceeded(
                f"extended attributes of {shown(entry.path)} in layer do not fit into one inode",
                limit="xattr_value_bytes",
            ) from error
        # EACCES: a default ACL for something that is no directory.
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL, errno.EACCES):
            raise
        _drop(name, dropped)


def _drop(name: bytes, dropped: dict[str, int]) -> None:
    """Count by namespace and first word, so that an image cannot make up endless kinds."""
    namespace = name.split(b".")[0].decode("ascii", "replace")
    kind = (
        f"xattr {namespace}" if namespace in ("trusted", "security", "system", "user") else "xattr"
    )
    dropped[kind] = dropped.get(kind, 0) + 1
