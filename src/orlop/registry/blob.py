"""The body of one blob: what the head of its answer must say, and the bytes.

Never hashes: the receiver of the bytes does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orlop.errors import RegistryProtocol, RegistryUnavailable, SizeMismatch

if TYPE_CHECKING:
    from orlop.registry.response import Response

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)


class HTTPBlobStream:
    """Implements ``orlop.ports.registry.BlobStream`` on an answer; the opener closes it."""

    def __init__(self, response: Response, *, subject: str, start: int, size: int) -> None:
        self._response = response
        self._subject = subject
        self._start = start
        self._position = start
        self._size = size

    @property
    def start(self) -> int:
        """Offset in the blob of the first byte that ``read`` returns."""
        return self._start

    async def read(self) -> bytes:
        """The next bytes, a few hundred KiB as a rule; ``b""`` at the end.

        Raises:
            RegistryUnavailable: the connection broke or ended early.
            SizeMismatch: there are more bytes than the descriptor says; the connection is closed.
        """
        data = await self._response.read()
        self._position += len(data)
        if self._position > self._size:
            self._response.close()
            raise SizeMismatch(
                f"{self._subject}: registry {self._response.host} sends more than"
                f" the {self._size} bytes of its descriptor"
            )
        if not data and self._position < self._size:
            self._response.close()
            raise RegistryUnavailable(
                f"{self._subject}: registry {self._response.host} ended"
                f" after {self._position} of {self._size} bytes"
            )
        return data


def starts_at(response: Response, *, subject: str, offset: int, size: int) -> int:
    """Check the head of a 200 or 206 answer against the descriptor; where its body starts.

    Args:
        response: its body is untouched.
        subject: what was asked for, to name in a message.
        offset: first byte that was asked for; 0 means that no range was asked for.
        size: length of the whole blob.

    Raises:
        RegistryProtocol: another range, another total, another length, or an encoding
            (RFC 9110 14.4, 15.3.7).
    """
    where = f"{subject}: registry {response.host}"
    refuse_encoding(response, where)
    start = 0
    if response.status == 206:
        if not offset:
            raise RegistryProtocol(f"{where} sends a range that nobody asked for")
        said = _CONTENT_RANGE.fullmatch(response.header("Content-Range").strip())
        if said is None or tuple(map(int, said.groups())) != (offset, size - 1, size):
            raise RegistryProtocol(
                f"{where} sends another range than bytes {offset}-{size - 1} of {size}"
            )
        start = offset
    length = response.length
    if length is not None and length != size - start:
        raise RegistryProtocol(f"{where} sends {length} bytes instead of {size - start}")
    return start


def refuse_encoding(response: Response, where: str) -> None:
    """Refuse a body that is packed on its way: offsets and lengths would lie.

    Raises:
        RegistryProtocol: there is a Content-Encoding.
    """
    encoding = response.header("Content-Encoding").strip().lower()
    if encoding not in ("", "identity"):
        raise RegistryProtocol(f"{where} sends a body with a Content-Encoding")
