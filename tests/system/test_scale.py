"""A store with a thousand images: listing and starting stay quick.

The records are written directly, as a pull would; trees are empty directories. The
figures are what is wanted on a quiet machine; the test allows three times as much.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from typing import TYPE_CHECKING, Final

import pytest

from demo.client import CriClient
from demo.surroundings import Daemon
from orlop.linux.clock import SystemClock
from orlop.metadata.store import MetadataStore
from tests.rigs.many import publication
from tests.system.rig import Program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

IMAGES: Final = 1000
SLACK: Final = 3.0

COMMAND_SECONDS: Final = 0.3
"""``orlop images``, a process of its own."""

LIST_SECONDS: Final = 0.020
"""ListImages on an open connection."""

START_SECONDS: Final = 1.0
"""From the start of the daemon to the line that it is ready."""

EMPTY: Final = "io.containerd.snapshotter.v1.overlayfs"


def test_a_thousand_images(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Daemon(home) as fresh:
        root = fresh.root
    asyncio.run(_fill(root))

    begun = time.monotonic()
    with Daemon(home) as daemon:
        start = time.monotonic() - begun
        calls = asyncio.run(_list(daemon.address))
        orlop = Program(("--address", daemon.address))
        commands = [_timed(orlop) for _ in range(5)]
        assert len(json.loads(orlop.output("images", "-o", "json"))) == IMAGES
    call, command = statistics.median(calls), statistics.median(commands)
    with capsys.disabled():
        print(
            f"\n{IMAGES} images: start {start:.2f} s, ListImages {call * 1000:.1f} ms"
            f" (first {calls[0] * 1000:.1f} ms), orlop images {command:.2f} s"
        )
    assert start <= START_SECONDS * SLACK
    assert call <= LIST_SECONDS * SLACK
    assert calls[0] <= LIST_SECONDS * SLACK * 5, "the first list, too"
    assert command <= COMMAND_SECONDS * SLACK


async def _fill(root: Path) -> None:
    database = root / "io.containerd.metadata.v1.sqlite" / "meta.db"
    trees = root / EMPTY / "snapshots"
    async with MetadataStore.open(str(database), SystemClock()) as store:
        for number in range(IMAGES):
            made = publication(number)
            for snapshot in made.snapshots:
                os.makedirs(trees / str(snapshot.directory) / "fs", mode=0o700)
            await store.publish("k8s.io", made)


async def _list(address: str) -> list[float]:
    times = []
    async with CriClient(address) as client:
        for _ in range(20):
            begun = time.monotonic()
            found = await client.images()
            times.append(time.monotonic() - begun)
            assert len(found) == IMAGES
    return times


def _timed(orlop: Program) -> float:
    begun = time.monotonic()
    orlop.output("images")
    return time.monotonic() - begun
