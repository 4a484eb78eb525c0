"""Tar, as image layers use it: a state machine that is fed bytes and yields entries.

Understands ustar, PAX (POSIX.1-2001), GNU long names and links, base-256
numbers, and the sparse formats of GNU tar (old ``S``, PAX 0.0, 0.1 and 1.0).
Sources: POSIX.1-2017 ``pax``, the GNU tar manual ("Basic Tar Format", "Storing
Sparse Files"), OCI image-spec ``layer.md``.

It is strict where two parsers could see two archives in the same bytes: what
is malformed is refused with ``ArchiveInvalid``, never skipped. It looks at no
file system and judges no path; that is ``orlop.model.layerpath``'s part.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from zlib import adler32

from orlop.errors import ArchiveInvalid, LimitExceeded
from orlop.model import pax, sparse, tarnumber
from orlop.model.layerpath import shown
from orlop.model.limits import DEFAULTS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 512

REGULAR = 0x30
HARD_LINK = 0x31
SYMLINK = 0x32
CHARACTER_DEVICE = 0x33
BLOCK_DEVICE = 0x34
DIRECTORY = 0x35
FIFO = 0x36

_OLD_REGULAR = 0x00
_CONTIGUOUS = 0x37
_GNU_LONG_LINK = 0x4B
_GNU_LONG_NAME = 0x4C
_GNU_SPARSE = 0x53
_PAX_GLOBAL = 0x67
_PAX = 0x78

_EXTENSIONS = frozenset({_GNU_LONG_LINK, _GNU_LONG_NAME, _PAX_GLOBAL, _PAX})
_WITHOUT_DATA = frozenset(range(HARD_LINK, FIFO + 1))

# name mode uid gid size mtime checksum type link magic version user group major minor prefix pad
_HEADER = struct.Struct("100s8s8s8s12s12s8sB100s6s2s32s32s8s8s155s12s")
_ZERO_BLOCK = bytes(BLOCK)
_SPACES = 8 * 0x20

_MAX_ID = 2**32 - 2
_MAX_SIZE = 2**63 - 1
_MAX_MTIME = 2**33
_MAX_MAJOR = 2**12 - 1
_MAX_MINOR = 2**20 - 1
_NANOSECONDS = 1_000_000_000
_KEPT_NUMBERS = 4096


class Entry:
    """One member of an archive.

    Attributes:
        path: as written, without trailing NULs.
        type: one of the constants of this module.
        mode: permission bits with setuid, setgid and sticky (0 to 0o7777).
        uid, gid: 0 to 2**32 - 2.
        mtime: nanoseconds since the epoch, 0 to 2**33 seconds.
        size: bytes of data that follow in the stream.
        link: target of a link, as written; empty otherwise.
        major, minor: of a device.
        xattrs: extended attributes, or None.
        sparse: regions of data as (offset, length), in order, or None.
        real_size: length of the file; differs from ``size`` only when sparse.
    """

    __slots__ = (
        "gid",
        "link",
        "major",
        "minor",
        "mode",
        "mtime",
        "path",
        "real_size",
        "size",
        "sparse",
        "type",
        "uid",
        "xattrs",
    )

    def __init__(self, path: bytes, type_: int, size: int) -> None:
        self.path = path
        self.type = type_
        self.mode = 0
        self.uid = 0
        self.gid = 0
        self.mtime = 0
        self.size = size
        self.link = b""
        self.major = 0
        self.minor = 0
        self.xattrs: dict[bytes, bytes] | None = None
        self.sparse: tuple[tuple[int, int], ...] | None = None
        self.real_size = size

    def __repr__(self) -> str:
        return f"Entry({self.path!r}, type={chr(self.type)!r}, size={self.size})"


class TarParser:
    """Turns the bytes of one archive into entries and their data.

    Feed it chunks of any length. ``feed`` yields an ``Entry`` where a member
    begins, then ``memoryview`` pieces of its data (views of the chunk: use
    them before the next one is fed) which add up to ``entry.size``. Call
    ``close`` at the end of the stream.

    After the two zero blocks that end an archive everything is ignored, as
    long as it is fed; the caller hashes and counts it.
    """

    def __init__(self, limits: Limits = DEFAULTS) -> None:
        self._limits = limits
        self._carry = b""  # less than one block, or the start of a sparse map
        self._data = 0  # bytes of the current member's data still to come
        self._padding = 0
        self._zero_blocks = 0
        self._ended = False
        self._entries = 0
        self._numbers: dict[bytes, int] = {}
        # Extension headers wait here for the member that they describe.
        self._extension: bytearray | None = None
        self._extension_type = 0
        self._extension_size = 0
        self._pax: pax.Records | None = None
        self._long_name: bytes | None = None
        self._long_link: bytes | None = None
        # A sparse member whose map has not been read completely.
        self._sparse_entry: Entry | None = None
        self._sparse_map = bytearray()
        self._sparse_old = False

    @property
    def ended(self) -> bool:
        """True when the end-of-archive mark has been seen."""
        return self._ended

    @property
    def entries(self) -> int:
        """How many members have begun."""
        return self._entries

    def feed(self, chunk: bytes | bytearray | memoryview) -> Iterator[Entry | memoryview]:
        """Parse the next bytes; see the class.

        Raises:
            ArchiveInvalid: the bytes are no archive.
            LimitExceeded: too many members, or an extension header is too long.
        """
        view = memoryview(chunk)
        end = len(view)
        at = 0
        while at < end and not self._ended:
            if self._data:
                length = min(self._data, end - at)
                piece = view[at : at + length]
                at += length
                self._data -= length
                if self._extension is not None:
                    self._extension += piece
                    if not self._data:
                        self._extension_complete()
                else:
                    yield piece
                continue
            if self._padding:
                skipped = min(self._padding, end - at)
                self._padding -= skipped
                at += skipped
                continue
            if self._carry or end - at < BLOCK:
                taken = min(BLOCK - len(self._carry), end - at)
                self._carry += bytes(view[at : at + taken])
                at += taken
                if len(self._carry) < BLOCK:
                    return
                block, self._carry = self._carry, b""
            else:
                block = bytes(view[at : at + BLOCK])
                at += BLOCK
            entry = self._sparse_block(block) if self._sparse_entry else self._header(block)
            if entry is not None:
                yield entry

    def skip(self) -> int:
        """Leave out the data of the member that has just begun; everything fed is used up.

        Returns:
            How many bytes of the archive the caller passes over before it feeds on.
        """
        count = self._data + self._padding
        self._data = self._padding = 0
        return count

    def close(self) -> None:
        """Say that the stream has ended.

        A missing end-of-archive mark is accepted when the stream ends between
        two members, as other readers do.

        Raises:
            ArchiveInvalid: the stream ended inside a member.
        """
        if self._ended:
            return
        if self._data or self._padding or self._carry or self._sparse_entry:
            raise ArchiveInvalid("layer archive is truncated: it ends inside a member")
        if self._pending():
            raise ArchiveInvalid("layer archive is truncated: an extension header has no member")

    def _pending(self) -> bool:
        return self._pax is not None or self._long_name is not None or self._long_link is not None

    def _header(self, block: bytes) -> Entry | None:
        if block == _ZERO_BLOCK:
            if self._pending():
                raise ArchiveInvalid(
                    "layer archive is malformed: an extension header has no member"
                )
            self._zero_blocks += 1
            self._ended = self._zero_blocks == 2
            return None
        if self._zero_blocks:
            raise ArchiveInvalid("layer archive is malformed: a lone zero block between members")
        fields = _HEADER.unpack(block)
        self._verify_checksum(block, fields[6])
        type_ = fields[7]
        size = self._number(fields[4], "size", _MAX_SIZE)
        if type_ in _EXTENSIONS:
            self._begin_extension(type_, size)
            return None
        return self._member(block, fields, type_, size)

    def _verify_checksum(self, block: bytes, field: bytes) -> None:
        stored = tarnumber.octal(field)
        if not stored:
            raise ArchiveInvalid("layer archive is malformed: a header without checksum")
        # Adler-32's low half is 1 + the sum, exact as long as all bytes are ASCII.
        total = (adler32(block) & 0xFFFF) - 1 if block.isascii() else sum(block)
        total += _SPACES - sum(field)
        if stored == total:
            return
        # Some old writers summed signed bytes.
        signed = total - 256 * sum(1 for byte in block if byte > 127)
        if stored != signed + 256 * sum(1 for byte in field if byte > 127):
            raise ArchiveInvalid("layer archive is malformed: wrong header checksum")

    def _number(self, field: bytes, what: str, maximum: int) -> int:
        """A numeric field, octal or base-256, within 0..maximum."""
        known = self._numbers.get(field)
        if known is not None and known <= maximum:
            return known
        value = tarnumber.number(field, what, maximum)
        if len(self._numbers) >= _KEPT_NUMBERS:
            self._numbers.clear()
        self._numbers[field] = value
        return value

    def _mtime(self, field: bytes) -> int:
        """The header's time in ns, clamped to 0..2**33 s (GNU tar writes times before 1970)."""
        seconds = (
            tarnumber.base256(field) if field[0] & 0x80 else self._number(field, "mtime", _MAX_SIZE)
        )
        return min(max(seconds, 0), _MAX_MTIME) * _NANOSECONDS

    def _begin_extension(self, type_: int, size: int) -> None:
        if size > self._limits.tar_extension_bytes:
            raise LimitExceeded(
                f"layer archive has an extension header of {size} bytes,"
                f" more than {self._limits.tar_extension_bytes}",
                limit="tar_extension_bytes",
            )
        if self._pax is not None:
            raise ArchiveInvalid(
                "layer archive is malformed: an extension header follows a PAX one"
            )
        self._extension = bytearray()
        self._extension_type = type_
        self._data = size
        self._padding = -size % BLOCK
        if not size:
            self._extension_complete()

    def _extension_complete(self) -> None:
        assert self._extension is not None
        content, self._extension = bytes(self._extension), None
        type_ = self._extension_type
        if type_ == _PAX:
            self._pax = pax.parse(content, self._limits)
        elif type_ == _PAX_GLOBAL:
            if self._pending():
                raise ArchiveInvalid("layer archive is malformed: a global header inside a member")
            pax.check_global(content)
        elif type_ == _GNU_LONG_NAME:
            if self._long_name is not None:
                raise ArchiveInvalid("layer archive is malformed: two long names for one member")
            self._long_name = _long(content)
        else:
            if self._long_link is not None:
                raise ArchiveInvalid("layer archive is malformed: two long links for one member")
            self._long_link = _long(content)

    def _member(
        self, block: bytes, fields: tuple[bytes, ...], type_: int, size: int
    ) -> Entry | None:
        self._entries += 1
        if self._entries > self._limits.layer_entries:
            raise LimitExceeded(
                f"layer archive has more than {self._limits.layer_entries} members",
                limit="layer_entries",
            )
        name = fields[0]
        cut = name.find(b"\0")
        path = name if cut < 0 else name[:cut]
        if fields[9] == b"ustar\0" and fields[15][0]:
            path = fields[15].partition(b"\0")[0] + b"/" + path
        if type_ == _OLD_REGULAR:
            # Only version 7 archives mark directories by a slash; they have no extensions.
            is_directory = path.endswith(b"/") and not self._pending()
            type_ = DIRECTORY if is_directory else REGULAR
        elif type_ == _CONTIGUOUS:
            type_ = REGULAR
        elif type_ == _GNU_SPARSE:
            if fields[9] != b"ustar ":
                raise ArchiveInvalid("layer archive is malformed: sparse member without GNU magic")
        elif not REGULAR <= type_ <= FIFO:
            raise ArchiveInvalid(f"layer archive is malformed: unknown member type {type_:#04x}")
        entry = Entry(path, type_, size)
        entry.mode = self._number(fields[1], "mode", 2**31) & 0o7777
        entry.uid = self._number(fields[2], "uid", _MAX_SIZE)
        entry.gid = self._number(fields[3], "gid", _MAX_SIZE)
        entry.mtime = self._mtime(fields[5])
        if type_ in (HARD_LINK, SYMLINK):
            entry.link = fields[8].partition(b"\0")[0]
        elif type_ in (CHARACTER_DEVICE, BLOCK_DEVICE):
            entry.major = self._number(fields[13], "device major", _MAX_MAJOR)
            entry.minor = self._number(fields[14], "device minor", _MAX_MINOR)
        if self._pending():
            self._apply_extensions(entry)
        if entry.uid > _MAX_ID or entry.gid > _MAX_ID:
            raise ArchiveInvalid(
                f"layer archive is malformed: owner of {shown(entry.path)} out of range"
            )
        return self._begin_data(entry, block)

    def _apply_extensions(self, entry: Entry) -> None:
        records = self._pax or pax.Records()
        if None not in (self._long_name, records.path) or None not in (
            self._long_link,
            records.link,
        ):
            raise ArchiveInvalid("layer archive is malformed: one member has two long names")
        path = self._long_name or records.path
        link = self._long_link or records.link
        self._long_name = self._long_link = self._pax = None
        if path is not None:
            entry.path = path
        if link is not None and entry.type in (HARD_LINK, SYMLINK):
            entry.link = link
        if records.size is not None:
            entry.size = entry.real_size = records.size
        if records.uid is not None:
            entry.uid = records.uid
        if records.gid is not None:
            entry.gid = records.gid
        if records.mtime is not None:
            entry.mtime = min(max(records.mtime, 0), _MAX_MTIME * _NANOSECONDS)
        entry.xattrs = records.xattrs
        if records.sparse is not None:
            self._apply_pax_sparse(entry, records.sparse)

    def _apply_pax_sparse(self, entry: Entry, described: pax.Sparse) -> None:
        if entry.type != REGULAR:
            raise ArchiveInvalid("layer archive is malformed: sparse member that is no file")
        if described.name is not None:
            entry.path = described.name
        entry.real_size = described.real_size
        if described.in_data:
            self._sparse_entry = entry
            self._sparse_old = False
        else:
            _give_regions(entry, described.regions, self._limits)

    def _begin_data(self, entry: Entry, block: bytes) -> Entry | None:
        """Start reading what follows the header; None while a sparse map is still to come."""
        if entry.type in _WITHOUT_DATA and entry.size:
            raise ArchiveInvalid(
                f"layer archive is malformed: {shown(entry.path)} has data but is no regular file"
            )
        if entry.type == _GNU_SPARSE:
            entry.type = REGULAR
            entry.real_size = self._number(block[483:495], "real size", _MAX_SIZE)
            self._sparse_map = bytearray(block[386:482])
            if block[482]:
                self._check_full_map()
                self._sparse_entry = entry
                self._sparse_old = True
                return None
            _give_regions(entry, sparse.slots(self._sparse_map), self._limits)
        elif self._sparse_entry is not None:
            self._sparse_map = bytearray()
            return None
        self._data = entry.size
        self._padding = -entry.size % BLOCK
        return entry

    def _sparse_block(self, block: bytes) -> Entry | None:
        """The next block of a sparse map that stands between header and data."""
        entry = self._sparse_entry
        assert entry is not None
        if self._sparse_old:
            self._sparse_map += block[:504]
            if len(self._sparse_map) > 24 * (self._limits.sparse_regions + 25):
                raise sparse.too_many(self._limits)
            if block[504]:
                self._check_full_map()
                return None
            regions = sparse.slots(self._sparse_map)
            self._padding = -entry.size % BLOCK
        else:
            self._sparse_map += block
            if len(self._sparse_map) > 44 * (self._limits.sparse_regions + 12):
                raise sparse.too_many(self._limits)
            parsed = sparse.map_in_data(self._sparse_map, self._limits)
            if parsed is None:
                return None
            regions = parsed
            if len(self._sparse_map) > entry.size:
                raise ArchiveInvalid(
                    "layer archive is malformed: sparse map longer than its member"
                )
            self._padding = -entry.size % BLOCK
            entry.size -= len(self._sparse_map)
        self._sparse_entry = None
        _give_regions(entry, regions, self._limits)
        self._data = entry.size
        return entry

    def _check_full_map(self) -> None:
        """Some readers stop at the first empty slot, and take what follows for data."""
        if not self._sparse_map[-24:].strip(b"\0"):
            raise ArchiveInvalid("layer archive is malformed: sparse map goes on after its end")


def _long(content: bytes) -> bytes:
    """A GNU long name: one NUL at the end, none inside."""
    text = content.removesuffix(b"\0")
    if not text or b"\0" in text:
        raise ArchiveInvalid("layer archive is malformed: a long name is empty or contains NUL")
    return text


def _give_regions(entry: Entry, regions: tuple[tuple[int, int], ...], limits: Limits) -> None:
    sparse.check(regions, entry.path, entry.size, entry.real_size, limits)
    entry.sparse = regions
