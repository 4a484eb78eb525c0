"""The library that is preloaded, and the page that it shares with the harness.

``changes.c`` says what it does. Whoever forks victims must have it loaded himself, so the
harness starts itself once more with it (``preload``).
"""

from __future__ import annotations

import ctypes
import enum
import hashlib
import mmap
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("changes.c")
_CACHE: Final = Path(__file__).parents[3] / ".cache" / "kills"
_COMPILER: Final = ("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror")
_CONTROL: Final = "CHANGES_CONTROL"
_ROLE: Final = "CHANGES_ROLE"
_ENTRIES: Final = 8192


class Role(enum.IntEnum):
    """Who makes a change."""

    DAEMON = 1
    SERVER = 2
    WORKER = 3


class Kind(enum.IntEnum):
    """What is counted: what changes files, or what takes a descriptor, a process or a thread."""

    CHANGE = 0
    NEED = 1


class When(enum.IntEnum):
    """What happens at the chosen change."""

    BEFORE = 0
    AFTER = 1
    INSTEAD = 2


_RUNNING, _HELD, _RELEASED = range(3)


@dataclass(frozen=True, slots=True)
class Change:
    """One call that was counted; ``name`` is the end of its path, if it has one."""

    role: Role
    call: str
    name: str


class _Entry(ctypes.Structure):
    _fields_ = (
        ("role", ctypes.c_uint8),
        ("call", ctypes.c_char * 23),
        ("name", ctypes.c_char * 56),
    )


class _Control(ctypes.Structure):
    _fields_ = (
        ("device", ctypes.c_uint64),
        ("root", ctypes.c_uint64),
        ("kind", ctypes.c_uint32),
        ("role", ctypes.c_uint32),
        ("number", ctypes.c_uint32),
        ("when", ctypes.c_uint32),
        ("error", ctypes.c_uint32),
        ("state", ctypes.c_uint32),
        ("reached", ctypes.c_uint32),
        ("logging", ctypes.c_uint32),
        ("logged", ctypes.c_uint32),
        ("counts", ctypes.c_uint32 * 4),
        ("log", _Entry * _ENTRIES),
    )


class Control:
    """The shared page, in a process that has the library loaded; see ``preload``."""

    def __init__(self) -> None:
        self.path = os.environ[_CONTROL]
        with open(self.path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), ctypes.sizeof(_Control))
        self._page = _Control.from_buffer(self._map)
        self._library = ctypes.CDLL(str(compiled()))

    def watch(self, place: Path) -> None:
        """Count changes of the file system that ``place`` is on, and of overlays."""
        self._page.device, self._page.root = os.stat(place).st_dev, os.stat("/").st_dev

    def arm(
        self,
        role: Role = Role.DAEMON,
        number: int = 0,
        when: When = When.BEFORE,
        *,
        kind: Kind = Kind.CHANGE,
        error: int = 0,
        log: bool = False,
    ) -> None:
        """Choose the ``number``-th change, or need, of a role, from 1; 0 only counts."""
        page = self._page
        page.kind, page.role, page.number, page.when, page.error = kind, role, number, when, error
        page.state, page.reached, page.logged, page.logging = _RUNNING, 0, 0, log
        for one in range(4):
            page.counts[one] = 0

    def become(self, role: Role) -> None:
        """This process, and what it forks, makes changes in this role from now on."""
        self._library.changes_become(int(role))

    @property
    def held(self) -> bool:
        """True while a process stands at the chosen change."""
        return bool(self._page.state == _HELD)

    @property
    def reached(self) -> bool:
        """True when the chosen change was come to."""
        return bool(self._page.reached)

    def release(self) -> None:
        """Let it go on."""
        self._page.state = _RELEASED

    def changes(self) -> list[Change]:
        """What was logged; only the chosen change when ``arm`` did not ask for more."""
        entries = self._page.log[: min(self._page.logged, _ENTRIES)]
        return [
            Change(Role(one.role), one.call.decode(), one.name.decode(errors="replace"))
            for one in entries
        ]

    def program(self) -> tuple[str, ...]:
        """The fork-server's command, with the library."""
        words = [f"LD_PRELOAD={compiled()}", f"{_CONTROL}={self.path}", f"{_ROLE}={Role.SERVER:d}"]
        return ("/usr/bin/env", *words, sys.executable, "-I", "-m", "orlop.unpack.worker")


def compiled() -> Path:
    """The library; made when the source has changed."""
    source = _SOURCE.read_bytes()
    library = _CACHE / f"changes-{hashlib.sha256(source).hexdigest()[:16]}.so"
    if not library.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        draft = library.with_suffix(f".{os.getpid()}")
        subprocess.run([*_COMPILER, "-o", str(draft), str(_SOURCE)], check=True)
        draft.replace(library)
    return library


def preload(module: str) -> None:
    """Start ``python -m module`` again with the library; returns when that was done.

    The shared page is a file without a name that lives as long as the process.
    """
    if _CONTROL in os.environ:
        return
    fd = os.memfd_create("changes", 0)
    os.ftruncate(fd, ctypes.sizeof(_Control))
    path = f"/proc/{os.getpid()}/fd/{fd}"
    os.set_inheritable(fd, True)
    environment = {**os.environ, "LD_PRELOAD": str(compiled()), _CONTROL: path}
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], environment)
