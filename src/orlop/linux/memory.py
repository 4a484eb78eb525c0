"""Memory: how the C library keeps what Python gives back.

glibc gives each thread an arena of its own, and an arena keeps its free pages.
A daemon that reads megabytes in a handful of threads then stays as large as its
busiest moment.

Sources: mallopt(3), malloc_trim(3).
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8


def limit_arenas(count: int) -> bool:
    """Have all threads share ``count`` arenas; call it before threads exist.

    Returns:
        False where the C library has no such setting (musl has one heap anyway).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_M_ARENA_MAX, count))


def trim() -> bool:
    """Give free pages of the heap back to the kernel; takes some milliseconds.

    Returns:
        False where the C library cannot, or there was nothing to give.
    """
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return False
    return bool(malloc_trim(0))
