"""A pool with real workers: jobs for it, and what its processes are.

At the end it looks whether a process or a descriptor is left.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.linux.files import DIRECTORY
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.mediatype import Compression
from orlop.ports.unpack import Unpacked, UnpackJob
from orlop.testing import layers
from orlop.testing.layers import file
from orlop.unpack.pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from orlop.ports.snapshots import ApplyMode

LAYER = layers.tar_bytes([file(f"d/{number}", os.urandom(3000)) for number in range(300)])
NONE = Compression.NONE
BLOB = layers.compress(LAYER)

Step = int | BaseException | asyncio.Event


class Blob:
    """A source that grows step by step.

    A step is how much may be read from now on, an error, or an event to wait for.
    """

    def __init__(self, path: Path, data: bytes = BLOB, steps: Sequence[Step] | None = None) -> None:
        path.write_bytes(data)
        self._file = path.open("rb")
        self._steps = [len(data)] if steps is None else steps
        self.told = 0

    def fileno(self) -> int:
        return self._file.fileno()

    async def follow(self) -> AsyncIterator[int]:
        for step in self._steps:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
                continue
            self.told += 1
            yield step

    def close(self) -> None:
        self._file.close()


class Rig:
    """A pool, a directory for trees, and jobs."""

    def __init__(
        self, directory: Path, limits: Limits = DEFAULTS, program: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.pool = WorkerPool(limits, program=program) if program else WorkerPool(limits)
        self._jobs = 0

    async def unpack(
        self,
        data: bytes = BLOB,
        *,
        steps: Sequence[Step] | None = None,
        plain: bytes = LAYER,
        compression: Compression = Compression.GZIP,
        mode: ApplyMode = "overlay",
        diff_id: Digest | None = None,
        progress: Progress | None = None,
        size: int | None = None,
    ) -> Unpacked:
        """Unpack ``data`` into a new tree, which is ``self.tree(n)`` for the n-th job."""
        self._jobs += 1
        root = self.tree(self._jobs)
        root.mkdir()
        blob = Blob(self.directory / f"blob{self._jobs}", data, steps)
        target = os.open(root, DIRECTORY)
        job = UnpackJob(
            source=blob,
            target=target,
            compression=compression,
            mode=mode,
            diff_id=diff_id or Digest.of(plain),
            size=len(data) if size is None else size,
        )
        try:
            return await self.pool.unpack(job, progress)
        finally:
            os.close(target)
            blob.close()

    def tree(self, number: int) -> Path:
        """The tree of a job."""
        return self.directory / f"tree{number}"

    def workers(self) -> list[int]:
        """Process ids of the fork-server's children, zombies included."""
        return children(self.pool.pid) if self.pool.pid else []


class Progress:
    """Remembers what it was told, and can call somebody then."""

    def __init__(self, action: Callable[[], None] | None = None) -> None:
        self.told: list[int] = []
        self._action = action

    def unpacked(self, consumed: int) -> None:
        self.told.append(consumed)
        if self._action is not None:
            self._action()


def children(parent: int) -> list[int]:
    """Process ids whose parent is ``parent``."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{name}/stat") as stat:
            if int(stat.read().rpartition(")")[2].split()[1]) == parent:
                found.append(int(name))
    return found


def users(place: Path) -> list[int]:
    """Process ids of others that have ``place`` open."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with suppress(OSError):  # it has ended, or is not ours to look at
                links = [os.readlink(link) for link in (process / "fd").iterdir()]
                found += [int(process.name)] if str(place) in links else []
    return found


def is_dead(pid: int) -> bool:
    """True when a process is gone, or a zombie that somebody else has to reap."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def descriptors() -> set[tuple[str, str]]:
    """What this process has open, the listing itself left out."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.add((name, os.readlink(f"/proc/self/fd/{name}")))
    return found


async def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds; fails after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (other processes set no events)
            await asyncio.sleep(0.002)


async def cancelled(task: asyncio.Task[Unpacked]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@asynccontextmanager
async def running(
    directory: Path, limits: Limits = DEFAULTS, program: Sequence[str] = ()
) -> AsyncIterator[Rig]:
    """A rig whose pool has made one worker; at the end nothing of it is left."""
    before = descriptors()
    rig = Rig(directory, limits, program)
    async with rig.pool:
        await rig.unpack(layers.tar_bytes([]), plain=layers.tar_bytes([]), compression=NONE)
        server = rig.pool.pid
        yield rig
        await until(lambda: not rig.workers())
    assert children(os.getpid()) == []
    assert children(server) == []
    assert descriptors() == before
