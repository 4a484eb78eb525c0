"""Processes: the system calls that tie one's life to another's.

Sources: prctl(2), close_range(2), pidfd_open(2), pid_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_LAST_DESCRIPTOR: Final = 0xFFFFFFFF

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that made it ends.

    Args:
        parent: process id that the parent had when it made us. When it has ended already,
            this call does not return.

    Raises:
        OSError: the kernel refused.
    """
    _set_death_signal()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def die_with_parent_outside(parent: int) -> None:
    """``die_with_parent`` for a process that may be in a process namespace of its own.

    There, a parent has the number 0 whether it lives or not, and the first process cannot
    be killed by a signal of its own.

    Args:
        parent: a pidfd of it, made before it made us; stays open. When the parent has ended
            already, this call does not return.

    Raises:
        OSError: the kernel refused.
    """
    _set_death_signal()
    ended = select.poll()
    ended.register(parent, select.POLLIN)
    if ended.poll(0):
        os._exit(1)


def allow_descriptors() -> None:
    """Raise the soft limit of open files to the hard one.

    The usual soft limit of 1024 is for programs that call select(2); an image of 500
    layers that is being pulled has more files open.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def hide_memory() -> None:
    """Keep other processes of the same user, and core dumps, away from our memory."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor of this process except ``kept`` and standard error."""
    low = 0
    for fd in sorted({2, *kept}):
        if fd > low:
            _close_range(low, fd - 1)
        low = fd + 1
    _close_range(low, _LAST_DESCRIPTOR)


def nowhere() -> int:
    """A descriptor for what nobody shall read. Raises OSError: there is none left."""
    return os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)


def silence(target: int) -> None:
    """Let standard error lead to ``target``."""
    os.dup2(target, 2)


def _set_death_signal() -> None:
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def _close_range(first: int, last: int) -> None:
    _check(
        _libc.close_range(ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_int(0)),
        "close_range",
    )


def _check(result: int, call: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")
