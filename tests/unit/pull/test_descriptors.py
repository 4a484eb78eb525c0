"""Bytes from and to descriptors of every kind."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest

from orlop.errors import FailedPrecondition, StoreCorrupt
from orlop.pull.descriptors import Output, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = os.urandom(300_000)


@pytest.fixture
def source() -> Iterator[int]:
    """A file with the data."""
    fd = os.memfd_create("source")
    os.write(fd, DATA)
    os.lseek(fd, 0, os.SEEK_SET)
    yield fd
    os.close(fd)


async def everything(fd: int) -> bytes:
    return b"".join([piece async for piece in pieces(fd)])


async def copied(source: int, target: int) -> None:
    output = Output(target)
    await output.write(b"before")
    await output.copy(source, len(DATA))
    await output.write(b"after")


EXPECTED = b"before" + DATA + b"after"


async def test_reading_a_file(source: int) -> None:
    assert await everything(source) == DATA
    assert await everything(source) == b""


async def test_a_pipe(source: int) -> None:
    reader, writer = os.pipe()
    reading = asyncio.create_task(everything(reader))
    await copied(source, writer)
    os.close(writer)
    assert await reading == EXPECTED
    os.close(reader)


async def test_a_socket(source: int) -> None:
    left, right = socket.socketpair()
    with left, right:
        reading = asyncio.create_task(everything(left.fileno()))
        await copied(source, right.fileno())
        right.shutdown(socket.SHUT_WR)
        assert await reading == EXPECTED


@pytest.mark.parametrize("flags", [0, os.O_APPEND])
async def test_a_file(source: int, tmp_path: Path, flags: int) -> None:
    path = tmp_path / "file"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags)
    try:
        await copied(source, fd)
    finally:
        os.close(fd)
    assert path.read_bytes() == EXPECTED


async def test_what_is_always_ready(source: int) -> None:
    fd = os.open(os.devnull, os.O_RDWR)
    try:
        await copied(source, fd)
        assert await everything(fd) == b""
    finally:
        os.close(fd)


async def test_a_blob_that_is_too_short(source: int, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as target, pytest.raises(StoreCorrupt):
        await Output(target.fileno()).copy(source, len(DATA) + 1)


async def test_a_target_that_is_full(source: int) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(FailedPrecondition, match="No space"):
            await copied(source, fd)
    finally:
        os.close(fd)
