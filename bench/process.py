"""A daemon under measurement: started, waited for, watched, ended by its id.

Knows processes and ``/proc``, but no registry, image or container service.
"""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

_START_SECONDS = 30.0
_END_SECONDS = 20.0
_SAMPLE_SECONDS = 0.05


@dataclass(slots=True)
class Daemon:
    """A running daemon.

    Attributes:
        pid: Its process id; it leads a session of its own.
        cpu_seconds: What it and the children it waited for have used, user and
            system; 0 until it has ended.
    """

    pid: int
    cpu_seconds: float = 0.0


@contextmanager
def running(
    command: Sequence[str],
    *,
    ready: Callable[[], bool],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Daemon]:
    """Runs a daemon while the context lasts.

    Args:
        command: Program and arguments.
        ready: Tells whether it serves; asked until it says so.
        log: Takes its output.
        environment: Added to this process's own.

    Raises:
        RuntimeError: It ended by itself, did not become ready in 30 s, or did
            not end in 20 s after SIGTERM (then it is killed).
    """
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    daemon = Daemon(pid=process.pid)
    try:
        _wait_until_ready(process, ready, log)
        yield daemon
    finally:
        daemon.cpu_seconds = _end(process, log)


class MemorySampler:
    """Watches the memory of processes and all their descendants in a thread.

    The measure is the proportional set size: a page that several processes
    share counts once. Short peaks between two looks, 50 ms apart, are missed.
    """

    def __init__(self) -> None:
        self._roots: list[int] = []
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def peak(self) -> int:
        """The largest sum seen, in bytes."""
        return self._peak

    def add(self, pid: int) -> None:
        """Watches a process, and whatever it starts, from now on."""
        self._roots.append(pid)

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            pids = {pid for root in list(self._roots) for pid in descendants(root)}
            self._peak = max(self._peak, sum(proportional_set_size(pid) for pid in pids))


def descendants(pid: int) -> list[int]:
    """Returns a process and all below it; those that end meanwhile may be missing."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as file:
                    found.extend(int(child) for child in file.read().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended between two reads
    return found


def proportional_set_size(pid: int) -> int:
    """Returns a process's share of memory in bytes, 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0


def _wait_until_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path
) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            message = f"{process.args!r} does not serve: {log.read_text()[-2000:]}"
            raise RuntimeError(message)
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes], log: Path) -> float:
    """Ends a daemon and returns the processor time of its life in seconds."""
    if process.poll() is not None:
        message = f"{process.args!r} ended with {process.returncode}: {log.read_text()[-2000:]}"
        raise RuntimeError(message)
    descriptor = os.pidfd_open(process.pid)  # readable when the process has ended
    try:
        process.terminate()
        ended, _, _ = select.select([descriptor], [], [], _END_SECONDS)
    finally:
        os.close(descriptor)
    if not ended:
        process.kill()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if not ended:
        message = f"{process.args!r} did not end {_END_SECONDS:.0f} s after SIGTERM"
        raise RuntimeError(message)
    return usage.ru_utime + usage.ru_stime
