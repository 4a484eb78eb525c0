"""What the daemon keeps when it has nothing to do, and what a pull takes at most."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from orlop.testing.images import build_image
from orlop.testing.layers import file
from tests.system.rig import Program, offer

if TYPE_CHECKING:
    from demo.surroundings import Daemon
    from orlop.testing.distribution import DistributionRegistry

pytestmark = pytest.mark.root

_MEBIBYTE = 1 << 20
_IDLE = 74 * _MEBIBYTE  # 70 is the aim; libraries differ a little between machines
_PEAK = 400 * _MEBIBYTE


def _family(pid: int) -> list[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                parent = int(stat.read().rpartition(b")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def _memory(pid: int, field: str) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            lines = {line.split()[0]: line.split() for line in rollup.readlines()[1:]}
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(lines[f"{field}:"][1]) * 1024


def test_idle_after_a_pull_and_at_its_height(
    registry: DistributionRegistry, daemon: Daemon, orlop: Program
) -> None:
    layers = [[file(f"f{n}-{m}", os.urandom(4 * _MEBIBYTE)) for m in range(8)] for n in range(4)]
    reference = offer(registry, build_image(layers), "memory/large", "v1")
    heights: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            heights.append(sum(_memory(pid, "Pss") for pid in _family(daemon.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        orlop.output("pull", reference)
    finally:
        done.set()
        watcher.join()
    time.sleep(1)
    idle = _memory(daemon.pid, "Rss")
    print(f"\nidle {idle / _MEBIBYTE:.0f} MiB, peak {max(heights) / _MEBIBYTE:.0f} MiB")
    assert idle <= _IDLE
    assert max(heights) <= _PEAK
