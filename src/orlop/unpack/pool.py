"""The daemon's side: starts the fork-server, hands out jobs, listens to workers.

One ``WorkerPool`` lives as long as the service. It owns the fork-server, a
process that dies with the daemon and takes its workers along. For each job it
opens a socket of its own to one worker; the worker is dead when ``unpack``
returns or raises.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import (
    DigestMismatch,
    Internal,
    LimitExceeded,
    OrlopError,
    Unavailable,
    rebuild,
)
from orlop.linux.files import translated
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULTS, Limits
from orlop.ports.unpack import Unpacked, UnpackJob
from orlop.unpack import frames
from orlop.unpack.frames import Kind
from orlop.unpack.jail import EVERY, NONE, Fence

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Self

    from orlop.ports.unpack import Source, UnpackProgress

_MAX_PATHS_BYTES: Final = 64 * 1024 * 1024
"""How much a worker may tell about paths: 2 million entries with short names."""

_ATTEMPTS: Final = 2
_PROGRAM: Final = (sys.executable, "-I", "-m", "orlop.unpack.worker")


class WorkerPool:
    """An ``Unpacker`` with a process for each layer.

    Open it on the event loop's thread: the fork-server dies with the thread
    that started it. ``async with`` closes it.

    Args:
        limits: of layers and workers.
        fences: what workers are to give up; tests leave something out.
        niceness: how much workers leave to others, 0 to 19 (nice(2)).
        strict: True when a layer must not be read unless all fences are there. Otherwise
            ``warn`` is told once what is missing.
        warn: is told, in one line.
        devices: False where none can be made: they are left out, and counted.
        owners: how many users and groups there are, to whom files may belong; root gets
            those of others. (0, 0) is no bound: a file of somebody else is an error.
        program: the fork-server; tests put a hostile one in its place.
    """

    def __init__(
        self,
        limits: Limits = DEFAULTS,
        *,
        fences: Fence = EVERY,
        niceness: int = 0,
        strict: bool = False,
        warn: Callable[[str], None] = lambda _: None,
        devices: bool = True,
        owners: tuple[int, int] = (0, 0),
        program: Sequence[str] = _PROGRAM,
    ) -> None:
        self._limits = limits
        self._fences = fences
        self._niceness = niceness
        self._strict = strict
        self._warn = warn
        self._warned = NONE
        self._devices = devices
        self._owners = owners
        self._program = program
        self._server: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def pid(self) -> int:
        """Process id of the fork-server, 0 while there is none."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the fork-server if it does not run; returns before it is ready.

        Raises:
            Unavailable: the pool is closed, or there can be no process now.
        """
        if self._closed:
            raise Unavailable("unpack workers have been stopped")
        if self._process is not None and self._process.poll() is None:
            return
        self._stop_server()
        with translated("start the fork-server of unpack workers"), ExitStack() as undo:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.enter_context(ours)
            with theirs:
                self._process = subprocess.Popen(
                    [*self._program, str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env={},
                    cwd="/",
                )
            if self._niceness:  # workers inherit it
                os.setpriority(os.PRIO_PROCESS, self._process.pid, self._niceness)
            undo.pop_all()
        self._server = ours

    async def close(self) -> None:
        """End the fork-server, for good; jobs that still run end with it."""
        self._closed = True
        self._stop_server()

    def _stop_server(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def unpack(self, job: UnpackJob, progress: UnpackProgress | None = None) -> Unpacked:
        """See ``orlop.ports.unpack.Unpacker``."""
        for _ in range(_ATTEMPTS):
            # If the fork-server dies with our job before it, the next one is new.
            with suppress(_NotStarted):
                return await self._attempt(job, progress)
        raise Internal("unpack worker could not be started")

    async def _attempt(self, job: UnpackJob, progress: UnpackProgress | None) -> Unpacked:
        control, server = self._submit(job)
        with control:
            worker = _Worker(control, server, self._unfenced)
            try:
                return await worker.run(job, progress)
            finally:
                await _to_the_end(worker.end())

    def _unfenced(self, missing: Fence, reason: str) -> None:
        """Say what workers go without, once for each fence."""
        if missing & ~self._warned:
            self._warned |= missing
            self._warn(
                f"unpack workers are less isolated than they should be: {reason} ({missing.name})"
            )

    def _submit(self, job: UnpackJob) -> tuple[socket.socket, int]:
        """Hand a job to the fork-server.

        Returns:
            Our end of the worker's socket, and a pidfd of the fork-server; the caller's.
        """
        frame = frames.job(
            frames.Job(
                compression=job.compression,
                mode=job.mode,
                algorithm=job.diff_id.algorithm,
                size=job.size,
                limits=self._limits,
                fences=self._fences,
                strict=self._strict,
                devices=self._devices,
                uids=self._owners[0],
                gids=self._owners[1],
            )
        )
        with translated("start an unpack worker"):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                own = [job.manifest] if job.manifest >= 0 else []
                fds = [theirs.fileno(), job.source.fileno(), job.target, *own]
                return ours, self._send(frame, fds)
        except BaseException:
            ours.close()
            raise

    def _send(self, frame: bytes, descriptors: list[int]) -> int:
        """Pass a job on, to a new fork-server if the old one has died; returns its pidfd."""
        with translated("start an unpack worker"):
            try:
                return self._send_once(frame, descriptors)
            except (BrokenPipeError, ConnectionResetError):
                self._stop_server()
                return self._send_once(frame, descriptors)

    def _send_once(self, frame: bytes, descriptors: list[int]) -> int:
        self.start()
        assert self._server is not None
        pidfd = os.pidfd_open(self.pid)
        try:
            socket.send_fds(self._server, [frame], descriptors)
        except BaseException:
            os.close(pidfd)
            raise
        return pidfd


class _NotStarted(Exception):
    """The fork-server ended before it had made a worker."""


class _Worker:
    """One worker process, from the daemon's side of its socket.

    Args:
        control: our end of it; stays the caller's.
        server: a pidfd of the fork-server; ours, until ``end``.
        unfenced: is told what the worker goes without.
    """

    def __init__(
        self, control: socket.socket, server: int, unfenced: Callable[[Fence, str], None]
    ) -> None:
        self._control = control
        self._server = server
        self._unfenced = unfenced
        self._pidfd = -1
        self._introduced = False

    async def run(self, job: UnpackJob, progress: UnpackProgress | None) -> Unpacked:
        await self._introduce()
        feeder = asyncio.create_task(self._feed(job.source))
        listener = asyncio.create_task(self._listen(job, progress))
        try:
            await asyncio.wait({feeder, listener}, return_when=asyncio.FIRST_COMPLETED)
            if not listener.done():
                await feeder  # raises when the source has failed
            return await listener
        finally:
            for task in (feeder, listener):
                task.cancel()
            await asyncio.gather(feeder, listener, return_exceptions=True)

    async def end(self) -> None:
        """Kill the worker if it lives, and wait until it is gone."""
        try:
            if not self._introduced:
                # It may be about to be made; the fork-server answers in any case, or dies.
                with suppress(OrlopError, _NotStarted):
                    await self._introduce()
            if self._pidfd >= 0:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                await _readable(self._pidfd)
        finally:
            os.close(self._server)
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1

    async def _introduce(self) -> None:
        """Learn from the fork-server which process it is."""
        # A worker that is not tied to a dead fork-server yet still holds the other end.
        await _readable(self._control.fileno(), self._server)
        self._introduced = True
        try:
            frame, descriptors, flags, _ = socket.recv_fds(self._control, frames.MAX_FRAME, 1)
        except BlockingIOError:
            raise _NotStarted from None
        if descriptors:
            self._pidfd = descriptors[0]
        if not frame:
            raise _NotStarted
        kind = frames.kind_of(frame)
        if kind is Kind.FAILED:
            raise _failure(frame)
        if flags & socket.MSG_CTRUNC:
            raise Unavailable("too many open files: start an unpack worker")
        if kind is not Kind.STARTED or self._pidfd < 0:
            raise Internal("unpack worker sent a malformed frame")

    async def _feed(self, source: Source) -> None:
        """Tell the worker how far it may read, each time that grows."""
        loop = asyncio.get_running_loop()
        available = 0
        # A worker that has finished or failed no longer listens; its last frame tells why.
        with suppress(BrokenPipeError, ConnectionResetError):
            async for available in source.follow():
                await loop.sock_sendall(self._control, frames.count(Kind.AVAILABLE, available))
            await loop.sock_sendall(self._control, frames.count(Kind.END, available))

    async def _listen(self, job: UnpackJob, progress: UnpackProgress | None) -> Unpacked:
        """Read the worker's frames up to its last one."""
        loop = asyncio.get_running_loop()
        implied: list[bytes] = []
        opaque: list[bytes] = []
        dropped: dict[str, int] = {}
        told = 0
        while True:
            try:
                frame = await loop.sock_recv(self._control, frames.MAX_FRAME)
            except ConnectionResetError:
                # It ended before it had read all of ours; what it sent is still to come,
                # and the kernel reports this once only.
                continue
            if not frame:
                raise Internal("unpack worker died without a word")
            kind = frames.kind_of(frame)
            if kind is Kind.PROGRESS:
                if progress is not None:
                    progress.unpacked(min(frames.parse_count(frame), job.size))
            elif kind is Kind.UNFENCED:
                bits, reason = frames.parse_unfenced(frame)
                self._unfenced(Fence(bits & EVERY), reason)
            elif kind in (Kind.IMPLIED, Kind.OPAQUE):
                told += len(frame)
                if told > _MAX_PATHS_BYTES:
                    raise LimitExceeded(
                        "layer has too many directories without entries", limit="layer_entries"
                    )
                (implied if kind is Kind.IMPLIED else opaque).extend(frames.parse_paths(frame))
            elif kind is Kind.DROPPED:
                name, number = frames.parse_dropped(frame)
                if len(dropped) < 64:
                    dropped[name] = number
            else:
                return self._outcome(kind, frame, job, (implied, opaque, dropped))

    def _outcome(
        self,
        kind: Kind,
        frame: bytes,
        job: UnpackJob,
        told: tuple[list[bytes], list[bytes], dict[str, int]],
    ) -> Unpacked:
        if kind is Kind.NEEDS_PARENT:
            return Unpacked(needs_parent=True)
        if kind is Kind.FAILED:
            raise _failure(frame)
        if kind is not Kind.DONE:
            raise Internal("unpack worker sent a malformed frame")
        done = frames.parse_done(frame)
        if len(done.diff_hex) != len(job.diff_id.hex):
            raise Internal("unpack worker sent a malformed frame")
        if done.diff_hex != job.diff_id.hex:
            found = Digest(job.diff_id.algorithm, done.diff_hex)
            raise DigestMismatch(f"layer uncompresses to {found}, not to its diffID {job.diff_id}")
        implied, opaque, dropped = told
        return Unpacked(
            uncompressed=done.uncompressed,
            entries=done.entries,
            disk_bytes=done.disk_bytes,
            inodes=done.inodes,
            implied=tuple(implied),
            opaque=tuple(opaque),
            dropped=dropped,
        )


def _failure(frame: bytes) -> OrlopError:
    failed = frames.parse_failed(frame)
    return rebuild(failed.reference, failed.message, limit=failed.limit)


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Await ``work`` to its end, although the caller may be cancelled meanwhile."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _readable(*fds: int) -> None:
    """Wait until one of ``fds`` can be read (a pidfd can when its process has ended)."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    for fd in fds:
        loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        for fd in fds:
            loop.remove_reader(fd)
