"""The daemon's doors, and who stands before them: a real daemon on a real socket."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from orlop._proto import runtime_v1_pb2 as runtime
from orlop._proto import runtime_v1_pb2_grpc as rpc
from orlop.daemon import MESSAGE_BYTES, STREAMS
from tests.rigs.running import Running, orlop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.root

NOBODY = 65534
GROUP = 4321
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
PING = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + b"12345678"


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A directory that others may enter; sockets have room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="doors") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture(scope="module")
def daemon(home: Path) -> Iterator[Running]:
    with Running(home) as running:
        yield running
        assert running.stop() == 0


def path_of(daemon: Running) -> str:
    return daemon.address.removeprefix("unix://")


def stub(channel: grpc.Channel) -> rpc.ImageServiceStub:
    return rpc.ImageServiceStub(channel)  # type: ignore[no-untyped-call]


def serves(daemon: Running) -> None:
    """Somebody else gets an answer, on a connection of their own."""
    alone = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.insecure_channel(daemon.address, options=alone) as channel:
        stub(channel).ListImages(runtime.ListImagesRequest(), timeout=10)


def as_user(uid: int, gid: int, work: Callable[[], object]) -> int:
    """Do something as another user; its errno, 0 for none."""
    child = os.fork()
    if not child:
        code = 255
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            work()
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def connecting(path: str) -> Callable[[], object]:
    def connect() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)

    return connect


@pytest.mark.row("L02")
def test_the_socket_is_for_its_owner(daemon: Running) -> None:
    path = path_of(daemon)
    found = os.stat(path)
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o600, 0, 0)
    assert as_user(NOBODY, NOBODY, connecting(path)) == errno.EACCES
    assert as_user(NOBODY, 0, connecting(path)) == errno.EACCES
    assert as_user(0, 0, connecting(path)) == 0


@pytest.mark.row("L02")
def test_a_group_may_be_let_in(home: Path) -> None:
    """Nobody else, also after a daemon that was killed and has left its socket."""
    place = home / "group"
    place.mkdir(mode=0o755)
    document = f'[plugins."io.containerd.server.v1.grpc"]\nuid = {GROUP + 1}\ngid = {GROUP}\n'
    for _ in range(2):
        with Running(place, document) as running:
            path = path_of(running)
            found = os.stat(path)
            assert stat.S_IMODE(found.st_mode) == 0o660
            assert (found.st_uid, found.st_gid) == (GROUP + 1, GROUP)
            assert as_user(NOBODY, GROUP, connecting(path)) == 0
            assert as_user(GROUP + 1, NOBODY, connecting(path)) == 0
            assert as_user(NOBODY, NOBODY, connecting(path)) == errno.EACCES
            serves(running)


@pytest.mark.row("L02")
def test_a_message_that_is_too_long(daemon: Running) -> None:
    with grpc.insecure_channel(daemon.address) as channel:
        images = stub(channel)
        request = runtime.PullImageRequest(image=runtime.ImageSpec(image="x" * MESSAGE_BYTES))
        with pytest.raises(grpc.RpcError) as refused:
            images.PullImage(request, timeout=20)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        images.ListImages(runtime.ListImagesRequest(), timeout=10)
        fields = (("x-large", "x" * (1 << 20)),)
        with pytest.raises(grpc.RpcError):
            images.ListImages(runtime.ListImagesRequest(), metadata=fields, timeout=10)
    serves(daemon)


@pytest.mark.row("L02")
def test_more_calls_than_a_connection_may_have(daemon: Running) -> None:
    """The others wait, and other connections are served."""
    with grpc.insecure_channel(daemon.address) as channel:
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
        calls = [watch(b"", timeout=60) for _ in range(STREAMS + 200)]
        started = [call for call in calls[:STREAMS] if next(call) is not None]
        assert len(started) == STREAMS
        assert not any(call.done() for call in calls)
        serves(daemon)
        for call in calls:
            call.cancel()
    serves(daemon)


@pytest.mark.row("L02")
@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 70_000, os.urandom(70_000), PREFACE + os.urandom(9000),
     PREFACE[:9], PREFACE + struct.pack(">I", 0xFFFFFF << 8) + b"\0\0\0\0\0" + bytes(99999)],
)  # fmt: skip
def test_what_is_no_call(daemon: Running, data: bytes) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(5)
        client.connect(path_of(daemon))
        with suppress(OSError):
            client.sendall(data)
        serves(daemon)


@pytest.mark.row("L02")
def test_pings_without_end(daemon: Running) -> None:
    """Whoever only wants to be answered is sent away."""
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(10)
        client.connect(path_of(daemon))
        client.sendall(PREFACE)
        answer = b""
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(100):
                client.sendall(PING * 100)
        with suppress(ConnectionResetError):
            while piece := client.recv(65536):
                answer += piece
        assert b"too_many_pings" in answer
    serves(daemon)


@pytest.mark.row("L02")
def test_connections_that_say_nothing(daemon: Running) -> None:
    clients = [socket.socket(socket.AF_UNIX) for _ in range(300)]
    try:
        for client in clients:
            client.connect(path_of(daemon))
        serves(daemon)
    finally:
        for client in clients:
            client.close()
    serves(daemon)


@pytest.mark.row("L02")
@pytest.mark.parametrize(
    "form", ["{}", "file://{}", "docker-archive:{}", "oci:{}", "localhost{}", "{}@sha256:00"]
)
def test_a_reference_opens_no_file(daemon: Running, home: Path, form: str) -> None:
    """Who opened the pipe for reading would let us open it for writing."""
    pipe = home / "pipe"
    with suppress(FileExistsError):
        os.mkfifo(pipe)
    spec = runtime.ImageSpec(image=form.format(pipe), user_specified_image=str(pipe))
    with grpc.insecure_channel(daemon.address) as channel:
        images = stub(channel)
        with pytest.raises(grpc.RpcError):
            images.PullImage(runtime.PullImageRequest(image=spec), timeout=10)
        assert not images.ImageStatus(runtime.ImageStatusRequest(image=spec), timeout=10).image.id
        images.RemoveImage(runtime.RemoveImageRequest(image=spec), timeout=10)
    with pytest.raises(OSError, match="No such device or address"):
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)


def listening(pid: int) -> list[str]:
    """Local addresses of a process's TCP sockets that listen."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    found = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in inodes and fields[3] in {"0A", "07"}:
                found.append(fields[1])
    return found


@pytest.mark.row("L02")
def test_nothing_is_open_to_the_network(daemon: Running, home: Path) -> None:
    assert daemon._process is not None
    assert listening(daemon._process.pid) == []
    place = home / "metrics"
    place.mkdir()
    table = '[plugins."io.containerd.server.v1.metrics"]\naddress = '
    with Running(place, f'{table}"127.0.0.1:0"\n') as running:
        assert running._process is not None
        (address,) = listening(running._process.pid)
        assert address.startswith("0100007F:")
    for address in ("0.0.0.0:9000", "[::]:9000", ":9000", "10.0.0.1:9000"):
        (place / "config.toml").write_text(f'version = 4\n{table}"{address}"\n')
        done = orlop("daemon", "--config", f"{place}/config.toml", "--root", f"{place}/r")
        assert done.code == 1
        assert "metrics" in done.err
