"""Reading files past the cache."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orlop.linux.diskread import DiskReader

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> dict[int, bytes]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return {offset: bytes(chunk) for offset, chunk in DiskReader().chunks(fd)}
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, 3_000_001])
def test_all_bytes_in_order(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    data = os.urandom(size)
    path.write_bytes(data)
    assert b"".join(read(path).values()) == data


def test_holes_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(1 << 40)
        os.pwrite(file.fileno(), b"x" * 4096, 1 << 30)
    found = read(path)
    assert sum(map(len, found.values())) < 1 << 21
    assert found[1 << 30][:4096] == b"x" * 4096


def test_a_file_on_a_file_system_that_has_nothing_but_the_cache() -> None:
    fd = os.memfd_create("file")
    try:
        os.write(fd, b"cached")
        assert [bytes(chunk) for _, chunk in DiskReader().chunks(fd)] == [b"cached"]
    finally:
        os.close(fd)
