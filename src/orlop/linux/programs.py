"""Programs of the operator's: starting one by itself, and ending it with all it has started.

A program gets a session of its own, the descriptors that it is given and no
others, and signals as the kernel has them by default.

Sources: posix_spawn(3), setsid(2), pidfd_open(2), waitid(2).
"""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ABOVE: Final = 16
"""Descriptors from here on are no program's standard ones."""


@dataclass(frozen=True, slots=True)
class Process:
    """A program that was started; whoever started it says ``kill`` and ``reap``.

    Attributes:
        pid: its process id, and that of its process group, until it is reaped.
        pidfd: readable when it has ended; closed by ``reap``.
    """

    pid: int
    pidfd: int


def spawn(
    path: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    descriptors: Mapping[int, int],
) -> Process:
    """Start the program in the file ``path``; blocks until it runs.

    Args:
        path: of the file; no search path is looked at.
        arguments: what it is called with, its own name first.
        environment: all of it.
        descriptors: of ours, by the numbers that the program shall find them under;
            0, 1 and 2 are among them.

    Raises:
        OSError: it cannot be run.
    """
    with ExitStack() as stack:
        actions: list[tuple[int, int] | tuple[int, int, int]] = []
        for target, source in sorted(descriptors.items()):
            # A copy out of the way: no target overwrites a source that is still needed.
            copy = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
            stack.callback(os.close, copy)
            actions.append((os.POSIX_SPAWN_DUP2, copy, target))
        strangers = [fd for fd in _inheritable() if fd not in descriptors]
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in strangers]
        pid = os.posix_spawn(
            path,
            list(arguments),
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    try:
        return Process(pid, os.pidfd_open(pid))
    except OSError:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def kill(process: Process) -> None:
    """Kill the program's whole process group, what it has left behind included.

    Call it before ``reap``: until then nobody else can have its number.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def status(process: Process) -> int:
    """How a program that has ended did so: its exit code, or its signal's number negated."""
    return _status(process, os.WNOWAIT)


def reap(process: Process) -> int:
    """``status``, for the last time: waits for the end, and lets the process and its number go."""
    try:
        return _status(process, 0)
    finally:
        os.close(process.pidfd)


def _status(process: Process, options: int) -> int:
    found = os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | options)
    assert found is not None  # it is for WNOHANG only
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _inheritable() -> Iterator[int]:
    """Our descriptors that are not closed on exec; libraries in C may have some."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed meanwhile
            if os.get_inheritable(int(name)):
                yield int(name)
