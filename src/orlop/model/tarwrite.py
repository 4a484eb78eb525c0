"""Headers of an archive that is written: the same bytes for the same names and sizes.

Only what archives of images need: regular files, owned by root, of the year 1970.
Source: POSIX.1-2017 ``pax`` (ustar, and pax headers where a field is too small).
"""

from __future__ import annotations

from typing import Final

from orlop.model.tar import BLOCK

END: Final = bytes(2 * BLOCK)
"""What closes an archive."""

_NAME_BYTES: Final = 100
_MAX_OCTAL: Final = 8**11 - 1
_CHECKSUM: Final = slice(148, 156)
_REGULAR: Final = b"0"
_PAX: Final = b"x"
_PAX_NAME: Final = "pax"


def header(name: str, size: int) -> bytes:
    """All that comes before a file's data.

    Args:
        name: of the member, ASCII.
        size: of its data in bytes.
    """
    records = b""
    if len(name) > _NAME_BYTES:
        records += _record("path", name)
    if size > _MAX_OCTAL:
        records += _record("size", str(size))
    if not records:
        return _block(name, size, _REGULAR)
    extension = _block(_PAX_NAME, len(records), _PAX) + records + padding(len(records))
    return extension + _block(name[:_NAME_BYTES], min(size, _MAX_OCTAL), _REGULAR)


def padding(size: int) -> bytes:
    """What follows ``size`` bytes of data."""
    return bytes(-size % BLOCK)


def _block(name: str, size: int, type_: bytes) -> bytes:
    block = bytearray(BLOCK)
    for at, field in (
        (0, name.encode("ascii")),
        (100, b"0000444\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, b"%011o\0" % size),
        (136, b"%011o\0" % 0),
        (148, b" " * 8),
        (156, type_),
        (257, b"ustar\x0000"),
    ):
        block[at : at + len(field)] = field
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def _record(key: str, value: str) -> bytes:
    """A line ``LENGTH KEY=VALUE``, where LENGTH counts itself."""
    rest = len(f" {key}={value}\n")
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return f"{length} {key}={value}\n".encode("ascii")
