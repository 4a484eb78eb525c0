"""Applies layers to a real directory, and looks at what came out.

Beside the directory stands a tripwire that must be the same afterwards.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from orlop.linux.files import DIRECTORY
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.tar import Entry, TarParser
from orlop.testing import layers
from orlop.unpack.apply import Applier
from tests.rigs.tree import Node, differences, tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orlop.ports.snapshots import ApplyMode

BOTH: tuple[ApplyMode, ...] = ("overlay", "direct")
SECOND = 10**9
OLD = 1_000_000_000 * SECOND + 123_456_789


class Applied(NamedTuple):
    """What ``Applier`` reported."""

    implied: set[bytes]
    opaque: set[bytes]
    dropped: dict[str, int]
    inodes: int
    disk_bytes: int


def apply(
    root: Path,
    entries: Iterable[layers.Entry | bytes],
    mode: ApplyMode = "overlay",
    *,
    limits: Limits = DEFAULTS,
    chunk: int = 1 << 20,
) -> Applied:
    """Apply one layer to ``root``; nothing may stay open, whatever happens."""
    archive = layers.tar_bytes(entries)
    before = set(os.listdir("/proc/self/fd"))
    umask = os.umask(0)
    fd = os.open(root, DIRECTORY)
    try:
        parser = TarParser(limits)
        with Applier(fd, mode, limits) as applier:
            for at in range(0, len(archive), chunk):
                for event in parser.feed(archive[at : at + chunk]):
                    if isinstance(event, Entry):
                        applier.begin(event)
                    else:
                        applier.write(event)
            parser.close()
            applier.finish()
        return Applied(
            applier.implied, applier.opaque, applier.dropped, applier.inodes, applier.disk_bytes
        )
    finally:
        os.close(fd)
        os.umask(umask)
        assert set(os.listdir("/proc/self/fd")) == before


def new_root(directory: Path) -> Path:
    """An empty tree."""
    path = directory / "root"
    path.mkdir(mode=0o755)
    return path


@contextmanager
def tripwire(tmp_path: Path) -> Iterator[Path]:
    """A directory beside the root that must be the same afterwards."""
    path = tmp_path / "outside"
    path.mkdir(mode=0o751)
    (path / "victim").write_bytes(b"victim")
    (path / "directory").mkdir(mode=0o700)
    os.symlink("victim", path / "link")
    os.chmod(path / "victim", 0o604)
    before = tree(path)
    yield path
    assert differences(before, tree(path)) == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["outside", "root"]


def names(root: Path) -> set[str]:
    """All paths below ``root``; a whiteout has a ``!`` in front."""
    return {
        ("!" if node.type == "char" and node.rdev == (0, 0) else "") + os.fsdecode(path)
        for path, node in tree(root).items()
        if path != b"."
    }


def node(root: Path, path: str) -> Node:
    return tree(root)[os.fsencode(path)]


def du(root: Path) -> tuple[int, int]:
    """Inodes and bytes of a tree, as du(1) counts them."""
    answers = [
        subprocess.run(["du", "-s", *options, str(root)], capture_output=True, check=True).stdout
        for options in (("--inodes",), ("-B1",))
    ]
    inodes, size = (int(answer.split()[0]) for answer in answers)
    return inodes, size
