"""Rows Z: layers as compressed streams, pulled as parts of images."""

from __future__ import annotations

import os
import struct
import sys
import zlib
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orlop.errors import ArchiveInvalid, LimitExceeded, ManifestInvalid, RegistryProtocol
from orlop.model.limits import Limits
from orlop.model.mediatype import Compression
from orlop.testing.faults import Fault
from orlop.testing.images import BuiltImage, Layer, build_image
from orlop.testing.layers import compress, directory, file, header, tar_bytes
from tests.hostile.site import GOOD, Case, Site, attacked, refused, taken

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

GZIP, ZSTD, NONE = Compression.GZIP, Compression.ZSTD, Compression.NONE
LIMITS = Limits(
    layer_bytes=64 << 20,
    layer_ratio=200,
    layer_ratio_floor=8 << 20,
    worker_memory_bytes=256 << 20,
)
"""The last one says that no bomb takes memory: a worker that wanted more would fail otherwise."""

HONEST = tar_bytes([directory("a"), file("a/b", b"honest" * 300)])
SHOWN: dict[str, object] = {"a": "dir", "a/b": b"honest" * 300}
ZEROS = bytes(1 << 20)
SKIPPABLE = b"\x50\x2a\x4d\x18"
XZ, BZIP2 = b"\xfd7zXZ\0", b"BZh9"


def packed(blob: bytes, kind: Compression, tar: bytes = HONEST) -> Layer:
    """A layer whose blob is this, whatever it unpacks to."""
    return Layer(tar, blob, kind)


def gzip_bomb(mebibytes: int) -> bytes:
    squeeze = zlib.compressobj(9, wbits=31)
    parts = [squeeze.compress(ZEROS) for _ in range(mebibytes)]
    return b"".join(parts) + squeeze.flush()


def long_file() -> bytes:
    """An archive that is longer than its limit, and cannot be compressed."""
    return header(b"f", size=1 << 30) + os.urandom(1 << 20) * 65


def member(data: bytes, *, flags: int, extra: bytes) -> bytes:
    """A gzip member with optional fields (RFC 1952, 2.3)."""
    plain = compress(data)
    return plain[:3] + bytes([flags]) + plain[4:10] + extra + plain[10:]


