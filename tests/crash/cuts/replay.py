"""Makes states into disks, one after the other, mounts them and examines the store.

A disk in memory is changed in place: only what a state, and the recovery after it,
wrote is put back before the next state comes. A disk that has been seen is not examined
again, unless more was promised since.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from tests.crash.cuts import disks, promises, states
from tests.crash.cuts.record import STORE
from tests.crash.cuts.states import BLOCK, TORN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.crash.cuts.disks import FileSystem
    from tests.crash.cuts.examine import Examiner
    from tests.crash.cuts.log import Epoch, Write
    from tests.crash.cuts.states import State

_CHUNK: Final = 64 << 10
_libc = ctypes.CDLL(None)
_libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Disk:
    """A disk at the beginning of an epoch, and a copy of it that may be used up.

    Args:
        recording: what the disk was told, and what was on it before.
        home: a directory in memory.

    Attributes:
        scratch: the file that may be used up; a loop device may be attached to it.
    """

    def __init__(self, recording: Recording, home: Path) -> None:
        self._recording = recording
        self._epoch = 0
        self._size = recording.base.stat().st_size
        self._home = home
        self.scratch = home / "scratch"
        self._files = [_create(path, self._size) for path in (home / "golden", self.scratch)]
        self._golden, self._scratch = (mmap.mmap(fd, self._size) for fd in self._files)
        with recording.base.open("rb") as file:
            for start, end in _data(file.fileno(), self._size):
                self._golden[start:end] = os.pread(file.fileno(), end - start, start)
        self._addresses = (_address(self._golden), _address(self._scratch))
        self._digest = 0

    def close(self) -> None:
        """Give it all back."""
        self._scratch.close()
        self._golden.close()
        for fd in self._files:
            os.close(fd)
        for path in (self._home / "golden", self.scratch):
            path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def become(self, state: State) -> int:
        """Have the scratch file hold this state; epochs only go forward.

        Returns:
            A number that two disks share if they have the same bytes.
        """
        while self._epoch < state.epoch:
            self._digest ^= _change(self._golden, self._recording.epochs[self._epoch].writes)
            self._epoch += 1
        self._restore()
        epoch, sector = self._recording.epochs[state.epoch], self._recording.kind.sector
        return self._digest ^ _change(self._scratch, states.changes(epoch, state, sector=sector))

    def _restore(self) -> None:
        golden, scratch = self._addresses
        chunks = {
            offset
            for fd in self._files
            for start, end in _data(fd, self._size)
            for offset in range(start // _CHUNK * _CHUNK, end, _CHUNK)
        }
        for offset in chunks:
            length = min(_CHUNK, self._size - offset)
            if _libc.memcmp(golden + offset, scratch + offset, length):
                ctypes.memmove(scratch + offset, golden + offset, length)


def _change(disk: mmap.mmap, writes: Sequence[Write]) -> int:
    """Write, and return what that changes in the digest: the blocks' hashes, old and new."""
    touched = sorted(
        {n for one in writes for n in range(one.offset // BLOCK, -(-one.end // BLOCK))}
    )
    before = _hashes(disk, touched)
    for write in writes:
        disk[write.offset : write.end] = write.data
    return before ^ _hashes(disk, touched)


def _hashes(disk: mmap.mmap, blocks: Sequence[int]) -> int:
    found = 0
    for number in blocks:
        start = number * BLOCK
        hasher = hashlib.blake2b(disk[start : start + BLOCK], digest_size=16, key=b"%d" % number)
        found ^= int.from_bytes(hasher.digest(), "big")
    return found


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges of a file that are no holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def _create(path: Path, size: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.ftruncate(fd, size)
    return fd


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


@dataclass
class Outcome:
    """What became of the states that were replayed.

    Attributes:
        examined: disks that differ, or that more was promised for.
        repeated: disks that had been examined.
        refused: of those, disks with garbage in the file system's own log or superblock,
            which the kernel does not mount: there is no store to be judged.
        violations: disks, and what was wrong with them.
        seconds: how long it took.
    """

    examined: int = 0
    repeated: int = 0
    refused: int = 0
    violations: list[tuple[str, list[str]]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Recording:
    """What a disk was told by one run of work.

    Attributes:
        base: the disk before that.
        epochs: see ``log``.
    """

    kind: FileSystem
    base: Path
    epochs: Sequence[Epoch]

    def allowed(self, state: State) -> Mapping[str, frozenset[str]]:
        """What had been promised when the power failed."""
        before = (text for epoch in self.epochs[: state.epoch] for _, text in epoch.marks)
        now = self.epochs[state.epoch].marks_before(state.cut)
        return promises.promised([*before, *now])


async def replay(
    recording: Recording,
    chosen: Sequence[tuple[int, State]],
    *,
    examiner: Examiner,
    home: Path,
    pull_every: int = 0,
    told: Callable[[Outcome], bool] = lambda _: True,
) -> Outcome:
    """Examine states.

    Args:
        chosen: numbered, in the order of their epochs.
        home: a directory in memory.
        pull_every: pull all images again after every so many states; 0 is never.
        told: is called after each state; False ends it.
    """
    outcome = Outcome()
    seen: set[object] = set()
    began = time.monotonic()
    target = home / "state"
    target.mkdir(exist_ok=True)
    with (
        Disk(recording, home) as disk,
        disks.attached(disk.scratch, sector=recording.kind.sector) as loop,
    ):
        for number, state in chosen:
            digest, allowed = disk.become(state), recording.allowed(state)
            key = digest, frozenset(allowed.items())
            if key in seen:
                outcome.repeated += 1
                continue
            seen.add(key)
            outcome.examined += 1
            pull = pull_every > 0 and outcome.examined % pull_every == 0
            loop.forget()
            try:
                with disks.mounted(loop.path, target, recording.kind, options=recording.kind.again):
                    problems = await examiner.examine(target / STORE, allowed, pull=pull)
            except disks.DoesNotMountError as error:
                problems = [str(error)]
                if state.kind in TORN:
                    outcome.refused += 1
                    continue
            if problems:
                outcome.violations.append((f"{number} {state}", problems))
            outcome.seconds = time.monotonic() - began
            if not told(outcome):
                break
    return outcome
