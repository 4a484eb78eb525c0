"""The worker: one process, one layer, four descriptors; and the fork-server that makes it.

``python -m orlop.unpack.worker FD PID`` is the fork-server of the daemon ``PID``.
It has imported all that a worker needs, has one thread and no state, and forks
a worker for each JOB that arrives on the socket ``FD``. A worker reads the blob
while it is being downloaded: the daemon tells it how far it may read. One
thread reads, decompresses and hashes; the main thread parses and applies. Both
spend their time in code that runs without the interpreter's lock.

Nothing here trusts the layer, and nothing opens a path that is not below the
target. Before it reads a byte, a worker gives up all that it does not need
(``orlop.unpack.jail``). A worker ends by ``os._exit``: what it has is files, and they are the
daemon's to keep or discard.
"""

from __future__ import annotations

import gc
import hashlib
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    OrlopError,
    StoreCorrupt,
)
from orlop.linux import isolation, procs, seccomp
from orlop.linux.files import as_store_error
from orlop.model import treemanifest
from orlop.model.mediatype import Compression
from orlop.model.tar import Entry, TarParser
from orlop.unpack import frames
from orlop.unpack.apply import Applier
from orlop.unpack.attributes import Owners
from orlop.unpack.decompress import MAGIC_BYTES, decompressor
from orlop.unpack.directories import NeedsParent
from orlop.unpack.frames import Kind
from orlop.unpack.jail import Fence, Jail
from orlop.unpack.journal import Journal

if TYPE_CHECKING:
    from orlop.model.limits import Limits

_READ_BYTES: Final = 256 * 1024
_QUEUED_PIECES: Final = 8
_PROGRESS_SECONDS: Final = 0.1
_JOB_DESCRIPTORS: Final = (3, 4)  # of which the fourth, for the manifest, may be missing

_SAMPLES: Final = (
    (bytes.fromhex("1f8b08000000000000ff03000000000000000000"), Compression.GZIP),
    (bytes.fromhex("28b52ffd0001010000"), Compression.ZSTD),
)
"""Empty streams."""


class _SourceGone(Exception):
    """The daemon closed the control socket before the blob was complete."""


class _Stream:
    """The blob's bytes, decompressed, hashed and counted; filled by a thread of its own."""

    def __init__(self, job: frames.Job, control: socket.socket, source: int) -> None:
        self._job = job
        self._control = control
        self._source = source
        self._available = 0
        self._ended = False
        self._hash = hashlib.new(job.algorithm)
        self._pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUED_PIECES)
        self._released = threading.Event()
        self.uncompressed = 0
        self.consumed = 0

    def start(self) -> None:
        """Make the thread; it reads nothing before ``release``."""
        threading.Thread(target=self._fill, name="decompress", daemon=True).start()

    def release(self) -> None:
        """Begin to read."""
        self._released.set()

    def next(self) -> bytes | None:
        """The next piece; None at the end. Raises what the thread ran into."""
        piece = self._pieces.get()
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def diff_hex(self) -> str:
        """The hash of everything, at the end."""
        return self._hash.hexdigest()

    def _fill(self) -> None:
        self._released.wait()
        try:
            self._decompress()
        except BaseException as error:  # noqa: BLE001 (handed to the main thread, which raises it)
            self._pieces.put(error)
        else:
            self._pieces.put(None)

    def _decompress(self) -> None:
        head = self._read(MAGIC_BYTES)
        stream = decompressor(head, self._job.compression, self._job.limits)
        data = head
        while data:
            for piece in stream.feed(data):
                self._hash.update(piece)
                self.uncompressed += len(piece)
                self._check_size(self._job.limits)
                self._pieces.put(piece)
            data = self._read(_READ_BYTES)
        stream.close()

    def _check_size(self, limits: Limits) -> None:
        if self.uncompressed > limits.layer_bytes:
            raise LimitExceeded(
                f"layer is longer than {limits.layer_bytes} bytes when uncompressed",
                limit="layer_bytes",
            )
        if (
            self.uncompressed > limits.layer_ratio_floor
            and self.uncompressed > limits.layer_ratio * max(self.consumed, 1)
        ):
            raise LimitExceeded(
                f"layer grows more than {limits.layer_ratio} times when uncompressed",
                limit="layer_ratio",
            )

    def _read(self, length: int) -> bytes:
        """Up to ``length`` bytes, at least one; ``b""`` at the end of the blob."""
        at = self.consumed
        while self._available <= at and not self._ended:
            self._listen()
        if self._available <= at:
            return b""
        while self._available - at < min(length, MAGIC_BYTES) and not self._ended:
            self._listen()
        data = os.pread(self._source, min(length, self._available - at), at)
        if not data:
            raise StoreCorrupt("layer file is shorter than it should be")
        self.consumed = at + len(data)
        return data

    def _listen(self) -> None:
        frame = self._control.recv(frames.MAX_FRAME)
        if not frame:
            raise _SourceGone
        self._available = frames.parse_count(frame)
        self._ended = frames.kind_of(frame) is Kind.END


