"""Decompression as a stream: compressed pieces in, bounded pieces out.

Runs inside the worker, in process: nothing is executed and nothing is looked
up on disk. Which decompressor to use is seen from the first bytes; the media
type must agree.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Protocol

from isal import igzip_lib

from orlop.errors import ArchiveInvalid, LimitExceeded, ManifestInvalid
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.mediatype import Compression

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_MAGIC: Final = b"\x2a\x4d\x18"  # after one byte 0x50..0x5f
MAGIC_BYTES: Final = 4
"""How many bytes ``sniff`` needs to decide."""

PIECE_BYTES: Final = 512 * 1024
"""Largest piece that a decompressor returns."""


class Decompressor(Protocol):
    """One compressed stream, made of any number of members or frames."""

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """What ``data`` decompresses to, in pieces of at most ``PIECE_BYTES``.

        Raises:
            ArchiveInvalid: the stream is corrupt, or something follows it.
            LimitExceeded: it wants more memory than allowed.
        """

    def close(self) -> None:
        """Say that the stream has ended.

        Raises:
            ArchiveInvalid: it ended inside a member.
        """


def sniff(head: bytes) -> Compression:
    """What the first bytes of a layer say it is compressed with."""
    if head[:2] == _GZIP_MAGIC:
        return Compression.GZIP
    if head[:4] == _ZSTD_MAGIC or (head[1:4] == _SKIPPABLE_MAGIC and head[0] & 0xF0 == 0x50):
        return Compression.ZSTD
    return Compression.NONE


def decompressor(head: bytes, declared: Compression, limits: Limits = DEFAULTS) -> Decompressor:
    """The decompressor for a layer that begins with ``head``.

    Raises:
        ManifestInvalid: the bytes are not what the media type says.
    """
    found = sniff(head)
    if found is not declared:
        raise ManifestInvalid(
            f"layer is declared as {declared.name.lower()} but its bytes are {found.name.lower()}"
        )
    if found is Compression.GZIP:
        return _Gzip()
    if found is Compression.ZSTD:
        return _Zstd(limits)
    return _Plain()


class _Plain:
    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        if len(data):
            yield bytes(data)

    def close(self) -> None:
        pass


class _Gzip:
    """RFC 1952: members follow each other; NULs may follow the last one."""

    def __init__(self) -> None:
        self._member: igzip_lib.IgzipDecompressor | None = None
        self._started = False
        self._padding = False
        self._head = b""  # the first byte of a next member, while there is only one

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        pending: bytes | memoryview = data
        while len(pending):
            if self._member is None:
                pending = self._begin(pending)
                if self._member is None:
                    return
            try:
                piece = self._member.decompress(pending, PIECE_BYTES)
                pending = b""
                while True:
                    if piece:
                        yield piece
                    if self._member.eof or self._member.needs_input:
                        break
                    piece = self._member.decompress(b"", PIECE_BYTES)
            except (igzip_lib.IsalError, EOFError) as error:  # type: ignore[misc] # its stub leaves the base class out
                raise ArchiveInvalid(
                    f"layer is corrupt: gzip stream is broken ({error})"
                ) from error
            if self._member.eof:
                pending = self._member.unused_data
                self._member = None

    def _begin(self, data: bytes | memoryview) -> bytes | memoryview:
        """Start the next member, or swallow the padding behind the last one."""
        if self._head:
            data = self._head + bytes(data)
            self._head = b""
        if self._started and (self._padding or data[0] == 0):
            self._padding = True
            if bytes(data).strip(b"\0"):
                raise ArchiveInvalid("layer is corrupt: bytes follow the gzip stream")
            return b""
        if len(data) < 2:
            self._head = bytes(data)
            return b""
        if bytes(data[:2]) != _GZIP_MAGIC:
            raise ArchiveInvalid("layer is corrupt: bytes follow the gzip stream")
        self._started = True
        self._member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        return data

    def close(self) -> None:
        if self._member is not None or self._head or not self._started:
            raise ArchiveInvalid("layer is truncated: gzip stream ends inside a member")


class _Zstd:
    """RFC 8878: frames follow each other, skippable ones among them."""

    def __init__(self, limits: Limits) -> None:
        self._window_log = limits.zstd_window_bytes.bit_length() - 1
        self._frame: zstd.ZstdDecompressor | None = None
        self._started = False
        self._fresh = False  # the frame has consumed nothing yet

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        pending: bytes | memoryview = data
        while len(pending):
            if self._frame is None:
                options = {int(zstd.DecompressionParameter.window_log_max): self._window_log}
                self._frame = zstd.ZstdDecompressor(options=options)
                self._started = True
            try:
                piece = self._frame.decompress(pending, PIECE_BYTES)
                pending = b""
                while True:
                    if piece:
                        yield piece
                    if self._frame.eof or self._frame.needs_input:
                        break
                    piece = self._frame.decompress(b"", PIECE_BYTES)
            except zstd.ZstdError as error:
                raise self._translated(error) from error
            if self._frame.eof:
                pending = self._frame.unused_data
                self._frame = None

    def _translated(self, error: zstd.ZstdError) -> ArchiveInvalid | LimitExceeded:
        if "memory" in str(error):
            return LimitExceeded(
                f"layer needs a zstd window of more than {1 << self._window_log} bytes",
                limit="zstd_window_bytes",
            )
        return ArchiveInvalid(f"layer is corrupt: zstd stream is broken ({error})")

    def close(self) -> None:
        if self._frame is not None or not self._started:
            raise ArchiveInvalid("layer is truncated: zstd stream ends inside a frame")
