"""Cuts the power by cloning the disk's file while the store is at work.

A clone has what the disk has got at one instant, and nothing of what is still in the page
cache of the file system on it: the power failed, and the disk has lost nothing that it
had taken. The file that is cloned is on XFS, whose clones share blocks and take
milliseconds.

Coarse, since disks lose nothing here (``blockdevice`` is strict), and cheap enough for
images of thousands of files.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.crash.cuts import disks, promises
from tests.crash.cuts.record import STORE, wait, work
from tests.crash.cuts.replay import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from subprocess import Popen

    from tests.crash.cuts.disks import FileSystem
    from tests.crash.cuts.examine import Examiner

HOST_BYTES: Final = 8 << 30
DISK_BYTES: Final = 1 << 30
_PAUSE: Final = (0.001, 0.005)
_LOOK: Final = 0.0002
_AFTER: Final = 5
"""Clones that are made when the work has ended."""


@dataclass(frozen=True, slots=True)
class Clone:
    """A disk at one instant.

    Attributes:
        path: its file.
        allowed: what had been promised then; see ``promises``.
    """

    path: Path
    allowed: Mapping[str, frozenset[str]]


class Marks:
    """The marks of work that goes on, from a file that grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("x+")
        self._seen: list[str] = []
        self._rest = ""

    def read(self) -> list[str]:
        """All marks so far."""
        *whole, self._rest = (self._rest + self._file.read()).split("\n")
        self._seen += whole
        return list(self._seen)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


@contextmanager
def host(home: Path) -> Iterator[Path]:
    """A file system in memory whose files can be cloned."""
    image, target = home / "host.image", home / "host"
    disks.make_disk(image, disks.KINDS["xfs"], size=HOST_BYTES)
    target.mkdir()
    with (
        disks.attached(image) as loop,
        disks.mounted(loop.path, target, disks.KINDS["xfs"]) as place,
    ):
        yield place
    os.unlink(image)
    target.rmdir()


def take(
    place: Path,
    kind: FileSystem,
    *,
    dice: random.Random,
    begin: Callable[[Path, Path], Popen[bytes]],
) -> Iterator[Clone]:
    """Clone a new disk at every mark and at random times, until the work on it has ended.

    Args:
        place: a directory of a file system with clones.
        begin: starts the work, with the mount point and the file for marks.

    Raises:
        RuntimeError: the work failed.
    """
    disk, target = place / "disk", place.parent / "cloned"
    disks.make_disk(disk, kind, size=DISK_BYTES)
    target.mkdir(exist_ok=True)
    marks = Marks(place.parent / "marks")
    try:
        with (
            disks.attached(disk) as loop,
            disks.mounted(loop.path, target, kind, options=kind.lazy),
            begin(target, marks.path) as process,
        ):
            last: list[str] = []
            left = _AFTER
            for number in itertools.count():
                left -= process.poll() is not None
                if not left:
                    break
                deadline = time.monotonic() + dice.uniform(*_PAUSE)
                while marks.read() == last and time.monotonic() < deadline:
                    time.sleep(_LOOK)
                last = marks.read()
                path = place / f"clone-{number}"
                disks.clone(disk, path)
                yield Clone(path, promises.promised_between(last, marks.read()))
            wait(process)
    finally:
        marks.close()
        os.unlink(marks.path)
        os.unlink(disk)


async def cut(
    kind: FileSystem,
    count: int,
    *,
    seed: int,
    examiner: Examiner,
    home: Path,
    collection: str = "small",
    step: str = "",
    told: Callable[[Outcome], bool] = lambda _: True,
) -> Outcome:
    """Work as often as it takes, and examine so many clones.

    Args:
        home: a directory in memory.
        step: of the protocol, to be left out.
        told: is called after each clone; False ends it.
    """
    outcome = Outcome()
    dice = random.Random(seed)
    began = time.monotonic()
    target = home / "clone"
    target.mkdir(exist_ok=True)

    def begin(root: Path, marks: Path) -> Popen[bytes]:
        return work(root / STORE, marks, collection=collection, step=step)

    with host(home) as place:
        while outcome.examined < count:
            taken = list(take(place, kind, dice=dice, begin=begin))
            some = dice.sample(range(len(taken)), min(len(taken), count - outcome.examined))
            for clone in map(taken.__getitem__, sorted(some)):
                with (
                    disks.attached(clone.path) as loop,
                    disks.mounted(loop.path, target, kind, options=kind.again),
                ):
                    problems = await examiner.examine(target / STORE, clone.allowed)
                outcome.examined += 1
                if problems:
                    outcome.violations.append((clone.path.name, problems))
                outcome.seconds = time.monotonic() - began
                if not told(outcome):
                    return outcome
            for clone in taken:
                clone.path.unlink()
    return outcome
