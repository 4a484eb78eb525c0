"""Reads a directory tree entry by entry, and tells how two trees differ.

What is compared is all that an image can say about a file, byte for byte. It
never follows a link and never changes anything, access times excepted.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
PRIVATE_XATTRS = "trusted.overlay."
"""Belongs to the snapshotter, not to the image."""


@dataclass(frozen=True, slots=True)
class Node:
    """One directory entry.

    Attributes:
        mode: permission bits with set-id and sticky.
        size: of a file in bytes, of a symbolic link; 0 for all others.
        rdev: (major, minor) of a device.
        target: of a symbolic link.
        sha256: of a file's content, in hex.
        links: all paths of the tree that are the same file, if more than one.
    """

    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    rdev: tuple[int, int] = (0, 0)
    target: bytes = b""
    sha256: str = ""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    links: tuple[bytes, ...] = ()


def tree(path: str | bytes | os.PathLike[str]) -> dict[bytes, Node]:
    """Every entry below ``path``, by its relative path; the top itself is ``b"."``."""
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = list(_walk(top, b""))
    finally:
        os.close(top)
    groups: dict[tuple[int, int], list[bytes]] = {}
    for name, inode, _ in found:
        groups.setdefault(inode, []).append(name)
    return {
        name: _with_links(node, tuple(sorted(groups[inode])))
        for name, inode, node in sorted(found, key=lambda item: item[0])
    }


def differences(
    expected: Mapping[bytes, Node],
    actual: Mapping[bytes, Node],
    *,
    ignore: frozenset[str] = frozenset(),
) -> list[str]:
    """One line for each way in which ``actual`` is not ``expected``; none if they agree.

    Args:
        ignore: names of ``Node`` fields that may differ.

    Raises:
        ValueError: ``ignore`` names no such field.
    """
    names = [item.name for item in fields(Node)]
    if unknown := ignore.difference(names):
        raise ValueError(f"no such fields: {sorted(unknown)}")
    lines = []
    for path in sorted(expected.keys() | actual.keys()):
        shown = os.fsdecode(path).encode("unicode_escape").decode()
        one, other = expected.get(path), actual.get(path)
        if one is None or other is None:
            lines.append(f"{shown}: {'unexpected' if one is None else 'missing'}")
            continue
        for name in names:
            left, right = getattr(one, name), getattr(other, name)
            if name not in ignore and left != right:
                lines.append(f"{shown}: {name} is {_show(name, right)}, not {_show(name, left)}")
    return lines


def _walk(top: int, prefix: bytes) -> Iterator[tuple[bytes, tuple[int, int], Node]]:
    """Relative path, (device, inode) and node of a directory and all below it."""
    info = os.fstat(top)
    yield prefix or b".", (info.st_dev, info.st_ino), _node(info, top)
    with os.scandir(top) as entries:
        names = sorted(os.fsencode(entry.name) for entry in entries)
    for name in names:
        path = prefix + b"/" + name if prefix else name
        info = os.stat(name, dir_fd=top, follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(name, flags, dir_fd=top)
            try:
                yield from _walk(below, path)
            finally:
                os.close(below)
        else:
            yield path, (info.st_dev, info.st_ino), _leaf(info, top, name)


def _leaf(info: os.stat_result, parent: int, name: bytes) -> Node:
    if stat.S_ISREG(info.st_mode):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            return _node(info, fd, sha256=_sha256(fd))
        finally:
            os.close(fd)
    # Opening a device or a pipe has effects; a path through /proc has none.
    where = b"/proc/self/fd/%d/%b" % (parent, name)
    target = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(info.st_mode) else b""
    return _node(info, where, target=target)


def _node(
    info: os.stat_result, where: int | bytes, *, target: bytes = b"", sha256: str = ""
) -> Node:
    kind = stat.S_IFMT(info.st_mode)
    sized = kind in {stat.S_IFREG, stat.S_IFLNK}
    device = kind in {stat.S_IFCHR, stat.S_IFBLK}
    return Node(
        type=TYPES[kind],
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        size=info.st_size if sized else 0,
        mtime_ns=info.st_mtime_ns,
        rdev=(os.major(info.st_rdev), os.minor(info.st_rdev)) if device else (0, 0),
        target=target,
        sha256=sha256,
        xattrs=_xattrs(where),
    )


def _xattrs(where: int | bytes) -> dict[str, bytes]:
    follow = isinstance(where, int)
    try:
        names = os.listxattr(where, follow_symlinks=follow)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    return {
        name: os.getxattr(where, name, follow_symlinks=follow)
        for name in sorted(names)
        if not name.startswith(PRIVATE_XATTRS)
    }


def _sha256(fd: int) -> str:
    with os.fdopen(os.dup(fd), "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _with_links(node: Node, names: tuple[bytes, ...]) -> Node:
    return node if len(names) == 1 else replace(node, links=names)


def _show(name: str, value: object) -> str:
    if name == "mode" and isinstance(value, int):
        return f"{value:04o}"
    if name == "sha256" and isinstance(value, str):
        return value[:12] or "nothing"
    return repr(value)
