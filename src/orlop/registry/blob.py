"""The body of one blob: what the head of its answer must say, and the bytes.

Never hashes: the receiver of the bytes does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import RegistryProtocol, RegistryUnavailable, SizeMismatch

if TYPE_CHECKING:
    from orlop.registry.response import Response

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)


class HTTPBlobStream:
    """Implements ``orlop.ports.registry.BlobStream`` on an answer; the opener closes it.

    Args:
        response: its body is untouched.
        subject: what was asked for, to name in a message.
        start: offset of its first byte in the blob.
        end: offset after its last one.
    """

    def __init__(self, response: Response, *, subject: str, start: int, end: int) -> None:
        self._response = response
        self._subject = subject
        self._start = start
        self._position = start
        self._end = end

    @property
    def start(self) -> int:
        """Offset in the blob of the first byte that ``read`` returns."""
        return self._start

    @property
    def end(self) -> int:
        """Offset in the blob after the last byte that ``read`` returns."""
        return self._end

    @property
    def waiting(self) -> int:
        """Bytes that ``read`` returns without waiting for the registry."""
        return self._response.waiting

    async def read(self) -> bytes:
        """The next bytes, a few hundred KiB as a rule; ``b""`` at the end.

        Once the last byte is here nothing more is waited for, but for a moment.

        Raises:
            RegistryUnavailable: the connection broke or ended early.
            SizeMismatch: there are more bytes than the descriptor says; the connection is closed.
        """
        if self._position == self._end:
            if await self._response.at_end():
                return b""
            raise self._too_long()
        data = await self._response.read()
        self._position += len(data)
        if self._position > self._end:
            raise self._too_long()
        if not data:
            self._response.broke()
            raise RegistryUnavailable(
                f"{self._subject}: registry {self._response.host} ended"
                f" after {self._position} of {self._end} bytes"
            )
        return data

    def _too_long(self) -> SizeMismatch:
        self._response.close()
        return SizeMismatch(
            f"{self._subject}: registry {self._response.host} sends more than"
            f" the {self._end} bytes of its descriptor"
        )


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes ``start`` to ``end`` (exclusive) of a blob of ``size`` bytes."""

    start: int
    end: int
    size: int

    @property
    def is_all(self) -> bool:
        """True when it is the whole blob, for which no range is asked."""
        return (self.start, self.end) == (0, self.size)

    @property
    def header(self) -> str:
        """Value of the Range field (RFC 9110 14.2)."""
        return f"bytes={self.start}-{'' if self.end == self.size else self.end - 1}"


def received_range(response: Response, *, subject: str, wanted: Range) -> Range:
    """Check the head of a 200 or 206 answer against the descriptor; what its body is.

    Args:
        response: its body is untouched.
        subject: what was asked for, to name in a message.
        wanted: what was asked for.

    Raises:
        RegistryProtocol: another range, another total, another length, or an encoding
            (RFC 9110 14.4, 15.3.7).
    """
    where = f"{subject}: registry {response.host}"
    refuse_encoding(response, where)
    found = Range(0, wanted.size, wanted.size)
    if response.status == 206:
        if wanted.is_all:
            raise RegistryProtocol(f"{where} sends a range that nobody asked for")
        said = _CONTENT_RANGE.fullmatch(response.header("Content-Range").strip())
        exact = (wanted.start, wanted.end - 1, wanted.size)
        if said is None or tuple(map(int, said.groups())) != exact:
            raise RegistryProtocol(
                f"{where} sends another range than"
                f" bytes {wanted.start}-{wanted.end - 1} of {wanted.size}"
            )
        found = wanted
    length = response.length
    if length is not None and length != found.end - found.start:
        raise RegistryProtocol(f"{where} sends {length} bytes instead of {found.end - found.start}")
    return found


def refuse_encoding(response: Response, where: str) -> None:
    """Refuse a body that is packed on its way: offsets and lengths would lie.

    Raises:
        RegistryProtocol: there is a Content-Encoding.
    """
    encoding = response.header("Content-Encoding").strip().lower()
    if encoding not in ("", "identity"):
        raise RegistryProtocol(f"{where} sends a body with a Content-Encoding")
