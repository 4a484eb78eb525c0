"""Records one run of work on a new file system; see ``blockdevice``."""

from __future__ import annotations

import os
import subprocess
import sys
from subprocess import DEVNULL, Popen
from typing import TYPE_CHECKING, Final

from tests.crash.cuts import disks
from tests.crash.cuts.blockdevice import recorded

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.cuts.disks import FileSystem

STORE: Final = "store"
"""Directory of the store on its file system."""

_PATIENCE: Final = 120


def work(root: Path, marks: Path, *, collection: str = "small", step: str = "") -> Popen[bytes]:
    """Begin to work on a store; see ``workload``. The process is the caller's."""
    arguments = [str(root), str(marks), collection, *([step] if step else [])]
    return Popen([sys.executable, "-m", "tests.crash.cuts.workload", *arguments], stdin=DEVNULL)


def wait(process: Popen[bytes]) -> None:
    """Wait for the end of work; whatever happens, it ends. Raises RuntimeError."""
    try:
        code = process.wait(_PATIENCE)
    finally:
        process.kill()
    if code:
        raise RuntimeError(f"the work failed: {code}")


def record(base: Path, kind: FileSystem, *, log: Path, home: Path, step: str = "") -> None:
    """Do the work on a copy of the disk ``base``, and write down what the disk was told.

    Args:
        base: a disk with a file system; not changed.
        log: file to make.
        home: a directory in memory.
        step: of the protocol, to be left out.

    Raises:
        RuntimeError: the disk would not be told what to keep, or the work failed.
    """
    disk, fuse, target = home / "recorded", home / "fuse", home / "work"
    subprocess.run(["cp", "--sparse=always", str(base), str(disk)], check=True)
    for directory in (fuse, target):
        directory.mkdir(exist_ok=True)
    with recorded(disk, log, fuse) as served, disks.attached(served, sector=kind.sector) as loop:
        if loop.cache != "write back":
            raise RuntimeError(f"{loop.path} has a cache of {loop.cache}: there would be no flush")
        with (
            disks.mounted(loop.path, target, kind, options=kind.lazy),
            work(target / STORE, fuse / "marks", step=step) as process,
        ):
            wait(process)
    os.unlink(disk)
