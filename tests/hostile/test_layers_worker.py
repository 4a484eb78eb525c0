"""Hostile layers for a real worker: a clean error each, and the pool works on.

The rows are those that need the whole way: compression, parser, applier, limits
and the report to the daemon. All run at once on one pool.
"""

from __future__ import annotations

import asyncio
import os
import random
import zlib
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    ArchiveEscape,
    ArchiveInvalid,
    DigestMismatch,
    LimitExceeded,
    ManifestInvalid,
    OrlopError,
)
from orlop.model.digest import Digest
from orlop.model.limits import Limits
from orlop.model.mediatype import Compression
from orlop.ports.unpack import Unpacked, UnpackJob
from orlop.testing import layers
from orlop.testing.layers import Entry, compress, directory, extension, file, header, tar_bytes
from orlop.unpack.pool import WorkerPool
from tests.rigs.tree import differences, tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orlop.ports.snapshots import ApplyMode

pytestmark = pytest.mark.root

LIMITS = Limits(
    layer_bytes=64 << 20, layer_ratio=200, layer_ratio_floor=8 << 20, layer_entries=5000
)
GZIP, ZSTD, NONE = Compression.GZIP, Compression.ZSTD, Compression.NONE


class Whole:
    """A blob that is complete."""

    def __init__(self, path: Path, blob: bytes) -> None:
        path.write_bytes(blob)
        self._file = path.open("rb")
        self._size = len(blob)

    def fileno(self) -> int:
        return self._file.fileno()

    async def follow(self) -> AsyncIterator[int]:
        yield self._size

    def close(self) -> None:
        self._file.close()


async def unpack(
    pool: WorkerPool,
    work: Path,
    blob: bytes,
    compression: Compression = NONE,
    *,
    mode: ApplyMode = "direct",
    diff_id: Digest | None = None,
) -> Unpacked:
    """Unpack into a tree of its own below ``work``."""
    work.mkdir()
    root = work / "root"
    root.mkdir()
    source = Whole(work / "blob", blob)
    target = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        wanted = diff_id or Digest.of(blob)
        job = UnpackJob(source, target, compression, mode, wanted, len(blob))
        return await pool.unpack(job)
    finally:
        os.close(target)
        source.close()


ZEROS = bytes(1 << 20)


def gzip_bomb(mebibytes: int) -> bytes:
    """Zeros, compressed a thousandfold."""
    squeeze = zlib.compressobj(9, wbits=31)
    parts = [squeeze.compress(ZEROS) for _ in range(mebibytes)]
    return b"".join(parts) + squeeze.flush()


