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
_GZIP_HEADER: Final = 10  # bytes that every header has
_GZIP_HEADER_MAX: Final = 128 * 1024
_FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 2, 4, 8, 16
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_MAGIC: Final = b"\x2a\x4d\x18"  # after one byte 0x50..0x5f
MAGIC_BYTES: Final = 4
"""How many bytes ``sniff`` needs to decide."""

PIECE_BYTES: Final = 512 * 1024
"""Largest piece that a decompressor returns."""

_FIRST_BYTES: Final = 16 * 1024
"""What a new member gets first. The decoders copy what they leave unused, which for a
stream of many tiny members would otherwise be nearly everything, each time."""


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
    if len(head) < MAGIC_BYTES and found is Compression.NONE:
        # Too short to tell; the decompressor says what is wrong with it.
        found = declared
    if found is not declared:
        raise ManifestInvalid(
            f"layer is declared as {declared.name.lower()} but its bytes are {found.name.lower()}"
        )
    if found is Compression.GZIP:
        return _Gzip()
    if found is Compression.ZSTD:
        return _Zstd(limits)
    return _Plain()


def by_content(head: bytes, limits: Limits = DEFAULTS) -> Decompressor | None:
    """The decompressor for a stream that nobody has declared; None when it is not compressed."""
    found = sniff(head)
    return None if found is Compression.NONE else decompressor(head, found, limits)


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
        self._head = b""  # an incomplete header: the decoder errs on some that come in pieces

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        view = memoryview(self._head + data if self._head else data)
        self._head = b""
        at = 0
        while at < len(view):
            window = view[at:]
            if self._member is None:
                header = self._header(window)
                if not header:
                    return
                self._member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
                window = window[: header + _FIRST_BYTES]
            at += len(window)
            try:
                yield from _pieces(self._member, window)
            except (igzip_lib.IsalError, EOFError) as error:  # type: ignore[misc] # its stub leaves the base class out
                raise ArchiveInvalid(
                    f"layer is corrupt: gzip stream is broken ({error})"
                ) from error
            if self._member.eof:
                at -= len(self._member.unused_data)
                self._member = None

    def _header(self, data: memoryview) -> int:
        """Length of the header that starts here; 0 when this is padding, or incomplete."""
        if self._started and (self._padding or not data[0]):
            self._padding = True
            if bytes(data).strip(b"\0"):
                raise ArchiveInvalid("layer is corrupt: bytes follow the gzip stream")
            return 0
        if not _GZIP_MAGIC.startswith(bytes(data[:2])):
            raise ArchiveInvalid("layer is corrupt: bytes follow the gzip stream")
        length = _gzip_header_length(data)
        if not length:
            if len(data) > _GZIP_HEADER_MAX:
                raise ArchiveInvalid("layer is corrupt: gzip header has no end")
            self._head = bytes(data)
            return 0
        self._started = True
        return length

    def close(self) -> None:
        if self._member is not None or self._head or not self._started:
            raise ArchiveInvalid("layer is truncated: gzip stream ends inside a member")


def _gzip_header_length(data: memoryview) -> int:
    """Length of the header that ``data`` begins with (RFC 1952, 2.3); 0 when it is incomplete."""
    if len(data) < _GZIP_HEADER:
        return 0
    flags = data[3]
    length = _GZIP_HEADER
    if flags & _FEXTRA:
        length += 2 + int.from_bytes(data[length : length + 2], "little")
    if flags & (_FNAME | _FCOMMENT):
        head = bytes(data[:_GZIP_HEADER_MAX])
        for flag in (_FNAME, _FCOMMENT):
            if flags & flag:
                length = head.find(b"\0", length) + 1
                if not length:
                    return 0
    if flags & _FHCRC:
        length += 2
    return length if length <= len(data) else 0


class _Zstd:
    """RFC 8878: frames follow each other, skippable ones among them."""

    def __init__(self, limits: Limits) -> None:
        self._window_log = limits.zstd_window_bytes.bit_length() - 1
        self._frame: zstd.ZstdDecompressor | None = None
        self._started = False

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        view = memoryview(data)
        at = 0
        while at < len(view):
            window = view[at:]
            if self._frame is None:
                options = {int(zstd.DecompressionParameter.window_log_max): self._window_log}
                self._frame = zstd.ZstdDecompressor(options=options)
                self._started = True
                window = window[:_FIRST_BYTES]
            at += len(window)
            try:
                yield from _pieces(self._frame, window)
            except zstd.ZstdError as error:
                raise self._translated(error) from error
            if self._frame.eof:
                at -= len(self._frame.unused_data)
                self._frame = None

    def _translated(self, error: zstd.ZstdError) -> ArchiveInvalid | LimitExceeded | MemoryError:
        if "not enough memory" in str(error):
            return MemoryError()  # the process's bound, not the window's
        if "memory" in str(error):
            return LimitExceeded(
                f"layer needs a zstd window of more than {1 << self._window_log} bytes",
                limit="zstd_window_bytes",
            )
        return ArchiveInvalid(f"layer is corrupt: zstd stream is broken ({error})")

    def close(self) -> None:
        if self._frame is not None or not self._started:
            raise ArchiveInvalid("layer is truncated: zstd stream ends inside a frame")


def _pieces(
    decoder: igzip_lib.IgzipDecompressor | zstd.ZstdDecompressor, data: memoryview
) -> Iterator[bytes]:
    """What ``data`` decompresses to, up to the end of the member or of the data."""
    piece = decoder.decompress(data, PIECE_BYTES)
    while True:
        if piece:
            yield piece
        if decoder.eof or decoder.needs_input:
            return
        piece = decoder.decompress(b"", PIECE_BYTES)
