"""What the tests of the pull share: a remote that does as it is told, and helpers."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import OCI_LAYER
from orlop.ports.metadata import Usage
from orlop.ports.snapshots import Staged
from orlop.ports.unpack import Unpacked
from orlop.pull.download import Terms
from orlop.pull.patience import Patience

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from orlop.ports.registry import Resolved, Traffic
    from orlop.ports.snapshots import ApplyMode
    from orlop.ports.unpack import UnpackJob, UnpackProgress


QUICK = Terms(patience=partial(Patience, base=0.0002))
"""Downloads do not rest for long."""


def blob(data: bytes) -> Descriptor:
    """A layer's descriptor."""
    return Descriptor(OCI_LAYER, Digest.of(data), len(data))


@dataclass
class Connection:
    """How one request for a blob goes: what it brings, and how it ends.

    Attributes:
        data: the whole body; None is the rest of the right blob.
        start: offset that ``data`` begins at; None is what was asked for.
        refusal: raised instead of an answer.
        failure: raised after the body.
        gate: awaited before the body.
    """

    data: bytes | None = None
    start: int | None = None
    refusal: Exception | None = None
    failure: Exception | None = None
    gate: asyncio.Event | None = None


@dataclass
class ScriptedRemote:
    """A ``Remote`` of one blob; connections beyond the script are good."""

    content: bytes
    script: list[Connection] = field(default_factory=list)
    traffic: Traffic | None = None
    piece: int = 1 << 16
    offsets: list[int] = field(default_factory=list)

    async def resolve(self) -> Resolved:
        raise AssertionError("nobody should ask")

    async def document(self, descriptor: Descriptor, *, limit: int) -> bytes:
        raise AssertionError("nobody should ask")

    async def prove(self, descriptor: Descriptor) -> None:
        raise AssertionError("nobody should ask")

    @asynccontextmanager
    async def blob(
        self, descriptor: Descriptor, *, offset: int = 0, length: int = 0
    ) -> AsyncIterator[Stream]:
        self.offsets.append(offset)
        how = self.script.pop(0) if self.script else Connection()
        if how.refusal is not None:
            raise how.refusal
        start = offset if how.start is None else how.start
        end = start + length if length and how.start is None else len(self.content)
        data = self.content[start:end] if how.data is None else how.data
        if self.traffic is not None:
            self.traffic.request_started("registry")
        try:
            yield Stream(self, how, start, end, data)
        finally:
            if self.traffic is not None:
                self.traffic.request_resumed("registry")
                self.traffic.request_finished("registry")


class Stream:
    """A body that is read piece by piece."""

    def __init__(
        self, remote: ScriptedRemote, how: Connection, start: int, end: int, data: bytes
    ) -> None:
        self._remote = remote
        self._how = how
        self._data = data
        self.start = start
        self.end = end
        if remote.traffic is not None:
            remote.traffic.request_paused("registry")

    waiting = 0

    async def read(self) -> bytes:
        if self._remote.traffic is None:
            return await self._next()
        self._remote.traffic.request_resumed("registry")
        try:
            piece = await self._next()
            self._remote.traffic.received(len(piece))
            return piece
        finally:
            self._remote.traffic.request_paused("registry")

    async def _next(self) -> bytes:
        await asyncio.sleep(0)
        if self._how.gate is not None:
            await self._how.gate.wait()
        piece, self._data = self._data[: self._remote.piece], self._data[self._remote.piece :]
        if not piece and self._how.failure is not None:
            raise self._how.failure
        return piece


async def until(condition: Callable[[], object]) -> None:
    """Let others run until something holds; fails after a second."""
    async with asyncio.timeout(1):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0.001)


