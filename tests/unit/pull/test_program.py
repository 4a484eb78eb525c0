"""Programs of the operator's: run, listened to, and gone afterwards."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from orlop.pull.program import in_memory, listening, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

    from orlop.pull.program import Program


@pytest.fixture
def null() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDWR)
    yield fd
    os.close(fd)


def shell(line: str, null: int, out: int) -> AbstractAsyncContextManager[Program]:
    return running(
        "/bin/sh",
        ["sh", "-c", line],
        environment={},
        descriptors={0: null, 1: out, 2: null},
    )


async def test_its_end_may_be_asked_for_twice(null: int) -> None:
    async with shell("exit 3", null, null) as program:
        assert await program.ended() == await program.ended() == 3


async def test_one_that_still_runs_is_killed(null: int) -> None:
    with listening(99) as output:
        async with shell("echo $$; exec sleep 60", null, output.writer):
            while not output.data:  # noqa: ASYNC110 (the loop reads)
                await asyncio.sleep(0.001)
        pid = int(output.data)
    assert not os.path.exists(f"/proc/{pid}")


async def test_one_that_cannot_be_started(null: int) -> None:
    with pytest.raises(FileNotFoundError):
        async with running("/no/such", ["x"], environment={}, descriptors={0: null}):
            pass


@pytest.mark.parametrize(("length", "flooded"), [(0, False), (100, False), (101, True)])
async def test_what_it_says_is_kept_up_to_a_limit(null: int, length: int, *, flooded: bool) -> None:
    with listening(100) as output:
        async with shell(f"head -c {length} /dev/zero", null, output.writer) as program:
            await program.ended()
        output.read_rest()
        assert (len(output.data), output.flooded.is_set()) == (min(length, 100), flooded)


async def test_a_full_pipe_is_emptied(null: int) -> None:
    with listening(10) as output:
        async with shell("head -c 1000000 /dev/zero", null, output.writer) as program:
            async with asyncio.timeout(10):
                assert await program.ended() == 0
        assert len(output.data) == 10


def test_what_it_reads_may_be_long() -> None:
    data = os.urandom(3_000_000)
    with in_memory(data) as fd:
        assert os.read(fd, 5_000_000) == data
