"""Who waits for whom: calls for nobody, pulls for calls, workers for both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from demo.surroundings import Daemon
from orlop.daemon import CALLS_FIRST
from tests.system.rig import Program

pytestmark = pytest.mark.root


def _threads(pid: int) -> dict[int, tuple[str, int]]:
    """Name and niceness of each thread of a process."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        found[int(task.name)] = name, os.getpriority(os.PRIO_PROCESS, int(task.name))
    return found


def test_threads_that_answer_come_first(home: Path) -> None:
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    with Daemon(home) as daemon:
        Program(("--address", daemon.address)).output("fs")
        pid = daemon.pid
        threads = _threads(pid)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        forked = [os.getpriority(os.PRIO_PROCESS, int(child)) for child in children]
    assert threads.pop(pid)[1] == usual - CALLS_FIRST
    of_grpc = [niceness for name, niceness in threads.values() if name == "event_engine"]
    assert of_grpc
    assert set(of_grpc) == {usual - CALLS_FIRST}
    assert usual in [niceness for _, niceness in threads.values()], "the executor's"
    assert forked
    assert all(niceness > usual for niceness in forked), "the fork-server, and so the workers"
