"""Priorities of threads: work that must not disturb others."""

from __future__ import annotations

import ctypes
import platform
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

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
