"""Priorities of threads, as the kernel tells them."""

from __future__ import annotations

import ctypes
import os
import platform
import threading

from orlop.linux.priority import prefer_thread, yield_disk

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


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_preferred_thread_and_what_it_starts() -> None:
    before = _niceness()
    found: list[int] = []

    def preferred() -> None:
        as_usual = prefer_thread(3)
        found.append(_niceness())

        def work() -> None:
            found.append(_niceness())
            as_usual()
            found.append(_niceness())

        inner = threading.Thread(target=work)
        inner.start()
        inner.join()

    thread = threading.Thread(target=preferred)
    thread.start()
    thread.join()
    assert found == [before - 3, before - 3, before]
    assert _niceness() == before