def zstd_frame(window: int) -> bytes:
    """A frame that asks for a window of 2**window bytes (RFC 8878, 3.1.1.1.2)."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(window - 10) << 3]) + b"\x01\x00\x00"


GOOD = tar_bytes([directory("d"), file("d/f", b"content" * 100)])
BIG_FILE = header(b"f", size=1 << 40)
CASES: dict[str, tuple[bytes, Compression, type[OrlopError], str]] = {
    "Z01 gzip bomb": (gzip_bomb(70), GZIP, LimitExceeded, "layer_ratio"),
    "Z01 gzip bomb behind the archive": (
        compress(GOOD) + gzip_bomb(70),
        GZIP,
        LimitExceeded,
        "layer_ratio",
    ),
    "Z01 zstd bomb": (compress(bytes(70 << 20), ZSTD), ZSTD, LimitExceeded, "layer_ratio"),
    "Z01 plain and long": (
        BIG_FILE + os.urandom(1024) + bytes(64 << 20),
        NONE,
        LimitExceeded,
        "layer_bytes",
    ),
    "Z02 window": (zstd_frame(28), ZSTD, LimitExceeded, "zstd_window_bytes"),
    "Z02 largest window": (zstd_frame(41), ZSTD, LimitExceeded, "zstd_window_bytes"),
    "Z03 endless skippable": (
        b"\x50\x2a\x4d\x18\xff\xff\xff\xff" + bytes(9999),
        ZSTD,
        ArchiveInvalid,
        "",
    ),
    "Z05 garbage behind": (compress(GOOD) + b"garbage", GZIP, ArchiveInvalid, ""),
    "Z06 nothing": (b"", GZIP, ArchiveInvalid, ""),
    "Z06 nothing for zstd": (b"", ZSTD, ArchiveInvalid, ""),
    "Z06 truncated": (compress(GOOD)[:-9], GZIP, ArchiveInvalid, ""),
    "Z06 wrong CRC": (compress(GOOD)[:-8] + bytes(8), GZIP, ArchiveInvalid, ""),
    "Z07 zstd called gzip": (compress(GOOD, ZSTD), GZIP, ManifestInvalid, ""),
    "Z07 gzip called plain": (compress(GOOD), NONE, ManifestInvalid, ""),
    "Z07 plain called gzip": (GOOD, GZIP, ManifestInvalid, ""),
    "T02 two headers": (
        tar_bytes([extension(b"x", b""), extension(b"x", b"")]),
        NONE,
        ArchiveInvalid,
        "",
    ),
    "T04 long header": (
        header(b"x", typeflag=b"x", size=2**62),
        NONE,
        LimitExceeded,
        "tar_extension_bytes",
    ),
    "T05 endless record": (
        tar_bytes([extension(b"x", b"0 path=x\n"), file("f")]),
        NONE,
        ArchiveInvalid,
        "",
    ),
    "T08 text": (b"<html>captive portal</html>\n" * 99, NONE, ArchiveInvalid, ""),
    "T09 truncated": (GOOD[:1000], NONE, ArchiveInvalid, ""),
    "T11 huge sparse": (
        tar_bytes([Entry(b"s", sparse=layers.Sparse("0.1", (), 2**62))]),
        NONE,
        LimitExceeded,
        "layer_bytes",
    ),
    "T14 entries": (tar_bytes([file("f")] * 5001), NONE, LimitExceeded, "layer_entries"),
    "T14 depth": (tar_bytes([file("d/" * 255 + "f")]), NONE, LimitExceeded, "path_depth"),
    "T16 name": (tar_bytes([file("n" * 256)]), NONE, ArchiveInvalid, ""),
    "T16 path": (tar_bytes([file("/".join(["n" * 200] * 21))]), NONE, ArchiveInvalid, ""),
    "X01 above": (tar_bytes([file("../x")]), NONE, ArchiveEscape, ""),
    "X04 root": (tar_bytes([layers.symlink(".", "/")]), NONE, ArchiveEscape, ""),
    "X08 missing": (tar_bytes([layers.hard_link("h", "missing")]), NONE, ArchiveInvalid, ""),
    "X11 no name": (tar_bytes([file(".wh..")]), NONE, ArchiveInvalid, ""),
    "X19 capability": (
        tar_bytes([Entry(b"f", xattrs={"security.capability": b"short"})]),
        NONE,
        ArchiveInvalid,
        "",
    ),
    "X22 attribute": (
        tar_bytes([Entry(b"f", xattrs={"user.x": bytes(65537)})]),
        NONE,
        LimitExceeded,
        "xattr_value_bytes",
    ),
    "X23 owner": (
        tar_bytes([Entry(b"f", uid=2**32 - 1)]),
        NONE,
        ArchiveInvalid,
        "",
    ),
    "wrong diffID": (GOOD + b"hidden", NONE, DigestMismatch, ""),
}


async def test_every_row(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"secret")
    before = tree(outside)

    async def outcome(name: str) -> object:
        blob, compression, _, _ = CASES[name]
        wanted = Digest.of(GOOD) if name == "wrong diffID" else None
        try:
            return await unpack(
                pool, tmp_path / name.replace(" ", "_"), blob, compression, diff_id=wanted
            )
        except OrlopError as error:
            return error

    async with WorkerPool(LIMITS) as pool, asyncio.timeout(60):
        seen = dict(zip(CASES, await asyncio.gather(*map(outcome, CASES)), strict=True))
        server = pool.pid
        for name, error in seen.items():
            _, _, kind, limit = CASES[name]
            assert type(error) is kind, (name, error)
            assert getattr(error, "limit", "") == limit, name
            assert str(tmp_path) not in str(error), name
        result = await unpack(pool, tmp_path / "good", GOOD)
        assert result.entries == 2
        assert pool.pid == server
    assert differences(before, tree(outside)) == []


@pytest.mark.row("Z10")
async def test_what_stands_behind_the_archive_is_hashed_and_not_applied(tmp_path: Path) -> None:
    hidden = GOOD + bytes(100_000) + tar_bytes([file("hidden")])
    async with WorkerPool(LIMITS) as pool:
        result = await unpack(
            pool, tmp_path / "a", compress(hidden), GZIP, diff_id=Digest.of(hidden)
        )
    assert (result.entries, result.uncompressed) == (2, len(hidden))
    assert not (tmp_path / "a/root/hidden").exists()


@pytest.mark.row("Z09")
async def test_programs_and_modules_of_the_layer_are_not_run(tmp_path: Path) -> None:
    """Whatever a worker might load late, it does not load from the tree that it is in."""
    trace = tmp_path / "loaded"
    code = f"open({str(trace)!r}, 'w').close()\n".encode()
    names = ["idna", "encodings/idna", "zlib", "zstd", "traceback", "linecache", "sitecustomize"]
    roots = ["", "usr/lib/python3.11/", "usr/local/lib/python3/site-packages/", "orlop/"]
    members = [file(f"{root}{name}.py", code) for root in roots for name in names]
    broken = tar_bytes(
        [*members, file("gunzip", b"#!/bin/sh\n"), file("\u00e9" * 10), file("n" * 300)]
    )
    async with WorkerPool(LIMITS) as pool:
        with pytest.raises(ArchiveInvalid):
            await unpack(pool, tmp_path / "a", compress(broken), GZIP)
    assert (tmp_path / "a/root/zlib.py").exists()
    assert not trace.exists()


@pytest.mark.parametrize("compression", [NONE, GZIP, ZSTD])
async def test_mutated_layers(compression: Compression, tmp_path: Path) -> None:
    """Damage of any kind is an error that says so, or no damage; never a dead worker."""
    chance = random.Random(compression.value)
    honest = tar_bytes(
        [
            directory("d"),
            *(file(f"d/{number}", chance.randbytes(700)) for number in range(20)),
            layers.symlink("d/l", ".."),
            layers.whiteout("d/w"),
            layers.hard_link("h", "d/1"),
            Entry(b"d/x", xattrs={"user.a": b"b"}, mtime_ns=5),
            layers.sparse_file("s", b"x" * 512 + bytes(9000), [(0, 512)], format="1.0"),
        ]
    )
    blob = compress(honest, compression, members=1 if compression is NONE else 3)
    wrong = (ArchiveInvalid, LimitExceeded, ManifestInvalid, DigestMismatch)

    async def attempt(number: int) -> None:
        bad = bytearray(blob)
        for _ in range(chance.randint(1, 3)):
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        if number % 4 == 0:
            del bad[chance.randrange(len(bad)) :]
        try:
            await unpack(
                pool, tmp_path / str(number), bytes(bad), compression, diff_id=Digest.of(honest)
            )
        except wrong:
            return
        assert compression is not NONE

    async with WorkerPool(LIMITS) as pool, asyncio.timeout(60):
        for start in range(0, 60, 10):
            await asyncio.gather(*(attempt(start + number) for number in range(10)))
