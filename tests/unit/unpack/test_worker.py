"""The worker's side: what it says, and how it and the fork-server end."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.linux.files import DIRECTORY
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.mediatype import Compression
from orlop.testing import layers
from orlop.unpack import frames, worker
from orlop.unpack.frames import Kind
from orlop.unpack.jail import NONE, Jail

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

LAYER = layers.tar_bytes([layers.file("a/f", b"content"), layers.whiteout("w")])
HEAVY = {"asyncio", "ssl", "http", "logging", "email", "grpc", "aiohttp", "apsw", "json", "shutil"}


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def job(size: int, *, limits: Limits = DEFAULTS) -> frames.Job:
    return frames.Job(Compression.NONE, "overlay", "sha256", size, limits)


def conversation(
    root: Path, data: bytes, said: list[bytes], *, limits: Limits = DEFAULTS
) -> list[bytes]:
    """Run a worker here, after the daemon has ``said`` something; returns its frames."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    target = os.open(root, DIRECTORY)
    with ours, theirs, tempfile.TemporaryFile() as source:
        source.write(data)
        source.flush()
        for frame in said:
            ours.send(frame)
        ours.shutdown(socket.SHUT_WR)
        try:
            # In this process nothing may be given up.
            jail = Jail(NONE, target)
            worker.run(job(len(data), limits=limits), theirs, source.fileno(), jail)
        finally:
            os.close(target)
        theirs.close()
        heard = []
        while frame := ours.recv(frames.MAX_FRAME):
            heard.append(frame)
    return heard


def test_says_everything(tmp_path: Path) -> None:
    said = [frames.count(Kind.AVAILABLE, 700), frames.count(Kind.END, len(LAYER))]
    heard = conversation(tmp_path, LAYER, said)
    assert [frames.kind_of(frame) for frame in heard] == [Kind.IMPLIED, Kind.DONE]
    assert frames.parse_paths(heard[0]) == [b".", b"a"]
    done = frames.parse_done(heard[1])
    assert done.diff_hex == hashlib.sha256(LAYER).hexdigest()
    assert (done.uncompressed, done.entries, done.inodes) == (len(LAYER), 2, 4)
    assert "NoNewPrivs:\t0" in Path("/proc/self/status").read_text(), "this process gave up some"


def test_nothing_is_said_to_a_daemon_that_left(tmp_path: Path) -> None:
    assert conversation(tmp_path, LAYER, []) == []
    assert conversation(tmp_path, LAYER, [frames.count(Kind.AVAILABLE, 512)]) == []


def test_needs_parent(tmp_path: Path) -> None:
    data = layers.tar_bytes([layers.hard_link("a", "b")])
    heard = conversation(tmp_path, data, [frames.count(Kind.END, len(data))])
    assert heard == [bytes([Kind.NEEDS_PARENT])]


def test_errors_keep_their_class_and_limit(tmp_path: Path) -> None:
    limits = replace(DEFAULTS, layer_entries=1)
    heard = conversation(tmp_path, LAYER, [frames.count(Kind.END, len(LAYER))], limits=limits)
    failed = frames.parse_failed(heard[-1])
    assert (failed.reference, failed.limit) == ("limit-exceeded", "layer_entries")


def test_short_file_is_corruption(tmp_path: Path) -> None:
    heard = conversation(tmp_path, LAYER, [frames.count(Kind.END, len(LAYER) + 1)])
    assert frames.parse_failed(heard[-1]).reference == "store-corrupt"


def test_a_defect_is_told(tmp_path: Path) -> None:
    # Nothing but the daemon can send this, and it does not.
    heard = conversation(tmp_path, LAYER, [b"\x03"])
    assert frames.parse_failed(heard[-1]).reference == "internal"


def test_imports_little() -> None:
    program = "import orlop.unpack.worker, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True, env={}
    )
    assert HEAVY.isdisjoint(done.stdout.split())


@contextmanager
def fork_server(parent: int) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-I", "-m", "orlop.unpack.worker", str(theirs.fileno()), str(parent)]
    with ours:
        with theirs:
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env={})
        try:
            yield ours, process
        finally:
            process.kill()
            process.wait()


def test_fork_server_ends_with_its_socket() -> None:
    with fork_server(os.getpid()) as (server, process):
        server.close()
        assert process.wait(10) == 0


def test_fork_server_of_a_dead_daemon_does_not_begin() -> None:
    with fork_server(1) as (_, process):
        assert process.wait(10) == -signal.SIGKILL


def test_fork_server_takes_jobs_only_whole(tmp_path: Path) -> None:
    frame = frames.job(job(len(LAYER)))
    with fork_server(os.getpid()) as (server, process), tempfile.TemporaryFile() as source:
        source.write(LAYER)
        source.flush()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        target = os.open(tmp_path, DIRECTORY)
        with ours:
            with theirs:
                socket.send_fds(server, [frame], [source.fileno()])
                socket.send_fds(server, [frame], [theirs.fileno(), source.fileno(), target])
            os.close(target)
            started, descriptors, _, _ = socket.recv_fds(ours, 100, 1)
            assert frames.kind_of(started) is Kind.STARTED
            process.send_signal(signal.SIGINT)  # a terminal's ^C is the daemon's to handle
            ours.send(frames.count(Kind.END, len(LAYER)))
            kinds = [frames.kind_of(ours.recv(frames.MAX_FRAME)) for _ in range(2)]
            assert kinds == [Kind.IMPLIED, Kind.DONE]
            assert ours.recv(100) == b""
            # The pidfd is readable when its process has ended.
            assert select.select(descriptors, [], [], 10)[0] == descriptors
            os.close(descriptors[0])
        assert process.poll() is None
    assert (tmp_path / "a" / "f").read_bytes() == b"content"


def test_worker_says_nothing_before_it_is_introduced(tmp_path: Path) -> None:
    # This target makes it fail at once; yet the fork-server's word comes first.
    target = os.open(tmp_path, os.O_PATH)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with fork_server(os.getpid()) as (server, _), tempfile.TemporaryFile() as source, ours:
        with theirs:
            frame = frames.job(job(1))
            socket.send_fds(server, [frame], [theirs.fileno(), source.fileno(), target])
        os.close(target)
        started, descriptors, _, _ = socket.recv_fds(ours, 100, 1)
        assert frames.kind_of(started) is Kind.STARTED
        assert select.select([ours], [], [], 0.1)[0] == []
        ours.send(frames.count(Kind.END, 1))
        assert frames.kind_of(ours.recv(frames.MAX_FRAME)) is Kind.FAILED
        os.close(descriptors[0])
