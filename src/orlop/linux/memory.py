"""Memory: how the C library keeps what Python gives back, and when Python looks for more.

glibc gives each thread an arena of its own, and an arena keeps its free pages.
A daemon that reads megabytes in a handful of threads then stays as large as its
busiest moment.

Most of what Python makes goes when the last one lets go of it. For the little that
refers to itself in a circle Python looks at all its objects again, after so many new
ones; where ten thousand images are in memory, or are collected, that takes nearly half
of the time and finds nothing.

Sources: mallopt(3), malloc_trim(3), Python's documentation of the module ``gc``.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_M_ARENA_MAX: Final = -8

_CIRCLES: Final = (20_000, 20, 20)
"""New objects until Python looks at the new ones, and how often that until it looks at
older, and at all. A call makes some hundred, and few of them in circles."""


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


def look_seldom_for_circles() -> None:
    """Have Python look for circles less often; for a process that lives long."""
    gc.set_threshold(*_CIRCLES)


def keep_for_good() -> None:
    """Have Python never look again at what there is now: modules, and what starts once.

    What of it is let go of goes all the same, unless it is in a circle.
    """
    gc.freeze()
