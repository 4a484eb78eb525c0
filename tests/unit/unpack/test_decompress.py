"""Decompression: every stream that tools write, and nothing that only looks like one."""

from __future__ import annotations

import os
import struct
import sys
import tracemalloc
import zlib

import pytest

from orlop.errors import ArchiveInvalid, LimitExceeded, ManifestInvalid
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.mediatype import Compression
from orlop.testing.layers import compress
from orlop.unpack.decompress import MAGIC_BYTES, PIECE_BYTES, decompressor, sniff

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKED = (Compression.GZIP, Compression.ZSTD)
DATA = os.urandom(100_000) + bytes(200_000) + b"text " * 20_000
SKIPPABLE = b"\x5f\x2a\x4d\x18" + struct.pack("<I", 5) + b"12345"


def unpack(
    blob: bytes, declared: Compression, *, chunk: int = 1 << 20, limits: Limits = DEFAULTS
) -> bytes:
    """Decompress ``blob`` as a worker would, in chunks."""
    stream = decompressor(blob[:MAGIC_BYTES], declared, limits)
    found = []
    for at in range(0, len(blob), chunk):
        for piece in stream.feed(blob[at : at + chunk]):
            assert 0 < len(piece) <= max(PIECE_BYTES, chunk)
            found.append(piece)
    stream.close()
    return b"".join(found)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x1f\x8b\x08\x00", Compression.GZIP),
        (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
        (b"\x50\x2a\x4d\x18", Compression.ZSTD),
        (b"\x5f\x2a\x4d\x18", Compression.ZSTD),
        (b"\x60\x2a\x4d\x18", Compression.NONE),
        (b"\x28\xb5\x2f", Compression.NONE),
        (b"etc/", Compression.NONE),
        (b"", Compression.NONE),
    ],
)
def test_sniff(head: bytes, kind: Compression) -> None:
    assert sniff(head) is kind


@pytest.mark.parametrize("kind", Compression)
@pytest.mark.parametrize("chunk", [1, 7, 4096, 1 << 20])
def test_round_trip(kind: Compression, chunk: int) -> None:
    data = DATA if chunk > 1 else DATA[95_000:105_000]
    assert unpack(compress(data, kind), kind, chunk=chunk) == data


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("chunk", [1, 3, 1000, 1 << 20])
def test_members_follow_each_other(kind: Compression, chunk: int) -> None:
    data = DATA[90_000:110_000]
    assert unpack(compress(data, kind, members=7), kind, chunk=chunk) == data


@pytest.mark.parametrize("kind", PACKED)
def test_many_tiny_members_cost_no_square(kind: Compression) -> None:
    members = 20_000
    data = bytes(members)
    assert unpack(compress(b"\0", kind) * members, kind) == data


@pytest.mark.parametrize("kind", PACKED)
def test_memory_is_bounded(kind: Compression) -> None:
    blob = compress(bytes(64 << 20), kind)
    tracemalloc.start()
    try:
        stream = decompressor(blob[:MAGIC_BYTES], kind)
        assert sum(map(len, stream.feed(blob))) == 64 << 20
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", PACKED)
def test_empty_content(kind: Compression) -> None:
    assert unpack(compress(b"", kind), kind) == b""


def test_empty_blob() -> None:
    assert unpack(b"", Compression.NONE) == b""
    for kind in PACKED:
        with pytest.raises(ArchiveInvalid, match="truncated"):
            unpack(b"", kind)


