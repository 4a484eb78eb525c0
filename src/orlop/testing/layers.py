"""Layer archives, well formed or hostile, made byte by byte for tests.

Two levels. ``Entry`` and the functions named after kinds of files (``file``,
``directory``, ``symlink``, …) describe what an honest archiver would write;
``tar_bytes`` turns them into an archive. Below that, ``header``, ``pax_record``
and ``extension`` make single blocks in which every field can be wrong; such
bytes may stand between entries.

The formats are those of pax(1) (POSIX ustar and pax interchange format) and of
the GNU tar manual (``L``/``K`` records, base-256 numbers, sparse members). The
output depends on the arguments only. This module never reads an archive and
never touches the file system.
"""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from orlop.model.mediatype import Compression

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Format = Literal["ustar", "pax", "gnu"]
SparseFormat = Literal["gnu", "0.0", "0.1", "1.0"]
Region = tuple[int, int]
"""Offset and length of a piece of a sparse file that holds data."""

BLOCK = 512
TRAILER = bytes(2 * BLOCK)
"""Two zero blocks: the end of an archive."""

REGULAR = b"0"
HARD_LINK = b"1"
SYMLINK = b"2"
CHAR_DEVICE = b"3"
BLOCK_DEVICE = b"4"
DIRECTORY = b"5"
FIFO = b"6"
CONTIGUOUS = b"7"
PAX_NEXT = b"x"
PAX_GLOBAL = b"g"
GNU_LONG_NAME = b"L"
GNU_LONG_LINK = b"K"
GNU_SPARSE = b"S"

USTAR_MAGIC = b"ustar\x0000"
GNU_MAGIC = b"ustar  \x00"

_NAME_SIZE = 100
_PREFIX_SIZE = 155


@dataclass(frozen=True, slots=True)
class Sparse:
    """How a sparse member stores its file.

    The entry's ``data`` is what the regions hold, one after the other. GNU tar
    starts every region on a block of its own: keep all regions but the last a
    multiple of 512 bytes long unless an archive is meant to be odd.

    Attributes:
        format: ``gnu`` is the old typeflag ``S``; the others are PAX records.
        regions: taken as they are, in this order.
        real_size: length of the file when it is extracted.
    """

    format: SparseFormat
    regions: tuple[Region, ...]
    real_size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of an archive.

    Attributes:
        typeflag: one byte; the constants of this module name the usual ones.
        mtime_ns: nanoseconds since the epoch; whole seconds except in pax.
        size: what the header claims; None means the length of ``data``.
        xattrs: name to value, written as ``SCHILY.xattr.`` records (pax only).
        pax: further PAX records, in this order (pax only).
    """

    path: bytes
    typeflag: bytes = REGULAR
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    data: bytes = b""
    link: bytes = b""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    major: int = 0
    minor: int = 0
    format: Format = "pax"
    sparse: Sparse | None = None
    size: int | None = None
    pax: tuple[tuple[bytes, bytes], ...] = ()


def file(path: str | bytes, data: bytes = b"", *, mode: int = 0o644, uid: int = 0) -> Entry:
    """A regular file, owned by user and group ``uid``."""
    return Entry(_bytes(path), data=data, mode=mode, uid=uid, gid=uid)


def directory(path: str | bytes, *, mode: int = 0o755, uid: int = 0) -> Entry:
    """A directory, owned by user and group ``uid``; its name gets the usual slash."""
    name = _bytes(path).rstrip(b"/") + b"/"
    return Entry(name, DIRECTORY, mode=mode, uid=uid, gid=uid)


def symlink(path: str | bytes, target: str | bytes) -> Entry:
    """A symbolic link."""
    return Entry(_bytes(path), SYMLINK, mode=0o777, link=_bytes(target))


def hard_link(path: str | bytes, target: str | bytes) -> Entry:
    """One more name for the file ``target``, a path from the archive's root."""
    return Entry(_bytes(path), HARD_LINK, link=_bytes(target))


def device(path: str | bytes, typeflag: bytes = CHAR_DEVICE, *, major: int, minor: int) -> Entry:
    """A device: ``CHAR_DEVICE`` or ``BLOCK_DEVICE``."""
    return Entry(_bytes(path), typeflag, mode=0o600, major=major, minor=minor)


