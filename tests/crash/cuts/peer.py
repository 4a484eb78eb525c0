"""Debian's containerd in the same rig: without its barrier it loses files, and that is seen.

A control experiment. ``python -m tests.crash.cuts.peer ROOT MARKS`` pulls samples with it,
marks what was acknowledged, and syncs the disk at the end. ``lost`` clones its disk
meanwhile, and counts the clones on which an acknowledged image is not whole; the last ones
must be.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import TYPE_CHECKING, Final

from bench.containerd import CONTAINERD
from bench.peer import SNAPSHOTS, Layout, allow_plain_http
from orlop.testing.fake_registry import FakeRegistry
from tests.crash.cuts import clones, disks, promises, samples
from tests.crash.cuts.clones import host
from tests.crash.cuts.workload import Shelf
from tests.rigs.tree import tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.crash.cuts.clones import Clone
    from tests.crash.cuts.disks import FileSystem
    from tests.crash.cuts.examine import Expected
    from tests.rigs.tree import Node

_PATIENCE: Final = 30.0
_NAMES: Final = ("service", "many", "late")  # the others have links into lower layers


def lost(kind: FileSystem, *, expected: Expected, home: Path, seed: int) -> tuple[int, int]:
    """How many clones with acknowledged images there were, and on how many one was not whole.

    Raises:
        RuntimeError: not even the disk that was synced has what it should have.
    """

    def begin(root: Path, marks: Path) -> Popen[bytes]:
        command = [sys.executable, "-m", "tests.crash.cuts.peer", str(root), str(marks)]
        return Popen(command, stdin=DEVNULL)

    verdicts: list[bool] = []
    target = home / "clone"
    target.mkdir(exist_ok=True)
    with host(home) as place:
        for clone in list(clones.take(place, kind, dice=random.Random(seed), begin=begin)):
            ids = _acknowledged(clone)
            if not ids:
                continue
            with (
                disks.attached(clone.path) as loop,
                disks.mounted(loop.path, target, kind, options=kind.again),
            ):
                found = [_files(tree(path)) for path in target.glob(f"store/{SNAPSHOTS}/*/fs")]
            chains = {str(chain) for id_ in ids for chain in expected.images[id_].chain}
            verdicts.append(all(_files(expected.trees[chain]) in found for chain in chains))
    if not verdicts[-1]:
        raise RuntimeError("containerd's images are not whole even when the disk was synced")
    return len(verdicts), verdicts.count(False)


def _acknowledged(clone: Clone) -> set[str]:
    """Images that must be there."""
    certain = [ids for ids in clone.allowed.values() if len(ids) == 1]
    return {id_ for ids in certain for id_ in ids} - {promises.NOTHING}


def _files(nodes: Mapping[bytes, Node]) -> dict[bytes, str]:
    """What is in the files of a tree: attributes are another matter."""
    return {name: node.sha256 for name, node in nodes.items() if node.type == "file"}


def main() -> None:
    """See the module."""
    root, marks = Path(sys.argv[1]), sys.argv[2]
    fd = os.open(marks, os.O_WRONLY)
    with FakeRegistry() as registry, tempfile.TemporaryDirectory() as state:
        shelf = Shelf(registry, samples.names())
        layout = Layout(root / "store", Path(state))
        layout.configuration.write_text(CONTAINERD.configure(layout))
        allow_plain_http(layout, registry.address)
        assert CONTAINERD.daemon is not None
        with Popen(CONTAINERD.daemon(layout), stdin=DEVNULL, stderr=DEVNULL) as daemon:
            try:
                _wait_for(layout)
                for name in _NAMES:
                    image = str(shelf.push(name, name).id)
                    os.write(fd, f"{promises.begin(name, image)}\n".encode())
                    command = CONTAINERD.pull(layout, f"{registry.address}/{name}:1")
                    subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE)
                    os.write(fd, f"{promises.done(name, image)}\n".encode())
            finally:
                daemon.terminate()
    os.close(fd)
    subprocess.run(["sync", "--file-system", str(root)], check=True)


def _wait_for(layout: Layout) -> None:
    deadline = time.monotonic() + _PATIENCE
    while subprocess.run(
        ["ctr", "--address", str(layout.socket), "version"], capture_output=True, check=False
    ).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError("containerd did not start")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