def frame(window: int) -> bytes:
    """A zstd frame that asks for a window of 2**window bytes (RFC 8878, 3.1.1.1.2)."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(window - 10) << 3]) + b"\x01\x00\x00"


def with_window(log: int) -> bytes:
    options = {int(zstd.CompressionParameter.window_log): log}
    squeeze = zstd.ZstdCompressor(options=options)
    return squeeze.compress(HONEST) + squeeze.flush()


def skip(length: int, body: bytes) -> bytes:
    return SKIPPABLE + struct.pack("<I", length) + body


DICTIONARY = b"\x28\xb5\x2f\xfd\x03\x00" + b"\x01\x02\x03\x04" + b"\x01\x00\x00"

CASES = [
    refused("Z01", "gzip", lambda: packed(gzip_bomb(70), GZIP), LimitExceeded, limit="layer_ratio"),
    refused(
        "Z01",
        "gzip behind the archive",
        lambda: packed(compress(HONEST) + gzip_bomb(70), GZIP),
        LimitExceeded,
        limit="layer_ratio",
    ),
    refused(
        "Z01",
        "gzip in gzip",
        lambda: packed(compress(gzip_bomb(9)), GZIP),
        ArchiveInvalid,
    ),
    refused(
        "Z01",
        "zstd",
        lambda: packed(compress(bytes(70 << 20), ZSTD), ZSTD),
        LimitExceeded,
        limit="layer_ratio",
    ),
    refused(
        "Z01",
        "one file of zeros",
        lambda: packed(compress(header(b"f", size=60 << 20) + bytes(60 << 20)), GZIP),
        LimitExceeded,
        limit="layer_ratio",
    ),
    refused("Z01", "uncompressed", long_file, LimitExceeded, limit="layer_bytes"),
    *(
        refused(
            "Z02",
            f"window {log}",
            packed(frame(log), ZSTD),
            LimitExceeded,
            limit="zstd_window_bytes",
        )
        for log in (28, 31, 37, 41)
    ),
    taken("Z02", "largest window", packed(with_window(27), ZSTD), SHOWN),
    refused("Z03", "endless", packed(skip(2**32 - 1, bytes(9999)), ZSTD), ArchiveInvalid),
    refused(
        "Z03",
        "endless behind",
        packed(compress(HONEST, ZSTD) + skip(2**32 - 1, bytes(9999)), ZSTD),
        ArchiveInvalid,
    ),
    refused("Z03", "half a header", packed(SKIPPABLE + b"\1", ZSTD), ArchiveInvalid),
    refused("Z03", "dictionary", packed(DICTIONARY, ZSTD), ArchiveInvalid),
    taken("Z03", "skipped", packed(skip(5, b"hello") + compress(HONEST, ZSTD), ZSTD), SHOWN),
    taken("Z03", "skipped behind", packed(compress(HONEST, ZSTD) + skip(0, b""), ZSTD), SHOWN),
    taken("Z03", "several frames", packed(compress(HONEST, ZSTD, members=7), ZSTD), SHOWN),
    taken("Z04", "members", packed(compress(HONEST, GZIP, members=5), GZIP), SHOWN),
    taken("Z04", "a member a byte", packed(compress(HONEST, GZIP, members=2000), GZIP), SHOWN),
    taken(
        "Z04",
        "empty members",
        packed(compress(b"") * 99 + compress(HONEST) + compress(b"") * 99, GZIP),
        SHOWN,
    ),
    taken(
        "Z04",
        "all fields",
        packed(member(HONEST, flags=0x1C, extra=b"\x04\0abcdname\0comment\0"), GZIP),
        SHOWN,
    ),
    refused("Z05", "garbage", packed(compress(HONEST) + b"garbage", GZIP), ArchiveInvalid),
    refused("Z05", "one byte", packed(compress(HONEST) + b"\1", GZIP), ArchiveInvalid),
    refused("Z05", "half a magic", packed(compress(HONEST) + b"\x1f", GZIP), ArchiveInvalid),
    refused(
        "Z05", "behind padding", packed(compress(HONEST) + bytes(512) + b"x", GZIP), ArchiveInvalid
    ),
    refused(
        "Z05",
        "a member behind padding",
        packed(compress(HONEST) + bytes(512) + compress(HONEST), GZIP),
        ArchiveInvalid,
    ),
    refused(
        "Z05", "behind zstd", packed(compress(HONEST, ZSTD) + b"garbage", ZSTD), ArchiveInvalid
    ),
    refused(
        "Z05",
        "padding behind zstd",
        packed(compress(HONEST, ZSTD) + bytes(8), ZSTD),
        ArchiveInvalid,
    ),
    taken("Z05", "padding", packed(compress(HONEST) + bytes(3000), GZIP), SHOWN),
    *(
        refused(
            "Z06",
            f"{kind.value} less {cut}",
            packed(compress(HONEST, kind)[:-cut], kind),
            ArchiveInvalid,
        )
        for kind in (GZIP, ZSTD)
        for cut in (1, 9, 40)
    ),
    refused("Z06", "wrong CRC", packed(compress(HONEST)[:-8] + bytes(8), GZIP), ArchiveInvalid),
    refused("Z06", "wrong length", packed(compress(HONEST)[:-4] + bytes(4), GZIP), ArchiveInvalid),
    refused("Z06", "no gzip", packed(b"", GZIP, b""), ArchiveInvalid),
    refused("Z06", "no zstd", packed(b"", ZSTD, b""), ArchiveInvalid),
    refused(
        "Z06",
        "endless name",
        packed(member(HONEST, flags=8, extra=b"n" * 99999), GZIP),
        ArchiveInvalid,
    ),
    taken("Z06", "no bytes", packed(b"", NONE, b""), {}),
    taken("Z06", "nothing in gzip", packed(compress(b""), GZIP, b""), {}),
    refused("Z07", "zstd as gzip", packed(compress(HONEST, ZSTD), GZIP), ManifestInvalid),
    refused("Z07", "gzip as zstd", packed(compress(HONEST), ZSTD), ManifestInvalid),
    refused("Z07", "gzip as plain", packed(compress(HONEST), NONE), ManifestInvalid),
    refused("Z07", "zstd as plain", packed(compress(HONEST, ZSTD), NONE), ManifestInvalid),
    refused("Z07", "skippable as plain", packed(skip(0, b""), NONE), ManifestInvalid),
    refused("Z07", "plain as gzip", packed(HONEST, GZIP), ManifestInvalid),
    refused("Z07", "plain as zstd", packed(HONEST, ZSTD), ManifestInvalid),
    refused("Z07", "xz as gzip", packed(XZ + bytes(99), GZIP), ManifestInvalid),
    refused("Z07", "bzip2 as plain", packed(BZIP2 + bytes(999), NONE), ArchiveInvalid),
    taken(
        "Z09",
        "programs",
        [
            file(f"usr/bin/{name}", b"#!/bin/sh\ntouch /tmp/ran\n", mode=0o755)
            for name in ("gunzip", "unpigz", "igzip", "zstd", "gzip")
        ],
    ),
    taken("Z10", "an archive", HONEST + bytes(99999) + tar_bytes([file("hidden")]), SHOWN),
    taken("Z10", "noise", HONEST + os.urandom(4000), SHOWN),
    taken("Z10", "a path that leads out", HONEST + tar_bytes([file("../../hidden")]), SHOWN),
    refused(
        "Z10",
        "zeros without end",
        lambda: packed(compress(HONEST + bytes(70 << 20)), GZIP),
        LimitExceeded,
        limit="layer_ratio",
    ),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with attacked(tmp_path_factory.mktemp("site"), LIMITS) as found:
        yield found


@pytest.mark.parametrize("case", CASES)
async def test_streams(site: Site, case: Case) -> None:
    await site.pulls(case)


def layer_of(image: BuiltImage) -> str:
    return str(image.layers[0].digest)


def config_of(image: BuiltImage) -> str:
    return str(image.id)


def manifest_of(_: BuiltImage) -> str:
    return "/manifests/"


@pytest.mark.row("Z08")
@pytest.mark.parametrize("what", [layer_of, config_of, manifest_of])
@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br", "deflate", "gzip, " * 20 + "gzip"])
async def test_encoded_answers(
    site: Site, encoding: str, what: Callable[[BuiltImage], str]
) -> None:
    """What is asked for is asked for as it is; an answer in another form is none."""
    image = build_image([[file(encoding.replace("/", ""))]])
    reference = site.offer(image)
    site.registry.fail(
        Fault(headers={"Content-Encoding": encoding}), method="GET", path=what(image), times=None
    )
    try:
        await site.refuses(reference, RegistryProtocol)
        asked = [one for one in site.registry.requests if one.method == "GET"]
        assert {one.headers.get("accept-encoding") for one in asked} == {"identity"}
    finally:
        site.registry.clear_rules()
        site.registry.clear_requests()


@pytest.mark.row("Z09")
async def test_programs_of_the_node_are_not_run_either(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decompression needs none, so that nobody can choose one."""
    trace = tmp_path / "ran"
    for name in ("gunzip", "unpigz", "igzip", "zstd", "gzip"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {trace}\nexec /usr/bin/{name} $*\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for kind in (GZIP, ZSTD):
        await site.takes(build_image([[file("f", kind.value.encode())]], compression=kind))
    await site.takes(GOOD)
    assert not trace.exists()