@pytest.mark.parametrize("kind", PACKED)
def test_truncated(kind: Compression) -> None:
    blob = compress(DATA, kind)
    for length in (1, 2, 3, 4, 10, len(blob) // 2, len(blob) - 9, len(blob) - 1):
        with pytest.raises(ArchiveInvalid, match=r"truncated|corrupt"):
            unpack(blob[:length], kind)


@pytest.mark.parametrize("kind", PACKED)
def test_truncated_in_a_second_member(kind: Compression) -> None:
    blob = compress(DATA, kind, members=2)
    with pytest.raises(ArchiveInvalid, match="truncated"):
        unpack(blob[:-1], kind, chunk=1000)
    with pytest.raises(ArchiveInvalid, match="truncated"):
        unpack(compress(b"1", kind) + blob[:1], kind)


@pytest.mark.parametrize("at", [-8, -5, -4, -1])
def test_gzip_trailer_is_checked(at: int) -> None:
    blob = bytearray(compress(DATA))
    blob[at] ^= 1
    with pytest.raises(ArchiveInvalid, match="corrupt"):
        unpack(bytes(blob), Compression.GZIP)


def test_zstd_checksum_is_checked() -> None:
    options = {int(zstd.CompressionParameter.checksum_flag): 1}
    blob = bytearray(zstd.compress(DATA, options=options))
    assert unpack(bytes(blob), Compression.ZSTD) == DATA
    blob[-1] ^= 1
    with pytest.raises(ArchiveInvalid, match="corrupt"):
        unpack(bytes(blob), Compression.ZSTD)


@pytest.mark.parametrize("kind", PACKED)
def test_damage_inside_never_passes_silently(kind: Compression) -> None:
    options = {int(zstd.CompressionParameter.checksum_flag): 1}
    whole = zstd.compress(DATA, options=options) if kind is Compression.ZSTD else compress(DATA)
    for at in range(20, len(whole), len(whole) // 40):
        blob = bytearray(whole)
        blob[at] ^= 0x55
        with pytest.raises((ArchiveInvalid, LimitExceeded)):
            unpack(bytes(blob), kind)


@pytest.mark.parametrize("chunk", [1, 1000, 1 << 20])
def test_gzip_may_be_padded_with_nul(chunk: int) -> None:
    blob = compress(b"data" * 100, members=2) + bytes(3000)
    assert unpack(blob, Compression.GZIP, chunk=chunk) == b"data" * 100


@pytest.mark.parametrize("chunk", [1, 1000, 1 << 20])
@pytest.mark.parametrize(
    "rest", [b"x", b"\x1f", b"\x1fx", b"\0x", bytes(999) + b"\x1f\x8b", bytes(5) + compress(b"2")]
)
def test_gzip_may_be_followed_by_nothing_else(chunk: int, rest: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match=r"corrupt|truncated"):
        unpack(compress(b"data" * 100) + rest, Compression.GZIP, chunk=chunk)


def gzip_member(flags: int, *, name: bytes = b"name", extra: bytes = b"AB\0\0") -> bytes:
    """A member that holds ``data``, with the optional fields of RFC 1952, 2.3.1."""
    raw = zlib.compressobj(wbits=-15)
    body = raw.compress(b"data") + raw.flush()
    head = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6)
    if flags & 4:
        head += struct.pack("<H", len(extra)) + extra
    if flags & 8:
        head += name + b"\0"
    if flags & 16:
        head += b"comment\0"
    if flags & 2:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    blob = head + body + struct.pack("<II", zlib.crc32(b"data"), 4)
    assert zlib.decompress(blob, wbits=31) == b"data"
    return blob


@pytest.mark.parametrize("flags", range(0, 32, 2))
def test_gzip_header_in_any_two_pieces(flags: int) -> None:
    blob = gzip_member(flags)
    for cut in range(len(blob) + 1):
        stream = decompressor(blob[:MAGIC_BYTES], Compression.GZIP)
        found = [*stream.feed(blob[:cut]), *stream.feed(blob[cut:])]
        stream.close()
        assert b"".join(found) == b"data"


@pytest.mark.parametrize("flags", range(0, 32, 2))
@pytest.mark.parametrize("chunk", [1, 17, 1000])
def test_gzip_headers_of_several_members(flags: int, chunk: int) -> None:
    blob = gzip_member(flags) * 3 + gzip_member(30 - flags) + bytes(100)
    assert unpack(blob, Compression.GZIP, chunk=chunk) == b"data" * 4


@pytest.mark.parametrize("flags", range(2, 32, 2))
def test_gzip_truncated_in_its_header(flags: int) -> None:
    blob = gzip_member(flags)
    for length in range(len(blob)):
        with pytest.raises(ArchiveInvalid, match="truncated"):
            unpack(blob[:length], Compression.GZIP)


@pytest.mark.parametrize("chunk", [1000, 1 << 20])
def test_gzip_long_header(chunk: int) -> None:
    long = gzip_member(30, name=b"n" * 60_000, extra=bytes(65_000))
    assert unpack(long * 2, Compression.GZIP, chunk=chunk) == b"data" * 2


def test_gzip_endless_header() -> None:
    blob = gzip_member(8, name=b"n" * 1_000_000)
    for chunk in (5000, 1 << 20):
        with pytest.raises(ArchiveInvalid, match="no end"):
            unpack(blob, Compression.GZIP, chunk=chunk)


@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_zstd_skippable_frames(chunk: int) -> None:
    one, two = compress(b"one", Compression.ZSTD), compress(b"two", Compression.ZSTD)
    blob = SKIPPABLE + one + SKIPPABLE * 2 + two + SKIPPABLE
    assert unpack(blob, Compression.ZSTD, chunk=chunk) == b"onetwo"


def test_zstd_is_followed_by_frames_only() -> None:
    for rest in (b"x", bytes(10), b"garbage that is long enough"):
        with pytest.raises(ArchiveInvalid, match=r"corrupt|truncated"):
            unpack(compress(b"1", Compression.ZSTD) + rest, Compression.ZSTD)


def test_zstd_with_a_dictionary() -> None:
    samples = [b"sample number %d of many" % number for number in range(2000)]
    dictionary = zstd.train_dict(samples, 1024)
    blob = zstd.compress(samples[0] * 10, zstd_dict=dictionary)
    with pytest.raises(ArchiveInvalid, match="corrupt"):
        unpack(blob, Compression.ZSTD)


@pytest.mark.parametrize("exponent", [18, 31])
def test_zstd_window_is_limited(exponent: int) -> None:
    """A frame that asks for a window of 2**(10 + exponent) bytes (RFC 8878, 3.1.1.1.2)."""
    blob = b"\x28\xb5\x2f\xfd\x00" + bytes([exponent << 3]) + b"\x01\x00\x00"
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match="134217728") as caught:
            unpack(blob, Compression.ZSTD)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.limit == "zstd_window_bytes"


