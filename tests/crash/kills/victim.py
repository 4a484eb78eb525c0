"""A process that does its work on a store until it is killed; forked, not started.

It tells the harness what it has done, line by line, through a pipe: ``done`` when the
work returned, ``failed CLASS MESSAGE`` when it did not, ``closed`` when the store was
closed in order.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orlop.errors import OrlopError
from orlop.linux.procs import die_with_parent
from tests.crash.kills.preloaded import Control, Role
from tests.crash.kills.work import service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orlop.ports.service import ImageService

DEADLINE: Final = 30.0
"""Seconds after which a process that neither ends nor stands still hangs."""

_PR_SET_CHILD_SUBREAPER: Final = 36
_POLL_SECONDS: Final = 0.001
_GONE_SECONDS: Final = 5.0


def adopt_orphans() -> None:
    """What victims leave becomes this process's child, so that nothing can hide."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@dataclass
class Victim:
    """A process that was forked; made by ``fork``."""

    pid: int
    told: int
    log: Path
    control: Control
    said: list[str] = field(default_factory=list)
    status: int | None = None

    def wait(self) -> str:
        """Until it stands at the chosen change (``held``), ends (``ended``) or ``hangs``."""
        # Counted in looks: the harness may be stopped for a while, and then sees no time pass.
        for _ in range(round(DEADLINE / _POLL_SECONDS)):
            if self.control.held:
                return "held"
            if self._reaped():
                return "ended"
            time.sleep(_POLL_SECONDS)
        self._tell_where()
        return "hangs"

    def _tell_where(self) -> None:
        """Have it write down in its log what all its threads do."""
        size = self.log.stat().st_size
        os.kill(self.pid, signal.SIGUSR1)
        for _ in range(round(_GONE_SECONDS / _POLL_SECONDS)):
            if self._reaped() or self.log.stat().st_size > size:
                return
            time.sleep(_POLL_SECONDS)

    def children(self) -> list[int]:
        """Its fork-server, then the workers."""
        found, todo = [], [self.pid]
        while todo:
            below = _children(todo.pop())
            found += below
            todo += below
        return found

    def kill(self, *, group: bool) -> None:
        """SIGKILL it, or it and all that it has started."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)

    def kill_below(self, *, workers_only: bool) -> None:
        """SIGKILL its workers, or its fork-server, which takes them along."""
        server, *workers = self.children() or [0]
        for pid in workers if workers_only else [server]:
            with suppress(ProcessLookupError):
                if pid:
                    os.kill(pid, signal.SIGKILL)

    def end(self) -> list[str]:
        """Wait until it and everything below it is gone; returns what stayed."""
        for _ in range(round(_GONE_SECONDS / _POLL_SECONDS)):
            if self._reaped() and not _others():
                return []
            time.sleep(_POLL_SECONDS)
        left = _others() if self._reaped() else [self.pid, *self.children()]
        self.kill(group=True)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return [f"process {pid} outlives the daemon" for pid in left]

    def words(self) -> list[str]:
        """What it has said since it began; call it when it has ended."""
        with open(self.told, encoding="utf-8", errors="replace") as told:
            self.said = told.read().splitlines()
        return self.said

    def _reaped(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
        return self.status is not None


def fork(
    control: Control,
    root: Path,
    log: Path,
    work: Callable[[ImageService], Awaitable[object]],
    *,
    again: bool = False,
) -> Victim:
    """Start a victim: a daemon on ``root`` that does ``work`` and stops.

    Args:
        control: armed.
        root: of the store.
        log: gets what the process writes to standard error.
        work: what it does.
        again: when the work fails, do it once more, as a client would.
    """
    ours, theirs = os.pipe()
    harness = os.getpid()
    pid = os.fork()
    if not pid:
        try:
            die_with_parent(harness)
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(ours)
            _live(control, root, log, work, theirs, again=again)
        finally:
            os._exit(3)
    os.close(theirs)
    return Victim(pid, ours, log, control)


def _live(
    control: Control,
    root: Path,
    log: Path,
    work: Callable[[ImageService], Awaitable[object]],
    told: int,
    *,
    again: bool,
) -> None:
    """What the forked process does; never returns."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(fd, 2)
    faulthandler.register(signal.SIGUSR1)
    program = control.program()

    def say(*words: object) -> None:
        os.write(told, (" ".join(map(str, words)).replace("\n", " ") + "\n").encode())

    async def run() -> None:
        async with service(root, program) as store:
            say("opened")
            for attempt in range(2 if again else 1):
                try:
                    await work(store)
                except Exception as error:  # noqa: BLE001 - told to the harness, which judges it
                    say("failed", type(error).__name__, error)
                else:
                    say("again" if attempt else "done")
                    break
        say("closed")
        os._exit(0)  # what the loop does at its own end is not the store's

    try:
        with asyncio.Runner() as runner:
            runner.get_loop()  # without which there is no daemon
            control.become(Role.DAEMON)
            runner.run(run())
    except OrlopError as error:
        say("ended", type(error).__name__, error)
    except BaseException as error:  # noqa: BLE001 - ditto
        say("broke", type(error).__name__, error)
    os._exit(0)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _others() -> list[int]:
    """Children of the harness that live and are no registry: orphans of a victim."""
    ours = os.getpgrp()
    left = []
    for pid in _children(os.getpid()):
        try:
            group = os.getpgid(pid)
        except ProcessLookupError:
            continue
        if group == ours:
            continue
        # It may have ended below a parent of its own since its name was read.
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                left.append(pid)
    return left