def fifo(path: str | bytes) -> Entry:
    """A named pipe."""
    return Entry(_bytes(path), FIFO)


def whiteout(path: str | bytes) -> Entry:
    """Deletes ``path`` of the layers below (image spec, layer.md, "Whiteouts")."""
    parent, slash, name = _bytes(path).rpartition(b"/")
    return Entry(parent + slash + b".wh." + name)


def opaque(path: str | bytes = b"") -> Entry:
    """Hides what the layers below have in the directory ``path``; "" is the root."""
    parent = _bytes(path).rstrip(b"/")
    return Entry((parent + b"/" if parent else b"") + b".wh..wh..opq")


def sparse_file(
    path: str | bytes,
    content: bytes,
    regions: Sequence[Region],
    *,
    format: SparseFormat,  # noqa: A002  (the field's word)
) -> Entry:
    """A well-formed sparse file: ``content`` with holes outside ``regions``.

    A file that ends in a hole gets the empty last region that GNU tar expects.
    """
    stored = list(regions)
    if not stored or sum(stored[-1]) < len(content):
        stored.append((len(content), 0))
    data = b"".join(content[offset : offset + length] for offset, length in stored)
    sparse = Sparse(format, tuple(stored), len(content))
    member: Format = "gnu" if format == "gnu" else "pax"
    return Entry(_bytes(path), data=data, sparse=sparse, format=member)


def tar_bytes(entries: Iterable[Entry | bytes], *, trailer: bool = True) -> bytes:
    """An uncompressed archive; ``bytes`` among the entries go in as they are.

    Raises:
        ValueError: an entry says what its format cannot hold.
    """
    parts = [item if isinstance(item, bytes) else entry_bytes(item) for item in entries]
    return b"".join(parts) + (TRAILER if trailer else b"")


def entry_bytes(entry: Entry) -> bytes:
    """All blocks of one entry: extension records, header and padded data.

    Raises:
        ValueError: the entry says what its format cannot hold.
    """
    if entry.format == "pax":
        return _pax_entry(entry)
    if entry.xattrs or entry.pax:
        raise ValueError(f"{entry.path!r}: extended attributes and PAX records need format pax")
    if entry.format == "gnu":
        return _gnu_entry(entry)
    if entry.sparse:
        raise ValueError(f"{entry.path!r}: ustar has no sparse members")
    name, prefix = _split(entry.path)
    return _header_of(entry, name, prefix=prefix) + padded(entry.data)


def header(
    name: bytes,
    *,
    typeflag: bytes = REGULAR,
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    size: int | bytes = 0,
    mtime: int | bytes = 0,
    checksum: int | bytes | None = None,
    link: bytes = b"",
    magic: bytes = USTAR_MAGIC,
    uname: bytes = b"",
    gname: bytes = b"",
    major: int | bytes = 0,
    minor: int | bytes = 0,
    prefix: bytes = b"",
) -> bytes:
    """One header block, of which every field can be chosen.

    A number that is given as bytes goes into its field as it is; one that does
    not fit in octal is written in GNU's base 256. Without ``checksum`` the right
    one is computed. ``prefix`` is everything from byte 345 on: ustar's name
    prefix, or GNU's own fields.

    Raises:
        ValueError: a text is longer than its field.
    """
    before = b"".join(
        (
            _text(name, _NAME_SIZE),
            number(mode, 8),
            number(uid, 8),
            number(gid, 8),
            number(size, 12),
            number(mtime, 12),
        )
    )
    after = b"".join(
        (
            _text(typeflag, 1),
            _text(link, _NAME_SIZE),
            _text(magic, 8),
            _text(uname, 32),
            _text(gname, 32),
            number(major, 8),
            number(minor, 8),
            _text(prefix, 167),
        )
    )
    if checksum is None:
        checksum = sum(before) + sum(after) + 8 * ord(" ")
    field_ = checksum if isinstance(checksum, bytes) else b"%06o\x00 " % checksum
    return before + _text(field_, 8) + after


def number(value: int | bytes, width: int) -> bytes:
    """A numeric field: octal with a NUL at the end, or base 256 when that is too short."""
    if isinstance(value, bytes):
        return _text(value, width)
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\x00" % (width - 1, value)
    return base256(value, width)


