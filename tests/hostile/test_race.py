"""A neighbour that changes the tree while a layer is applied to it: nothing leaves the tree.

The neighbour is a process of its own that exchanges directories of the tree with links to a
tripwire, as fast as the kernel lets it. The applier has none of a worker's fences: what is
tested is that it never follows a path, whatever the path was a moment ago.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from orlop.errors import OrlopError
from orlop.model.limits import DEFAULTS
from orlop.model.tar import Entry as Member
from orlop.model.tar import TarParser
from orlop.testing import layers
from orlop.testing.layers import Entry
from orlop.unpack.apply import Applier
from orlop.unpack.directories import NeedsParent
from tests.hostile import neighbour as neighbours
from tests.hostile.neighbour import PLACES
from tests.hostile.site import Tripwire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.ports.snapshots import ApplyMode

    Event = Member | memoryview

pytestmark = pytest.mark.root

ENTRIES = 40_000
"""Each is several operations: its parent is opened, something is removed, made, and described."""
NAMES = [f"{place}/{name}".lstrip("/") for place in PLACES for name in neighbours.NAMES]
BELOW = ("file", "dir", "link", "new")


def entries(chance: random.Random) -> Iterator[Entry]:
    """What a layer can do in the directories that change."""
    loud = {"mode": 0o4777, "uid": 4321, "gid": 4321, "xattrs": {"user.a": b"b"}}
    for _ in range(6):
        top = chance.choice(NAMES)
        below = f"{top}/{chance.choice(BELOW)}".encode()
        target = f"{chance.choice(NAMES)}/file".encode()
        yield chance.choice(
            (
                Entry(below, data=b"overwritten", **loud),  # type: ignore[arg-type] # of all types
                Entry(below + b"/deep", data=b"overwritten"),
                Entry(below, layers.DIRECTORY, **loud),  # type: ignore[arg-type]
                Entry(top.encode(), layers.DIRECTORY, **loud),  # type: ignore[arg-type]
                Entry(below, layers.SYMLINK, link=b"x", uid=4321),
                Entry(below, layers.HARD_LINK, link=target, **loud),  # type: ignore[arg-type]
                Entry(below, layers.FIFO, mode=0o4777),
                Entry(below, layers.CHAR_DEVICE, major=1, minor=3),
                layers.whiteout(below),
                layers.whiteout(top),
                layers.opaque(top),
                Entry(top.encode(), data=b"in its place"),
            )
        )


@contextmanager
def neighbour(root: Path, wire: Tripwire) -> Iterator[subprocess.Popen[bytes]]:
    """The process at work; its output is how often it has changed something."""
    command = (sys.executable, neighbours.__file__, str(root), str(wire.path), str(os.getpid()))
    with open(root.parent / "count", "w+", encoding="utf-8") as count:
        process = subprocess.Popen(command, stdout=count, cwd="/")
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def apply(root: int, events: list[Event], mode: ApplyMode) -> tuple[int, bool]:
    """How many entries were begun, and whether all went well."""
    begun = 0
    try:
        with Applier(root, mode) as applier:
            for event in events:
                if isinstance(event, Member):
                    begun += 1
                    applier.begin(event)
                else:
                    applier.write(event)
            applier.finish()
    except (OrlopError, NeedsParent, OSError):
        return begun, False
    return begun, True


@pytest.mark.row("X05")
@pytest.mark.timeout(300)
def test_a_tree_that_changes_under_the_applier(tmp_path: Path) -> None:
    wire = Tripwire(tmp_path / "outside")
    root = tmp_path / "root"
    root.mkdir()
    (root / "deep").mkdir()
    chance = random.Random(11)
    archives = [
        list(TarParser(DEFAULTS).feed(layers.tar_bytes(entries(chance)))) for _ in range(400)
    ]
    umask = os.umask(0)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    begun = good = rounds = 0
    try:
        with neighbour(root, wire) as process:
            while begun < ENTRIES:
                archive = archives[rounds % len(archives)]
                count, well = apply(fd, archive, "direct" if rounds % 2 else "overlay")
                begun, good, rounds = begun + count, good + well, rounds + 1
                if rounds % 1000 == 0:
                    wire.check()
            assert process.poll() is None
    finally:
        os.close(fd)
        os.umask(umask)
    wire.check()
    assert sorted(os.listdir(tmp_path)) == ["count", "outside", "root"]
    # It was a race, and neither side stood still.
    assert good > 0
    assert good < rounds
    changes = int((tmp_path / "count").read_text().split()[-1])
    assert changes > 1000
    print(f"{begun} entries, {rounds} layers, {good} of them whole; {changes} changes")
