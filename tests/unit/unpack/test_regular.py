"""Regular files: holes stay holes, pieces of any length, times and closing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orlop.errors import ArchiveInvalid
from orlop.model import tar
from orlop.unpack.journal import Journal
from orlop.unpack.regular import CREATE, RegularFile, stored_bytes

if TYPE_CHECKING:
    from pathlib import Path

Regions = tuple[tuple[int, int], ...]


def entry(size: int, regions: Regions | None = None, real_size: int | None = None) -> tar.Entry:
    made = tar.Entry(b"f", tar.REGULAR, size)
    made.mode = 0o640
    made.mtime = 1_500_000_000_123_456_789
    made.sparse = regions
    made.real_size = size if real_size is None else real_size
    return made


def write(path: Path, made: tar.Entry, data: bytes, piece: int) -> None:
    file = RegularFile(os.open(path, CREATE, 0o600), b"file", made, fresh=False)
    view = memoryview(data)
    for at in range(0, len(data), piece):
        file.write(view[at : at + piece])
    file.finish({}, Journal())


@pytest.mark.parametrize("piece", [1, 7, 4096, 1 << 21])
def test_plain(tmp_path: Path, piece: int) -> None:
    data = os.urandom(4099 if piece < 4096 else (1 << 20) + 1)
    write(tmp_path / "f", entry(len(data)), data, piece)
    status = (tmp_path / "f").stat()
    assert (tmp_path / "f").read_bytes() == data
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o640, 1_500_000_000_123_456_789)


@pytest.mark.parametrize("piece", [1, 100, 9000])
@pytest.mark.parametrize(
    "regions",
    [
        ((0, 10),),
        ((1 << 20, 4096), (1 << 21, 100)),
        ((0, 4096), (4096, 4), (5000, 0), (3 << 20, 0)),
        ((5, 0), (7, 3), (10, 1)),
        (),
    ],
)
def test_sparse(tmp_path: Path, regions: Regions, piece: int) -> None:
    size = sum(length for _, length in regions)
    data = os.urandom(size)
    expected = bytearray(3 << 20)
    at = 0
    for offset, length in regions:
        expected[offset : offset + length] = data[at : at + length]
        at += length
    made = entry(size, regions, len(expected))
    write(tmp_path / "f", made, data, piece)
    assert (tmp_path / "f").read_bytes() == expected
    assert (tmp_path / "f").stat().st_blocks * 512 == stored_bytes(made, 4096)


@pytest.mark.parametrize(
    ("regions", "blocks"),
    [
        (None, 3),
        (((0, 10000),), 3),
        (((4095, 2),), 2),
        (((0, 1), (4095, 1)), 1),
        (((0, 1), (4095, 2)), 2),
        (((0, 4096), (4096, 1), (9000, 0)), 2),
        (((8192, 1), (40960, 4097)), 3),
        ((), 0),
    ],
)
def test_stored_bytes(regions: Regions | None, blocks: int) -> None:
    assert stored_bytes(entry(10000, regions, 1 << 20), 4096) == blocks * 4096


def test_what_is_there_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "l").symlink_to("new")
    for name in ("f", "l"):
        with pytest.raises(FileExistsError):
            os.open(tmp_path / name, CREATE, 0o600)


def test_closing_twice(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "f", CREATE, 0o600)
    file = RegularFile(fd, b"file", entry(5), fresh=True)
    file.write(memoryview(b"abc"))
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    other = os.open(tmp_path, os.O_RDONLY)
    file.close()
    os.fstat(other)
    os.close(other)


def test_it_is_closed_when_finishing_fails(tmp_path: Path) -> None:
    made = entry(0)
    made.xattrs = {b"security.capability": b"broken"}
    fd = os.open(tmp_path / "f", CREATE, 0o600)
    with pytest.raises(ArchiveInvalid, match="capability"):
        RegularFile(fd, b"file", made, fresh=True).finish({}, Journal())
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
