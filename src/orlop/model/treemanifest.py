"""The manifest of a tree: what a layer made, so that it can be told what a disk has lost.

A journal: whoever fills a tree appends a record for each thing that it does, and the
tree is what they add up to (``parse``). The writer need not remember what it did, and
may be a process that is killed at any moment. Pure.

::

    file    = magic block* end
    block   = length of data (u32), length of records (u32), data: records in zlib's format
    end     = u32 0, u32 0, SHA-256 of all before it
    record  = kind (u8), length of path (u16), path, fields of the kind

All numbers are little-endian. Records of one path replace each other; ``LINK`` gives
the thing that is at another path a second name; ``REMOVED`` takes a name away. A
directory of ``IMPLIED`` has attributes that a later record tells, or nobody. Unknown
versions have another magic.
"""

from __future__ import annotations

import enum
import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from isal import isal_zlib

from orlop.errors import StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAGIC: Final = b"orlop tree 1\n"
"""The first bytes of the file."""

BLOCK_BYTES: Final = 1 << 18
"""Records that are worth a block; a block can be longer by one record."""

_BLOCK: Final = struct.Struct("<II")
_END: Final = _BLOCK.pack(0, 0)
_DIGEST_BYTES: Final = 32
_MOST_BYTES: Final = 1 << 30  # 2 million entries, the most that a layer has, with long names
_LENGTH: Final = struct.Struct("<H")
_HEAD: Final = struct.Struct("<BH")
_FIELDS: Final = struct.Struct("<IIIqQQH")
_XATTR: Final = struct.Struct("<HI")


class Kind(enum.IntEnum):
    """What a record says."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    CHARACTER_DEVICE = 4
    BLOCK_DEVICE = 5
    FIFO = 6
    WHITEOUT = 7
    IMPLIED = 8
    LINK = 9
    REMOVED = 10


_DESCRIBED: Final = frozenset(range(Kind.FILE, Kind.FIFO + 1))


@dataclass(frozen=True, slots=True)
class Node:
    """One inode of a tree; names that share it are hard links.

    Attributes:
        kind: what it is; never ``LINK`` or ``REMOVED``.
        mode: permission bits.
        mtime: in ns since the epoch.
        size: of a file, in bytes; of a device its number (``st_rdev``).
        checksum: of a file's bytes, see ``orlop.model.checksum``.
        target: of a symbolic link.
        xattrs: extended attributes that an image can give, by name.
    """

    kind: Kind
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    checksum: int = 0
    target: bytes = b""
    xattrs: Mapping[bytes, bytes] | None = None


# --- writing ------------------------------------------------------------------------------


def described(
    kind: Kind,
    path: bytes,
    owner: tuple[int, int],
    mode: int,
    mtime: int,
    *,
    size: int = 0,
    checksum: int = 0,
    target: bytes = b"",
    xattrs: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """The record of a file, directory, symbolic link or device; see ``Node``."""
    uid, gid = owner
    record = (
        _HEAD.pack(kind, len(path))
        + path
        + _FIELDS.pack(mode, uid, gid, mtime, size, checksum, len(xattrs) if xattrs else 0)
    )
    if kind is Kind.SYMLINK:
        record += _LENGTH.pack(len(target)) + target
    if xattrs:
        for name, value in sorted(xattrs.items()):
            record += _XATTR.pack(len(name), len(value)) + name + value
    return record


def node(path: bytes, value: Node) -> bytes:
    """The record of a path that has nothing to do with other paths."""
    if value.kind not in _DESCRIBED:
        return mark(value.kind, path)
    return described(
        value.kind,
        path,
        (value.uid, value.gid),
        value.mode,
        value.mtime,
        size=value.size,
        checksum=value.checksum,
        target=value.target,
        xattrs=value.xattrs,
    )


def mark(kind: Kind, path: bytes) -> bytes:
    """The record of a ``WHITEOUT``, an ``IMPLIED`` directory or something ``REMOVED``."""
    return _HEAD.pack(kind, len(path)) + path


def link(path: bytes, target: bytes) -> bytes:
    """The record of one name more for what is at ``target``."""
    return _HEAD.pack(Kind.LINK, len(path)) + path + _LENGTH.pack(len(target)) + target


def block(records: bytes | bytearray) -> bytes:
    """Whole records as they lie in the file."""
    data = isal_zlib.compress(records, 1)
    return _BLOCK.pack(len(data), len(records)) + data


def end(digest: bytes) -> bytes:
    """The end of the file, given the SHA-256 of all before it."""
    return _END + digest


# --- reading ------------------------------------------------------------------------------


def parse(data: bytes) -> dict[bytes, Node]:
    """What a tree is made of: every path, with one ``Node`` for all names of an inode.

    Args:
        data: a whole file.

    Raises:
        StoreCorrupt: it is not what was written, or of a version that is not known here.
    """
    body = len(data) - len(_END) - _DIGEST_BYTES
    if not data.startswith(MAGIC):
        raise StoreCorrupt("tree manifest does not begin as one")
    if body < len(MAGIC) or data[body : body + len(_END)] != _END:
        raise StoreCorrupt("tree manifest has no end")
    if hashlib.sha256(memoryview(data)[:body]).digest() != data[-_DIGEST_BYTES:]:
        raise StoreCorrupt("tree manifest has a wrong digest")
    tree: dict[bytes, Node] = {}
    try:
        for records in _blocks(data, body):
            _replay(records, tree)
    except (struct.error, zlib.error, ValueError, KeyError) as error:
        raise StoreCorrupt(f"tree manifest is malformed: {error}") from error
    return tree


def _blocks(data: bytes, end_at: int) -> Iterator[bytes]:
    at, total = len(MAGIC), 0
    while at < end_at:
        stored, length = _BLOCK.unpack_from(data, at)
        at += _BLOCK.size
        total += length
        if total > _MOST_BYTES or at + stored > end_at:
            raise ValueError("a block is too long")
        unpacker = zlib.decompressobj()
        records = unpacker.decompress(data[at : at + stored], length + 1)
        if len(records) != length:
            raise ValueError("a block is not as long as it says")
        yield records
        at += stored


def _replay(records: bytes, tree: dict[bytes, Node]) -> None:
    at = 0
    while at < len(records):
        kind_number, length = _HEAD.unpack_from(records, at)
        at += _HEAD.size
        path = records[at : at + length]
        at += length
        kind = Kind(kind_number)
        if kind in _DESCRIBED:
            tree[path], at = _described(records, at, kind)
        elif kind is Kind.LINK:
            (length,) = _LENGTH.unpack_from(records, at)
            at += _LENGTH.size + length
            tree[path] = tree[records[at - length : at]]
        elif kind is Kind.REMOVED:
            tree.pop(path, None)
        else:
            tree[path] = Node(kind)


def _described(records: bytes, at: int, kind: Kind) -> tuple[Node, int]:
    mode, uid, gid, mtime, size, checksum, count = _FIELDS.unpack_from(records, at)
    at += _FIELDS.size
    target = b""
    if kind is Kind.SYMLINK:
        (length,) = _LENGTH.unpack_from(records, at)
        at += _LENGTH.size + length
        target = records[at - length : at]
    xattrs: dict[bytes, bytes] = {}
    for _ in range(count):
        name, value = _XATTR.unpack_from(records, at)
        at += _XATTR.size + name + value
        xattrs[records[at - value - name : at - value]] = records[at - value : at]
    found = Node(kind, mode, uid, gid, mtime, size, checksum, target, xattrs or None)
    return found, at
