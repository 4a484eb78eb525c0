"""Numbers in tar archives: octal digits or GNU's base 256 in headers, decimal elsewhere.

Sources: POSIX.1-2017 ``pax``, "ustar Interchange Format"; the GNU tar manual,
"Extensions to the tar format".
"""

from __future__ import annotations

from typing import Final

from orlop.errors import ArchiveInvalid

MAX_DIGITS: Final = 20
"""Longest decimal number; one more than any that is in range."""

_MAX_DECIMAL: Final = 2**63 - 1


def number(field: bytes, what: str, maximum: int) -> int:
    """A numeric field; an empty one is 0.

    Raises:
        ArchiveInvalid: it is no number, or not within 0..``maximum``. The message
            calls it ``what``.
    """
    value = base256(field) if field[0] & 0x80 else octal(field)
    if value is None:
        raise ArchiveInvalid(f"layer archive is malformed: {what} {field!r} is no number")
    if not 0 <= value <= maximum:
        raise ArchiveInvalid(f"layer archive is malformed: {what} is out of range")
    return value


def octal(field: bytes) -> int | None:
    """A number in octal digits; 0 when there are none, None when it is malformed."""
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if digits.isdigit() and b"8" not in digits and b"9" not in digits:
        return int(digits, 8)
    return None


def base256(field: bytes) -> int:
    """GNU's binary number: two's complement, of which the first bit is not part."""
    value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value


def decimal(value: bytes | bytearray, what: str) -> int:
    """A number of PAX records and of sparse maps in data.

    Raises:
        ArchiveInvalid: it is no number, or not within 0..2**63 - 1.
    """
    if not value.isdigit() or len(value) > MAX_DIGITS or int(value) > _MAX_DECIMAL:
        raise ArchiveInvalid(f"layer archive is malformed: {what} is no number in range")
    return int(value)