def test_zstd_window_at_the_limit() -> None:
    blob = b"\x28\xb5\x2f\xfd\x00" + bytes([17 << 3]) + b"\x01\x00\x00"
    assert unpack(blob, Compression.ZSTD) == b""
    with pytest.raises(LimitExceeded):
        unpack(blob, Compression.ZSTD, limits=Limits(zstd_window_bytes=64 << 20))


@pytest.mark.parametrize("declared", Compression)
@pytest.mark.parametrize("real", Compression)
def test_media_type_must_agree(declared: Compression, real: Compression) -> None:
    blob = compress(b"some bytes of a tar", real)
    if declared is real:
        assert unpack(blob, declared) == b"some bytes of a tar"
        return
    with pytest.raises(ManifestInvalid, match=f"declared as {declared.value}.*are {real.value}"):
        unpack(blob, declared)


def test_a_blob_too_short_to_tell() -> None:
    assert unpack(b"abc", Compression.NONE) == b"abc"
    with pytest.raises(ManifestInvalid):
        unpack(b"\x1f\x8b", Compression.NONE)
    with pytest.raises(ArchiveInvalid):
        unpack(b"abc", Compression.GZIP)
    with pytest.raises(ArchiveInvalid):
        unpack(b"abc", Compression.ZSTD)
