"""Work that a cancellation must not leave half-done."""

from __future__ import annotations

import asyncio

import pytest

from orlop.errors import NotFound
from orlop.images.completion import to_the_end


async def test_results_and_errors() -> None:
    async def give() -> int:
        return 7

    async def fail() -> int:
        raise NotFound("gone")

    assert await to_the_end(give()) == 7
    with pytest.raises(NotFound):
        await to_the_end(fail())


@pytest.mark.parametrize(("fails", "undone"), [(False, ["done", "undone"]), (True, ["failed"])])
async def test_a_cancellation(fails: bool, undone: list[str]) -> None:
    events: list[str] = []
    proceed = asyncio.Event()

    async def work() -> None:
        await proceed.wait()
        events.append("failed" if fails else "done")
        if fails:
            raise NotFound("gone")

    async def undo() -> None:
        await asyncio.sleep(0)
        events.append("undone")

    waiting = asyncio.create_task(to_the_end(work(), undo=undo))
    await asyncio.sleep(0)
    for _ in range(2):
        waiting.cancel()
        await asyncio.sleep(0)
    assert not waiting.done()
    proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert events == undone