def base256(value: int, width: int) -> bytes:
    """GNU's binary number: two's complement, big endian, marked in the first byte.

    Raises:
        ValueError: the value needs more than ``width`` bytes.
    """
    try:
        raw = value.to_bytes(width, "big", signed=True)
    except OverflowError as error:
        raise ValueError(f"{value} needs more than {width} bytes") from error
    return bytes((raw[0] | 0x80,)) + raw[1:]


def pax_record(key: bytes, value: bytes) -> bytes:
    """One record, ``LENGTH KEY=VALUE`` and a newline; the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    while rest + len(str(length)) != length:
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def pax_records(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The body of a PAX header."""
    return b"".join(pax_record(key, value) for key, value in records)


def extension(typeflag: bytes, body: bytes, *, name: bytes = b"././@LongLink") -> bytes:
    """A header of type ``x``, ``g``, ``L``, ``K`` (or any other) with its padded body."""
    magic = GNU_MAGIC if typeflag in {GNU_LONG_NAME, GNU_LONG_LINK} else USTAR_MAGIC
    return header(name, typeflag=typeflag, size=len(body), magic=magic) + padded(body)


def padded(data: bytes) -> bytes:
    """``data`` with NULs up to the end of its last block."""
    return data + bytes(-len(data) % BLOCK)


