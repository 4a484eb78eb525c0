"""A checksum of a file's bytes that finds what a disk loses, for next to no time.

64 bits: CRC-32 above Adler-32, which fail on different errors. It finds flipped bits,
lost and misplaced writes and cut files; it is no defence against somebody who wants
two files to have the same one. Both sums run at memory speed, and both can step over a
hole without reading it. Pure.

Source: RFC 1950 and RFC 1952; ISO 3309 for the polynomial.
"""

from __future__ import annotations

from typing import Final

from isal.isal_zlib import adler32, crc32, crc32_combine

_MODULUS: Final = 65521  # Adler-32's
_HALF: Final = 0xFFFF


class Checksum:
    """The checksum of a file that is being read or written from its beginning."""

    __slots__ = ("_adler", "_crc")

    def __init__(self) -> None:
        self._crc = 0
        self._adler = 1

    @property
    def value(self) -> int:
        """The checksum of all bytes so far, in 64 bits."""
        return self._crc << 32 | self._adler

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes."""
        self._crc = crc32(data, self._crc)
        self._adler = adler32(data, self._adler)

    def skip(self, length: int) -> None:
        """Append so many zeros; takes no longer for a long hole than for a short one."""
        low, high = self._adler & _HALF, self._adler >> 16
        self._adler = (high + length * low) % _MODULUS << 16 | low
        zeros, size = crc32(b"\0"), 1
        while length:
            if length & 1:
                self._crc = crc32_combine(self._crc, zeros, size)
            zeros, size, length = crc32_combine(zeros, zeros, size), size * 2, length >> 1