class Trees:
    """A ``LayerStaging`` of plain directories; remembers what was done, and may fail.

    Attributes:
        failures: raised, once, by the step of that name.
        settles: what ``settle`` answers, by default True.
    """

    def __init__(self, root: Path, *, independent: bool = True) -> None:
        self.root = root
        self.independent_ = independent
        self.failures: dict[str, Exception] = {}
        self.log: list[str] = []
        self.settles = True
        self.lowers: list[tuple[str, ...]] = []
        self._next = 1
        for name in ("staging", "snapshots"):
            (root / name).mkdir(parents=True)

    @property
    def independent(self) -> bool:
        return self.independent_

    def names(self) -> list[str]:
        """All trees, by place and number."""
        return sorted(f"{path.parent.name}/{path.name}" for path in self.root.glob("*/*"))

    def tree(self, directory: int) -> str:
        return str(self.root / "snapshots" / str(directory) / "fs")

    def stage(self, lower: Sequence[str]) -> Staged:
        self._step("stage", lower)
        number, self._next = self._next, self._next + 1
        home = self.root / "staging" / str(number)
        (home / "fs").mkdir(parents=True)
        return Staged(number, str(home), str(home / "fs"))

    @contextmanager
    def target(self, staged: Staged, lower: Sequence[str], mode: ApplyMode) -> Iterator[int]:
        self._step(f"target {mode}", lower)
        fd = os.open(staged.fs, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)

    def settle(
        self,
        staged: Staged,
        lower: Sequence[str],
        *,
        implied: Sequence[bytes],
        opaque: Sequence[bytes],
    ) -> bool:
        self._step("settle", lower)
        self.lowers.append(tuple(lower))
        return self.settles

    @contextmanager
    def records(self, staged: Staged) -> Iterator[int]:
        fd = os.open(Path(staged.root, "manifest"), os.O_WRONLY | os.O_CREAT)
        try:
            yield fd
        finally:
            os.close(fd)

    def seal(self, staged: Staged, paths: Sequence[bytes] | None) -> Digest:
        del paths
        return Digest.of(staged.fs.encode())

    def verify(self, directory: int, manifest: str, spend: Callable[[int], None]) -> list[str]:
        raise AssertionError("nobody should ask")

    def retire(self, directory: int) -> None:
        self.delete(directory)

    def publish(self, staged: Sequence[Staged]) -> None:
        for at, tree in enumerate(staged):
            if at:
                self._step("publish second")
            Path(tree.root).rename(self.root / "snapshots" / str(tree.directory))
        self._step("publish")

    def discard(self, staged: Staged) -> None:
        self._step("discard")
        shutil.rmtree(staged.root, ignore_errors=True)

    def delete(self, directory: int) -> None:
        self._step("delete")
        shutil.rmtree(self.root / "snapshots" / str(directory), ignore_errors=True)

    def throw_away(self, directory: int) -> None:
        self.delete(directory)

    def empty_trash(self, inodes: int) -> int:
        return 0

    def measure(self, staged: Staged) -> Usage:
        self._step("measure")
        return Usage(999, 9)

    def _step(self, name: str, lower: Sequence[str] = ()) -> None:
        assert all(Path(path).is_dir() for path in lower), f"{name}: {lower}"
        self.log.append(name)
        if name in self.failures:
            raise self.failures.pop(name)


@dataclass
class Hands:
    """An ``Unpacker`` that reads its source to the end and does nothing with it.

    Attributes:
        results: what a job gives, by its diffID and mode; an exception is raised.
        once: the same, for the first such job only.
        read: how many bytes the source of each job had.
    """

    results: dict[tuple[Digest, str], Unpacked | Exception] = field(default_factory=dict)
    once: dict[tuple[Digest, str], Exception] = field(default_factory=dict)
    jobs: list[tuple[Digest, str]] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    now: int = 0
    most: int = 0

    async def unpack(self, job: UnpackJob, progress: UnpackProgress | None = None) -> Unpacked:
        self.jobs.append((job.diff_id, job.mode))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            available = 0
            async for available in job.source.follow():
                if progress is not None:
                    progress.unpacked(available)
            self.read.append(available)
            result = self.results.get((job.diff_id, job.mode), Unpacked(disk_bytes=100, inodes=2))
            result = self.once.pop((job.diff_id, job.mode), result)
            if isinstance(result, Exception):
                raise result
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=job.target))
            return result
        finally:
            self.now -= 1

    async def close(self) -> None:
        pass
