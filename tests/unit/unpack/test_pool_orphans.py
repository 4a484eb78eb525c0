"""A fork-server dies when there is a worker that is not tied to its life yet."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Literal

import pytest

from orlop.errors import Internal
from tests.unit.unpack.workers import BLOB, is_dead, running, until, users

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.timeout(30)]

_HELD = """
import os, signal, time
from orlop.unpack import worker

armed = False

def arm():
    global armed
    armed = os.path.exists({gate!r})

def hold():
    # The one that takes the gate away is held until what it wrote there is gone.
    try:
        os.rename({gate!r}, {held!r})
    except FileNotFoundError:
        return
    while os.path.exists({held!r}):
        time.sleep(0.002)

def end():
    # Nobody hears of a child that is held.
    while os.path.exists({gate!r}):
        time.sleep(0.002)
    if armed and {suicide!r}:
        os.kill(os.getpid(), signal.SIGKILL)

os.register_at_fork(before=arm, after_in_child=hold, after_in_parent=end)
worker.main()
"""


class _Reached(asyncio.Event):
    """A step that lets go at once, and tells that it was come to."""

    def __init__(self, reached: asyncio.Event) -> None:
        super().__init__()
        self._reached = reached

    async def wait(self) -> Literal[True]:
        self._reached.set()
        return True


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The next worker is held at its first step once this file is there."""
    return tmp_path / "gate"


def _program(gate: Path, *, suicide: bool) -> tuple[str, ...]:
    """A fork-server that may end as soon as it has forked a worker that is held."""
    code = _HELD.format(gate=str(gate), held=str(gate.with_suffix(".held")), suicide=suicide)
    return (sys.executable, "-I", "-c", code)


async def test_an_orphan_that_nobody_introduced(tmp_path: Path, gate: Path) -> None:
    async with running(tmp_path, program=_program(gate, suicide=True)) as rig:
        gate.touch()
        try:
            assert (await rig.unpack()).entries == 300
            (orphan,) = users(rig.tree(2))
        finally:
            gate.with_suffix(".held").unlink()
        await until(lambda: is_dead(orphan))


async def test_an_orphan_that_was_introduced(tmp_path: Path, gate: Path) -> None:
    async with running(tmp_path, program=_program(gate, suicide=False)) as rig:
        gate.touch()
        introduced = asyncio.Event()
        task = asyncio.create_task(rig.unpack(steps=[_Reached(introduced), len(BLOB)]))
        await introduced.wait()
        os.kill(rig.pool.pid, signal.SIGKILL)
        await until(lambda: is_dead(rig.pool.pid))
        gate.with_suffix(".held").unlink()
        with pytest.raises(Internal, match="died"):
            await task
        assert (await rig.unpack()).entries == 300
