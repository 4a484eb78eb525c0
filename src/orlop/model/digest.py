"""Content digests: the name of some bytes, computed from the bytes.

A ``Digest`` is checked when it is made, so paths, database keys and messages can
use its parts without looking again. Comparing bytes with a digest is the work of
whoever reads the bytes.

Grammar: OCI image specification, descriptor.md, "Digests".
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from orlop.errors import InvalidReference
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

HEX_LENGTHS: Final[Mapping[str, int]] = MappingProxyType({"sha256": 64, "sha512": 128})
"""The registered algorithms, and how many hex digits each makes."""

_SHORT: Final = 12
_HEX: Final = re.compile(r"[0-9a-f]+")


class Hasher(Protocol):
    """The part of hashlib's objects that is used here."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Lower-case hex of everything that was added."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The digest of some bytes; sorts and hashes as its text does.

    Attributes:
        algorithm: ``sha256`` or ``sha512``.
        hex: lower-case hex, exactly as long as the algorithm makes it.

    Raises:
        InvalidReference: the parts make no digest.
    """

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        length = _hex_length(self.algorithm)
        if len(self.hex) != length:
            raise InvalidReference(
                f"digest {quote(str(self))} has {len(self.hex)} hex digits,"
                f" {self.algorithm} has {length}"
            )
        if _HEX.fullmatch(self.hex) is None:
            raise InvalidReference(f"digest {quote(str(self))} is not lower-case hex")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``algorithm:hex``.

        Raises:
            InvalidReference: another form, an unknown algorithm, upper case, or a wrong length.
        """
        algorithm, colon, encoded = text.partition(":")
        if not colon:
            raise InvalidReference(f"digest {quote(text)} has no algorithm before a colon")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview, algorithm: str = "sha256") -> Digest:
        """Compute the digest of ``data``.

        Raises:
            InvalidReference: the algorithm is not supported.
        """
        _hex_length(algorithm)
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def hasher(self) -> Hasher:
        """Make a new, empty hash object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    @property
    def short(self) -> str:
        """The first 12 hex digits, for tables on a screen; names nothing for sure."""
        return self.hex[:_SHORT]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def is_hex(algorithm: str, text: str) -> bool:
    """True when the text would be the hex of a digest of this algorithm; makes none."""
    return len(text) == HEX_LENGTHS.get(algorithm) and _HEX.fullmatch(text) is not None


def _hex_length(algorithm: str) -> int:
    length = HEX_LENGTHS.get(algorithm)
    if length is None:
        raise InvalidReference(
            f"unsupported digest algorithm {quote(algorithm)}",
            hint=f"use {' or '.join(HEX_LENGTHS)}",
        )
    return length
