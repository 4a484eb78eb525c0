"""PAX extended headers: the records that describe the next member of an archive.

Source: POSIX.1-2017 ``pax``, "pax Extended Header"; the GNU tar manual for the
``GNU.sparse`` keys; libarchive's and star's manuals for ``SCHILY.xattr``.
A record that is not exactly well formed is refused, never skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.errors import ArchiveInvalid, LimitExceeded
from orlop.model.sparse import too_many
from orlop.model.tarnumber import MAX_DIGITS, decimal

if TYPE_CHECKING:
    from orlop.model.limits import Limits

_XATTR = b"SCHILY.xattr."
_NANO_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Sparse:
    """What PAX records say about a sparse member.

    ``in_data``: the map stands at the start of the member's data (format 1.0).
    """

    name: bytes | None
    real_size: int
    regions: tuple[tuple[int, int], ...]
    in_data: bool


@dataclass(slots=True)
class Records:
    """The records that matter to a layer; None where there was none. ``mtime`` in ns."""

    path: bytes | None = None
    link: bytes | None = None
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime: int | None = None
    xattrs: dict[bytes, bytes] | None = None
    sparse: Sparse | None = None


def parse(content: bytes, limits: Limits) -> Records:
    """Read a whole extended header.

    Raises:
        ArchiveInvalid: a record is malformed.
        LimitExceeded: an extended attribute or a sparse map is too large.
    """
    records = Records()
    sparse: list[tuple[bytes, bytes]] = []
    for key, value in _split(content):
        if key == b"path":
            records.path = _name(value, "path")
        elif key == b"linkpath":
            records.link = _name(value, "linkpath")
        elif key == b"size":
            records.size = decimal(value, "PAX size")
        elif key == b"uid":
            records.uid = decimal(value, "PAX uid")
        elif key == b"gid":
            records.gid = decimal(value, "PAX gid")
        elif key == b"mtime":
            records.mtime = _time(value)
        elif key.startswith(_XATTR):
            if records.xattrs is None:
                records.xattrs = {}
            _add_xattr(records.xattrs, key[len(_XATTR) :], value, limits)
        elif key.startswith(b"GNU.sparse."):
            sparse.append((key[len(b"GNU.sparse.") :], value))
    if sparse:
        records.sparse = _sparse(sparse, limits)
    return records


def check_global(content: bytes) -> None:
    """Read a global header, in which only comments are allowed.

    Git writes one with the commit's name. Anything else would change what
    every later member means, which no layer needs.

    Raises:
        ArchiveInvalid: it is malformed or holds more than comments.
    """
    for key, _ in _split(content):
        if key != b"comment":
            raise ArchiveInvalid(
                f"layer archive is malformed: global header sets {_shown(key)} for all members"
            )


def _split(content: bytes) -> list[tuple[bytes, bytes]]:
    """Records of the form ``LENGTH KEY=VALUE NEWLINE``; the length counts all of it."""
    records = []
    at = 0
    end = len(content)
    while at < end:
        space = content.find(b" ", at, at + MAX_DIGITS)
        digits = content[at:space] if space > 0 else b""
        if not digits.isdigit():
            raise ArchiveInvalid("layer archive is malformed: PAX record without length")
        length = int(digits)
        if length < 5 or at + length > end or content[at + length - 1] != 0x0A:
            raise ArchiveInvalid("layer archive is malformed: PAX record with a wrong length")
        key, equals, value = content[space + 1 : at + length - 1].partition(b"=")
        if not equals or not key:
            raise ArchiveInvalid("layer archive is malformed: PAX record without a key")
        records.append((key, value))
        at += length
    return records


def _name(value: bytes, what: str) -> bytes:
    if not value or b"\0" in value:
        raise ArchiveInvalid(f"layer archive is malformed: PAX {what} is empty or contains NUL")
    return value


def _time(value: bytes) -> int:
    """Seconds with a fraction, as nanoseconds; digits beyond the ninth are cut."""
    number = value.removeprefix(b"-")
    whole, _, fraction = number.partition(b".")
    if not whole.isdigit() or len(whole) > MAX_DIGITS or (fraction and not fraction.isdigit()):
        raise ArchiveInvalid("layer archive is malformed: PAX mtime is no time")
    nanoseconds = int(fraction[:_NANO_DIGITS].ljust(_NANO_DIGITS, b"0"))
    total: int = int(whole) * 1_000_000_000 + nanoseconds
    return -total if value[:1] == b"-" else total


def _add_xattr(into: dict[bytes, bytes], name: bytes, value: bytes, limits: Limits) -> None:
    if not name or b"\0" in name or b"." not in name:
        raise ArchiveInvalid(f"layer archive is malformed: extended attribute {_shown(name)}")
    long_name = len(name) > limits.xattr_name_bytes
    if long_name or len(value) > limits.xattr_value_bytes:
        raise LimitExceeded(
            f"extended attribute {_shown(name)} is too long"
            f" (name {len(name)}, value {len(value)} bytes)",
            limit="xattr_name_bytes" if long_name else "xattr_value_bytes",
        )
    if len(into) >= limits.xattrs_per_inode and name not in into:
        raise LimitExceeded(
            f"a file has more than {limits.xattrs_per_inode} extended attributes",
            limit="xattrs_per_inode",
        )
    into[name] = value


def _sparse(keys: list[tuple[bytes, bytes]], limits: Limits) -> Sparse:
    """Formats 0.0 (a pair of records a region), 0.1 (one record) and 1.0 (in the data)."""
    single = dict(keys)
    name = single.get(b"name")
    if name is not None:
        name = _name(name, "sparse name")
    size = single.get(b"realsize", single.get(b"size"))
    if size is None:
        raise ArchiveInvalid("layer archive is malformed: sparse member without its size")
    real_size = decimal(size, "sparse size")
    version = (single.get(b"major", b"0"), single.get(b"minor", b"0"))
    if version == (b"1", b"0"):
        return Sparse(name, real_size, (), in_data=True)
    if version not in ((b"0", b"0"), (b"0", b"1")):
        raise ArchiveInvalid("layer archive is malformed: sparse member of an unknown version")
    if b"map" in single:
        text = single[b"map"]
        numbers = [decimal(number, "sparse map") for number in text.split(b",")] if text else []
    else:
        order = [key for key, _ in keys if key in (b"offset", b"numbytes")]
        if order != [b"offset", b"numbytes"] * (len(order) // 2):
            raise ArchiveInvalid("layer archive is malformed: sparse records are out of order")
        numbers = [decimal(v, "sparse map") for k, v in keys if k in (b"offset", b"numbytes")]
    count = single.get(b"numblocks")
    if len(numbers) % 2 or (count is not None and 2 * decimal(count, "count") != len(numbers)):
        raise ArchiveInvalid("layer archive is malformed: sparse map of a wrong length")
    if len(numbers) // 2 > limits.sparse_regions:
        raise too_many(limits)
    return Sparse(name, real_size, tuple(zip(numbers[::2], numbers[1::2], strict=True)), False)


def _shown(name: bytes) -> str:
    """A key for a message: escaped and cut."""
    return repr(name[:80])
