"""Priorities of threads, as the kernel tells them."""

from __future__ import annotations

import ctypes
import platform
import threading

from orlop.linux.priority import yield_disk

IOPRIO_GET = {"x86_64": 252, "aarch64": 31}


def _io_class() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(IOPRIO_GET[platform.machine()], 1, 0)) >> 13


def test_one_thread_yields_and_the_others_do_not() -> None:
    found: list[int] = []

    def work() -> None:
        yield_disk()
        found.append(_io_class())

    before = _io_class()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [3]
    assert _io_class() == before != 3
