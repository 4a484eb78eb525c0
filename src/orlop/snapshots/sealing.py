"""Sealing a tree: its manifest is completed, and gets the digest that its record keeps.

A worker has recorded what it made (``orlop.model.treemanifest``). What it could not know
is added here: directories that took their attributes from the layers below, and marks of
overlayfs. A tree that no worker could record, because it began as a copy or was changed
through overlayfs, is read as a whole.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, Final

from orlop.linux import files
from orlop.linux.diskread import DiskReader
from orlop.model import treemanifest
from orlop.model.checksum import Checksum
from orlop.model.digest import Digest
from orlop.model.layerpath import ROOT, join
from orlop.model.treemanifest import Kind, Node
from orlop.snapshots.walk import Cursor, Visitor, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAME: Final = "manifest"
"""Of the file, beside the tree."""

_READ_BYTES: Final = 1 << 20
_BELOW: Final = files.RESOLVE_BENEATH | files.RESOLVE_NO_SYMLINKS | files.RESOLVE_NO_XDEV
_ACLS_AND_CAPABILITY: Final = frozenset(
    {"system.posix_acl_access", "system.posix_acl_default", "security.capability"}
)
_PREFIXES: Final = ("user.", "trusted.overlay.")
_KINDS: Final = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER_DEVICE,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
    stat.S_IFIFO: Kind.FIFO,
}


def create(own: int) -> int:
    """A new manifest in the directory ``own``, open for writing; the caller's."""
    return files.open_file(own, NAME, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


def is_begun(own: int) -> bool:
    """True when somebody has written to the manifest in the directory ``own``."""
    return os.stat(NAME, dir_fd=own, follow_symlinks=False).st_size > 0


def seal(own: int, tree: int, paths: Sequence[bytes]) -> Digest:
    """Complete the manifest that a worker has written.

    Args:
        own: directory descriptor of the snapshot's directory.
        tree: directory descriptor of the tree.
        paths: directories that look otherwise than the worker made them; the root is
            one in any case.

    Raises:
        OSError: a path is no directory of the tree, or the file system refused.
    """
    records = b"".join(treemanifest.node(path, _directory(tree, path)) for path in {ROOT, *paths})
    return _finish(own, [records])


def seal_whole(own: int, tree: int) -> Digest:
    """Make a manifest by reading the tree; raises as ``seal``."""
    fd = create(own)
    try:
        _write(fd, treemanifest.MAGIC)
    finally:
        os.close(fd)
    found = _Found()
    with Cursor(".", dir_fd=tree) as cursor:
        found.add_directory(ROOT, cursor.fd)
        walk(cursor, found)
    return _finish(own, found.blocks())


def look(dirfd: int, name: bytes, found: os.stat_result) -> Node:
    """What is called ``name`` in an open directory, but for a file's bytes and attributes."""
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), Kind.FIFO)
    size = found.st_size if kind is Kind.FILE else 0
    if kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE):
        size = found.st_rdev
        if kind is Kind.CHARACTER_DEVICE and not size:
            return Node(Kind.WHITEOUT)
    target = os.readlink(name, dir_fd=dirfd) if kind is Kind.SYMLINK else b""
    return Node(
        kind,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        size,
        target=target,
    )


def attributes_of(fd: int) -> dict[bytes, bytes] | None:
    """The extended attributes that count, of an open file or directory; None without any."""
    found = {
        os.fsencode(name): os.getxattr(fd, name)
        for name in os.listxattr(fd)
        if name.startswith(_PREFIXES) or name in _ACLS_AND_CAPABILITY
    }
    return found or None


def checksum_of(reader: DiskReader, fd: int) -> Checksum:
    """The checksum of an open file as the disk has it. Raises OSError."""
    checksum = Checksum()
    summed = 0
    for offset, chunk in reader.chunks(fd):
        checksum.skip(offset - summed)
        checksum.update(chunk)
        summed = offset + len(chunk)
    checksum.skip(max(0, os.fstat(fd).st_size - summed))
    return checksum


def open_below(tree: int, path: bytes, *, flags: int = 0) -> int:
    """Open what is at ``path`` in the tree, through no link and on no other mount."""
    return files.openat2(tree, path, os.O_RDONLY | os.O_NOFOLLOW | flags, resolve=_BELOW)


def _directory(tree: int, path: bytes) -> Node:
    fd = open_below(tree, path, flags=os.O_DIRECTORY)
    try:
        return _opened_directory(fd)
    finally:
        os.close(fd)


def _opened_directory(fd: int) -> Node:
    found = os.fstat(fd)
    return Node(
        Kind.DIRECTORY,
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        xattrs=attributes_of(fd),
    )


class _Found(Visitor):
    """Collects the records of everything on a walk."""

    __slots__ = ("_linked", "_path", "_reader", "_records")

    def __init__(self) -> None:
        self._reader = DiskReader()
        self._path = ROOT
        self._records: list[bytes] = []
        self._linked: dict[int, bytes] = {}

    def blocks(self) -> Iterable[bytes]:
        """The records, in pieces of bounded length."""
        piece = bytearray()
        for record in self._records:
            piece += record
            if len(piece) >= treemanifest.BLOCK_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)

    def add_directory(self, path: bytes, fd: int) -> None:
        self._records.append(treemanifest.node(path, _opened_directory(fd)))

    def directory(self, fd: int) -> list[str]:
        below = []
        for text in os.listdir(fd):
            name = os.fsencode(text)
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                below.append(text)
            else:
                self._add(join(self._path, name), fd, name, found)
        return below

    def entering(self, fd: int, name: str) -> None:
        self._path = join(self._path, os.fsencode(name))
        below = open_below(fd, os.fsencode(name), flags=os.O_DIRECTORY)
        try:
            self.add_directory(self._path, below)
        finally:
            os.close(below)

    def left(self, fd: int, name: str) -> None:  # noqa: ARG002 - the path says it
        self._path = self._path.rpartition(b"/")[0] or ROOT

    def _add(self, path: bytes, dirfd: int, name: bytes, found: os.stat_result) -> None:
        if found.st_nlink > 1:
            known = self._linked.setdefault(found.st_ino, path)
            if known != path:
                self._records.append(treemanifest.link(path, known))
                return
        seen = look(dirfd, name, found)
        if seen.kind is Kind.FILE:
            fd = open_below(dirfd, name)
            try:
                checksum, xattrs = checksum_of(self._reader, fd).value, attributes_of(fd)
            finally:
                os.close(fd)
            seen = Node(
                Kind.FILE,
                seen.mode,
                seen.uid,
                seen.gid,
                seen.mtime,
                seen.size,
                checksum,
                xattrs=xattrs,
            )
        self._records.append(treemanifest.node(path, seen))


def _finish(own: int, pieces: Iterable[bytes]) -> Digest:
    fd = files.open_file(own, NAME, flags=os.O_RDWR)
    try:
        for records in pieces:
            if records:
                _write(fd, treemanifest.block(records))
        digest = hashlib.sha256()
        offset = 0
        while data := os.pread(fd, _READ_BYTES, offset):
            digest.update(data)
            offset += len(data)
        last = treemanifest.end(digest.digest())
        _write(fd, last)
        files.sync_file_range(fd, offset=0, length=0)
    finally:
        os.close(fd)
    digest.update(last)
    return Digest("sha256", digest.hexdigest())


def _write(fd: int, data: bytes) -> None:
    """Append to the file."""
    at = os.fstat(fd).st_size
    view = memoryview(data)
    while view:
        written = files.write_at(fd, view, offset=at)
        at += written
        view = view[written:]