def unpack(job: frames.Job, control: socket.socket, source: int, jail: Jail, manifest: int) -> None:
    """Apply one layer to ``jail.target`` and report on ``control``; raises what went wrong."""
    # Not a word before the fork-server has told the daemon who we are.
    if not control.recv(1, socket.MSG_PEEK):
        raise _SourceGone
    stream = _Stream(job, control, source)
    jail.enter(job.limits)
    stream.start()
    jail.filter_calls()
    if jail.missing:
        _tell_missing(control, jail, strict=job.strict)
    apply(job, control, stream, jail.target, manifest)


def apply(
    job: frames.Job, control: socket.socket, stream: _Stream, target: int, manifest: int
) -> None:
    """What is done inside: everything here has read a stranger's bytes."""
    parser = TarParser(job.limits)
    reported = time.monotonic()
    stream.release()
    journal = Journal(manifest)
    with Applier(target, job.mode, job.limits, journal, devices=job.devices) as applier:
        begin, write = applier.begin, applier.write
        owners = Owners(job.uids, job.gids, applier.dropped) if job.uids else None
        while (piece := stream.next()) is not None:
            for event in parser.feed(piece):
                if type(event) is Entry:
                    if owners is not None:
                        owners.adopt(event)
                    begin(event)
                else:
                    write(event)  # type: ignore[arg-type] # the only other kind
            now = time.monotonic()
            if now - reported >= _PROGRESS_SECONDS:
                reported = now
                control.send(frames.count(Kind.PROGRESS, stream.consumed))
        parser.close()
        applier.finish()
    for path_frame in frames.paths(Kind.IMPLIED, sorted(applier.implied)):
        control.send(path_frame)
    for path_frame in frames.paths(Kind.OPAQUE, sorted(applier.opaque)):
        control.send(path_frame)
    for kind, number in sorted(applier.dropped.items()):
        control.send(frames.dropped(kind, number))
    control.send(
        frames.done(
            frames.Done(
                uncompressed=stream.uncompressed,
                entries=parser.entries,
                disk_bytes=applier.disk_bytes,
                inodes=applier.inodes,
                diff_hex=stream.diff_hex(),
            )
        )
    )


def _tell_missing(control: socket.socket, jail: Jail, *, strict: bool) -> None:
    """Say which fences there are not; raises FailedPrecondition if all have to be there."""
    if strict:
        raise FailedPrecondition(
            f"unpack worker cannot be isolated: {jail.reason} ({jail.missing.name})"
        )
    control.send(frames.unfenced(jail.missing, jail.reason))


def run(
    job: frames.Job, control: socket.socket, source: int, jail: Jail, manifest: int = -1
) -> None:
    """``unpack``, with every outcome turned into the last frame."""
    try:
        unpack(job, control, source, jail, manifest)
    except NeedsParent:
        control.send(bytes([Kind.NEEDS_PARENT]))
    except _SourceGone:
        pass
    except OrlopError as error:
        _fail(control, error)
    except MemoryError:
        most = job.limits.worker_memory_bytes
        _fail(
            control,
            LimitExceeded(
                f"layer needs more than {most} bytes of memory to be unpacked",
                limit="worker_memory_bytes",
            ),
        )
    except OSError as error:
        _fail(control, _of_the_disk(error))
    except Exception as error:  # noqa: BLE001 (a defect of ours; this process ends, its cause is told)
        _fail(control, Internal(f"unpack worker failed: {type(error).__name__}: {error}"))