def compress(data: bytes, kind: Compression = Compression.GZIP, *, members: int = 1) -> bytes:
    """A layer blob; gzip carries neither time nor name.

    The data is spread over ``members`` gzip members or zstd frames of about the same
    length, one after the other.

    Raises:
        ValueError: no members, or several of uncompressed data.
    """
    if members < 1 or (kind is Compression.NONE and members > 1):
        raise ValueError(f"cannot write {members} members of kind {kind.name}")
    if kind is Compression.NONE:
        return data
    cuts = [len(data) * i // members for i in range(members + 1)]
    write = _gzip_member if kind is Compression.GZIP else zstd.compress
    return b"".join(write(data[start:end]) for start, end in pairwise(cuts))


def _gzip_member(data: bytes) -> bytes:
    compressor = zlib.compressobj(level=6, wbits=31)
    return compressor.compress(data) + compressor.flush()


def _pax_entry(entry: Entry) -> bytes:
    records: list[tuple[bytes, bytes]] = []
    name, data = entry.path, entry.data
    if entry.sparse:
        records, name, data = _pax_sparse(entry, entry.sparse)
    try:
        if not name.isascii():
            raise ValueError("only ASCII names are portable in ustar")
        name, prefix = _split(name)
    except ValueError:
        records.append((b"path", name))
        name, prefix = name[:_NAME_SIZE], b""
    link = entry.link
    if len(link) > _NAME_SIZE or not link.isascii():
        records.append((b"linkpath", link))
        link = link[:_NAME_SIZE]
    size = len(data) if entry.size is None else entry.size
    seconds, fraction = divmod(entry.mtime_ns, 10**9)
    numbers = {b"uid": (entry.uid, 7), b"gid": (entry.gid, 7), b"size": (size, 11)}
    for key, (value, digits) in numbers.items():
        if not 0 <= value < 8**digits:
            records.append((key, b"%d" % value))
    if fraction or not 0 <= seconds < 8**11:
        records.append((b"mtime", _decimal(entry.mtime_ns)))
    records += [(b"SCHILY.xattr." + key.encode(), value) for key, value in entry.xattrs.items()]
    records += entry.pax
    block = header(
        name,
        typeflag=entry.typeflag,
        mode=entry.mode,
        uid=entry.uid if 0 <= entry.uid < 8**7 else 0,
        gid=entry.gid if 0 <= entry.gid < 8**7 else 0,
        size=size if 0 <= size < 8**11 else 0,
        mtime=seconds if 0 <= seconds < 8**11 else 0,
        link=link,
        major=entry.major,
        minor=entry.minor,
        prefix=prefix,
    )
    if records:
        last = entry.path.rstrip(b"/").rpartition(b"/")[2]
        own_name = (b"PaxHeaders/" + last)[:_NAME_SIZE]
        block = extension(PAX_NEXT, pax_records(records), name=own_name) + block
    return block + padded(data)


def _pax_sparse(entry: Entry, sparse: Sparse) -> tuple[list[tuple[bytes, bytes]], bytes, bytes]:
    """PAX records, name and data of a sparse member."""
    size = b"%d" % sparse.real_size
    count = b"%d" % len(sparse.regions)
    flat = [b"%d" % value for region in sparse.regions for value in region]
    if sparse.format == "0.0":
        records = [(b"GNU.sparse.size", size), (b"GNU.sparse.numblocks", count)]
        for offset, length in sparse.regions:
            records.append((b"GNU.sparse.offset", b"%d" % offset))
            records.append((b"GNU.sparse.numbytes", b"%d" % length))
        return records, entry.path, entry.data
    parent, slash, last = entry.path.rpartition(b"/")
    placeholder = parent + slash + b"GNUSparseFile.0/" + last
    if sparse.format == "0.1":
        records = [
            (b"GNU.sparse.size", size),
            (b"GNU.sparse.numblocks", count),
            (b"GNU.sparse.name", entry.path),
            (b"GNU.sparse.map", b",".join(flat)),
        ]
        return records, placeholder, entry.data
    if sparse.format == "1.0":
        records = [
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", entry.path),
            (b"GNU.sparse.realsize", size),
        ]
        table = b"".join(value + b"\n" for value in [count, *flat])
        return records, placeholder, padded(table) + entry.data
    raise ValueError(f"{entry.path!r}: sparse format gnu needs member format gnu")


def _gnu_entry(entry: Entry) -> bytes:
    long = b""
    if len(entry.link) > _NAME_SIZE:
        long += extension(GNU_LONG_LINK, entry.link + b"\x00")
    if len(entry.path) > _NAME_SIZE:
        long += extension(GNU_LONG_NAME, entry.path + b"\x00")
    name, link = entry.path[:_NAME_SIZE], entry.link[:_NAME_SIZE]
    if entry.sparse is None:
        return long + _header_of(entry, name, link=link, magic=GNU_MAGIC) + padded(entry.data)
    if entry.sparse.format != "gnu":
        raise ValueError(f"{entry.path!r}: PAX sparse formats need member format pax")
    fields, more = _gnu_sparse_map(entry.sparse)
    block = _header_of(entry, name, link=link, magic=GNU_MAGIC, prefix=fields, typeflag=GNU_SPARSE)
    return long + block + more + padded(entry.data)


def _gnu_sparse_map(sparse: Sparse) -> tuple[bytes, bytes]:
    """GNU's fields from byte 345 on, and the extension blocks after the header."""
    cells = [number(offset, 12) + number(length, 12) for offset, length in sparse.regions]
    first, rest = cells[:4], cells[4:]
    fields = bytes(41) + _text(b"".join(first), 96)
    fields += (b"\x01" if rest else b"\x00") + number(sparse.real_size, 12)
    more = b""
    while rest:
        cells, rest = rest[:21], rest[21:]
        more += _text(_text(b"".join(cells), 504) + (b"\x01" if rest else b""), BLOCK)
    return fields, more


def _header_of(
    entry: Entry,
    name: bytes,
    *,
    link: bytes | None = None,
    magic: bytes = USTAR_MAGIC,
    prefix: bytes = b"",
    typeflag: bytes | None = None,
) -> bytes:
    return header(
        name,
        typeflag=entry.typeflag if typeflag is None else typeflag,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=len(entry.data) if entry.size is None else entry.size,
        mtime=entry.mtime_ns // 10**9,
        link=entry.link if link is None else link,
        magic=magic,
        major=entry.major,
        minor=entry.minor,
        prefix=prefix,
    )


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Name and prefix, as ustar divides a long path."""
    if len(path) <= _NAME_SIZE:
        return path, b""
    start = len(path) - _NAME_SIZE - 1
    cut = path.find(b"/", max(start, 1), len(path) - 1)
    if cut < 0 or cut > _PREFIX_SIZE:
        raise ValueError(f"{path!r}: too long for ustar")
    return path[cut + 1 :], path[:cut]


def _decimal(nanoseconds: int) -> bytes:
    """Seconds with a fraction, as PAX writes times."""
    sign = b"-" if nanoseconds < 0 else b""
    seconds, fraction = divmod(abs(nanoseconds), 10**9)
    return sign + b"%d.%09d" % (seconds, fraction)


def _text(value: bytes, width: int) -> bytes:
    if len(value) > width:
        raise ValueError(f"{value!r} is longer than its field of {width} bytes")
    return value.ljust(width, b"\x00")


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
