"""The simulated disk beside a real one: the same calls, by chance, and the same answers."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Final

from orlop.linux import files
from tests.crash.sim.calls import HOME
from tests.crash.sim.disk import Disk, new
from tests.crash.sim.run import simulation

if TYPE_CHECKING:
    from collections.abc import Callable

_NAMES: Final = ("a", "b", "c", "a/a", "a/b", "b/a", "a/b/c")
_MOST: Final = 10_000


def differences(real: str, *, seed: int, calls: int) -> list[str]:
    """Make so many calls in the empty directory ``real`` and on a new disk.

    Returns:
        A line for each call that was answered otherwise.
    """
    chance = random.Random(seed)
    found = []
    with simulation() as kernel:
        kernel.insert(Disk(new()))
        for _ in range(calls):
            name, call = _drawn(chance)
            answers = [_answer(call, home) for home in (real, HOME)]
            if answers[0] != answers[1]:
                found.append(f"{name}: the kernel says {answers[0]}, the disk {answers[1]}")
    return found


def _answer(call: Callable[[str], object], home: str) -> object:
    try:
        return call(home)
    except OSError as error:
        return os.strerror(error.errno or 0)


def _drawn(chance: random.Random) -> tuple[str, Callable[[str], object]]:
    """A call on one of a few names, and what it is called."""
    one, two = chance.choice(_NAMES), chance.choice(_NAMES)
    offset, length = chance.randrange(_MOST), chance.randrange(_MOST)
    data = chance.randbytes(length)
    flags = chance.choice((0, os.O_EXCL, os.O_TRUNC))
    replace = chance.choice((0, files.RENAME_NOREPLACE))

    def put(home: str) -> object:
        fd = os.open(f"{home}/{one}", os.O_RDWR | os.O_CREAT | flags, 0o600)
        try:
            return os.pwrite(fd, data, offset), os.fstat(fd).st_size, os.pread(fd, _MOST, length)
        finally:
            os.close(fd)

    def cut(home: str) -> object:
        fd = os.open(f"{home}/{one}", os.O_RDWR)
        try:
            os.ftruncate(fd, length)
            return os.pread(fd, 2 * _MOST, 0)
        finally:
            os.close(fd)

    def rename(home: str) -> object:
        fd = os.open(home, files.DIRECTORY)
        try:
            # The kernel refuses what is below the other for reasons of its own.
            if not (f"{two}/".startswith(f"{one}/") or f"{one}/".startswith(f"{two}/")):
                files.renameat2(fd, one.encode(), fd, two.encode(), replace)
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def look(home: str) -> object:
        status = os.stat(f"{home}/{one}")
        return status.st_mode, os.path.isdir(f"{home}/{one}") or status.st_size

    calls: dict[str, Callable[[str], object]] = {
        f"put {one} {flags}": put,
        f"cut {one}": cut,
        f"rename {one} {two} {replace}": rename,
        f"look {one}": look,
        f"mkdir {one}": lambda home: os.mkdir(f"{home}/{one}", 0o700),
        f"rmdir {one}": lambda home: os.rmdir(f"{home}/{one}"),
        f"unlink {one}": lambda home: os.unlink(f"{home}/{one}"),
        f"list {one}": lambda home: sorted(os.listdir(f"{home}/{one}")),
        f"chmod {one}": lambda home: os.chmod(f"{home}/{one}", 0o700),
    }
    return chance.choice(list(calls.items()))
