"""Priorities of threads: work that must not disturb others, or that others wait for."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_IOPRIO_SET: Final[Mapping[str, int]] = MappingProxyType({"x86_64": 251, "aarch64": 30})
_WHO_PROCESS: Final = 1
_CLASS_IDLE: Final = 3 << 13
_THIS_THREAD: Final = 0

_libc = ctypes.CDLL(None, use_errno=True)


def yield_disk() -> None:
    """Have the calling thread use a disk only when nobody else does (ioprio_set(2)).

    It is advice: schedulers that know no priorities, kernels that refuse and other
    machines than those orlop is built for go on as before.
    """
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        _libc.syscall(number, _WHO_PROCESS, _THIS_THREAD, _CLASS_IDLE)


def prefer_thread(by: int) -> Callable[[], None]:
    """Have the calling thread, and the threads that it starts, run before others.

    Args:
        by: levels of niceness to go down, from 1; sched(7) tells what one is worth.

    Returns:
        To be called in a thread that shall be as the calling one was before. Without the
        capability CAP_SYS_NICE nothing has changed, and it changes nothing.
    """
    before = _niceness()
    with suppress(PermissionError):
        _set_niceness(before - by)
    return partial(_set_niceness, before)


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def _set_niceness(niceness: int) -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