def _of_the_disk(error: OSError) -> OrlopError:
    """What the kernel's refusal means to whoever pulls the image."""
    found = as_store_error(error, "unpack a layer")
    if isinstance(found, (NotFound, AlreadyExists, InvalidArgument)):
        # True of a name in the tree; as an answer it would be about the image.
        return Internal(found.message)
    return found


def _fail(control: socket.socket, error: OrlopError) -> None:
    limit = error.limit if isinstance(error, LimitExceeded) else ""
    control.send(frames.failed(frames.Failed(error.reference, error.message, limit)))


def serve(server: socket.socket) -> None:
    """Fork a worker for each job, until the daemon closes its end."""
    gc.disable()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is the daemon's to handle
    while True:
        frame, descriptors, _, _ = socket.recv_fds(server, frames.MAX_FRAME, max(_JOB_DESCRIPTORS))
        if not frame:
            return
        try:
            if len(descriptors) in _JOB_DESCRIPTORS:
                _start_worker(frame, descriptors)
        finally:
            for fd in descriptors:
                os.close(fd)


def _start_worker(frame: bytes, descriptors: list[int]) -> None:
    """Fork, and tell the daemon who the worker is; or why there is none."""
    control = socket.socket(fileno=os.dup(descriptors[0]))
    with control, suppress(BrokenPipeError, ConnectionResetError):  # the daemon has given up
        try:
            pidfd = _fork(frame, descriptors)
        except OSError as error:
            _fail(control, as_store_error(error, "start an unpack worker"))
            return
        try:
            socket.send_fds(control, [bytes([Kind.STARTED])], [pidfd])
        finally:
            os.close(pidfd)


def _fork(frame: bytes, descriptors: list[int]) -> int:
    """Fork a worker; returns its pidfd.

    A child that ends is kept until the pidfd is there, so that it cannot be that
    of a stranger with the same number. All other children vanish by themselves.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    job = frames.parse_job(frame)
    jail = Jail(Fence(job.fences), descriptors[2])
    try:
        with ExitStack() as stack:
            ourselves = os.pidfd_open(os.getpid())
            stack.callback(os.close, ourselves)
            nowhere = procs.nowhere()  # here, where it can be told that there is none
            stack.callback(os.close, nowhere)
            if Fence.PROCESSES in jail.wanted:
                try:
                    stack.enter_context(isolation.children_alone())
                except OSError as error:
                    jail.note_missing(Fence.PROCESSES, error)
            pid = os.fork()
            if not pid:
                _become_worker(ourselves, nowhere, job, descriptors, jail)
        return os.pidfd_open(pid)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _become_worker(
    parent: int, nowhere: int, job: frames.Job, descriptors: list[int], jail: Jail
) -> None:
    """What the forked child does; never returns. ``parent`` is a pidfd."""
    status = 1
    try:
        procs.die_with_parent_outside(parent)
        procs.silence(nowhere)
        procs.close_all_but(descriptors)
        os.umask(0)
        os.environ.clear()
        control_fd, source, target, *manifest = descriptors
        os.fchdir(target)
        control = socket.socket(fileno=control_fd)
        run(job, control, source, jail, manifest[0] if manifest else -1)
        status = 0
    finally:
        os._exit(status)


def _warm_up() -> None:
    """Use once what would be loaded when it is needed, from a disk that a worker cannot see."""
    for algorithm in ("sha256", "sha512"):
        hashlib.new(algorithm).hexdigest()
    for data, compression in _SAMPLES:
        stream = decompressor(data, compression)
        for _ in stream.feed(data):
            pass
        stream.close()
    b"\xff".decode("utf-8", "surrogateescape").encode("utf-8", "replace")
    "x".encode("ascii", "replace")
    os.strerror(1)
    treemanifest.block(b"x")
    with suppress(OSError):  # a machine that is not known: the worker will say so
        seccomp.program(os.uname().machine)


def main() -> None:
    """Entry point of the fork-server: the socket's descriptor, and the daemon's process id."""
    procs.die_with_parent(int(sys.argv[2]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _warm_up()
    with socket.socket(fileno=int(sys.argv[1])) as server:
        serve(server)


if __name__ == "__main__":
    main()
