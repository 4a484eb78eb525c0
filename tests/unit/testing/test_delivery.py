"""Answers that go wrong on the way, seen from a bare socket, over TCP and over TLS."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest

from orlop.testing.certificates import Authority
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Act, ConnectionFault, Drip, Event, Fault, challenge, throttle
from orlop.testing.scenarios import (
    endless_body,
    endless_head,
    endless_interim,
    endless_trailers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Dial = Callable[[], socket.socket]

BLOB = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> ssl.SSLContext:
    return authority.server("server", "IP:127.0.0.1")


@pytest.fixture(params=["tcp", "tls"])
def registry(request: pytest.FixtureRequest, server: ssl.SSLContext) -> Iterator[FakeRegistry]:
    with FakeRegistry(tls=server if request.param == "tls" else None) as running:
        yield running


@pytest.fixture
def dial(registry: FakeRegistry, authority: Authority) -> Iterator[Dial]:
    """Opens connections; over TLS without patience for an end that is not announced."""
    context = ssl.create_default_context(cafile=authority.certificate)
    opened: list[socket.socket] = []

    def dial() -> socket.socket:
        raw = socket.create_connection(("127.0.0.1", registry.port), timeout=10)
        opened.append(raw)
        if registry.url.startswith("https"):
            wrapped = context.wrap_socket(
                raw, server_hostname="127.0.0.1", suppress_ragged_eofs=False
            )
            opened.append(wrapped)
            return wrapped
        return raw

    yield dial
    for one in opened:
        one.close()


def ask(connection: socket.socket, path: str, *fields: str, method: str = "GET") -> None:
    lines = [f"{method} {path} HTTP/1.1", *fields, "", ""]
    connection.sendall("\r\n".join(lines).encode())


def received(connection: socket.socket, *, until: int = 1 << 30) -> bytes:
    data = b""
    while len(data) < until and (piece := connection.recv(65536)):
        data += piece
    return data


@pytest.fixture
def path(registry: FakeRegistry) -> str:
    return f"/v2/a/blobs/{registry.add_blob(BLOB)}"


def test_a_reset(registry: FakeRegistry, dial: Dial, path: str) -> None:
    for event in (Event(Act.RESET, 100), Event(Act.RESET, 10, "head")):
        registry.fail(Fault(events=(event,)))
        connection = dial()
        ask(connection, path)
        # OpenSSL does not tell a reset from an end that was not announced.
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            received(connection)


@pytest.mark.parametrize("at", [0, 17, -2, None])
def test_an_end_in_the_head(registry: FakeRegistry, dial: Dial, path: str, at: int | None) -> None:
    connection = dial()
    ask(connection, path, method="HEAD")
    whole = received(connection, until=100)
    while not whole.endswith(b"\r\n\r\n"):
        whole += connection.recv(1000)
    registry.fail(Fault(events=(Event(Act.CLOSE, at, "head"),)))
    ask(connection, path)
    assert received(connection) == whole[:at]


def test_an_end_in_the_body(registry: FakeRegistry, dial: Dial, path: str) -> None:
    for at, end in ((0, b""), (5, BLOB[:5]), (-1, BLOB[:-1]), (None, BLOB), (10**6, BLOB)):
        registry.fail(Fault(events=(Event(Act.CLOSE, at),)))
        connection = dial()
        ask(connection, path)
        assert received(connection).partition(b"\r\n\r\n")[2] == end


def test_a_half_closed_connection(registry: FakeRegistry, dial: Dial, path: str) -> None:
    registry.fail(Fault(events=(Event(Act.HALF_CLOSE, 5),)))
    connection = dial()
    ask(connection, path)
    if isinstance(connection, ssl.SSLSocket):
        with pytest.raises(ssl.SSLEOFError):
            received(connection)
    else:
        assert received(connection).endswith(BLOB[:5])
        connection.sendall(b"still there")


def test_pauses_and_drips(registry: FakeRegistry, dial: Dial, path: str) -> None:
    connection = dial()
    for fault, least in (
        (
            Fault(events=(Event(Act.PAUSE, 30, "head", 0.05), Event(Act.PAUSE, 1, seconds=0.05))),
            0.1,
        ),
        (Fault(drip=Drip(len(BLOB) // 4, 0.02)), 0.08),
        (Fault(drip=Drip(50, 0.01, "head"), body=b"x"), 0.03),
        (Fault(delay=0.05), 0.05),
    ):
        registry.fail(fault)
        begin = time.monotonic()
        ask(connection, path, "Connection: close")
        data = received(connection).partition(b"\r\n\r\n")[2]
        assert data in (BLOB, b"x")
        assert time.monotonic() - begin >= least
        connection = dial()


def test_a_stall_lasts_until_the_client_hangs_up(
    registry: FakeRegistry, dial: Dial, path: str
) -> None:
    registry.fail(Fault(events=(Event(Act.STALL, 20, "head"),)))
    connection = dial()
    ask(connection, path)
    assert received(connection, until=20) == b"HTTP/1.1 200 OK\r\nContent-Type"[:20]
    connection.settimeout(0.05)
    with pytest.raises(TimeoutError):
        connection.recv(1)


def test_bytes_between_and_chunks(registry: FakeRegistry, dial: Dial, path: str) -> None:
    interim = Event(Act.INSERT, 0, "head", data=b"HTTP/1.1 103 Early Hints\r\n\r\n")
    registry.fail(Fault(events=(interim, Event(Act.INSERT, 2, data=b"--")), body=b"abcd"))
    connection = dial()
    ask(connection, path, "Connection: close")
    data = received(connection)
    assert data.startswith(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n\r\nab--cd")
    registry.fail(Fault(chunked=True, body=b"abcd", events=(Event(Act.PAUSE, 1),)))
    connection = dial()
    ask(connection, path, "Connection: close")
    assert received(connection).endswith(b"\r\n\r\n1\r\na\r\n3\r\nbcd\r\n0\r\n\r\n")
    registry.fail(Fault(chunked=True, body=b"abcd", truncate_at=1))
    connection = dial()
    ask(connection, path)
    assert received(connection).endswith(b"\r\n\r\n1\r\na\r\n")


@pytest.mark.parametrize(
    "fault",
    [
        endless_head(),
        endless_interim(),
        endless_body(chunked=True),
        endless_body(chunked=False),
        endless_trailers(),
    ],
)
def test_answers_without_an_end(
    registry: FakeRegistry, dial: Dial, path: str, fault: Fault
) -> None:
    registry.fail(fault)
    connection = dial()
    ask(connection, path)
    assert len(received(connection, until=1_000_000)) >= 1_000_000


def test_fields_that_come_twice(registry: FakeRegistry, dial: Dial, path: str) -> None:
    registry.fail(Fault(headers={"Content-Length": ("3", "4")}))
    registry.fail(challenge("Basic", 'Bearer realm="x"'))
    registry.fail(throttle("9"))
    connection = dial()
    found = []
    for _ in range(3):
        ask(connection, path, method="HEAD")
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += connection.recv(1000)
        found.append(data)
    assert b"Content-Length: 3\r\nContent-Length: 4\r\n" in found[0]
    assert b'WWW-Authenticate: Basic\r\nWWW-Authenticate: Bearer realm="x"\r\n' in found[1]
    assert b"HTTP/1.1 429 Status\r\n" in found[2]
    assert b"Retry-After: 9\r\n" in found[2]


def test_connections_that_are_spoiled_before_any_request(registry: FakeRegistry) -> None:
    registry.fail_connection(ConnectionFault(raw=b"garbage", act=Act.CLOSE))
    registry.fail_connection(ConnectionFault(act=Act.RESET))
    registry.fail_connection(ConnectionFault(delay=0.05, act=Act.CLOSE), times=2)
    found = []
    begin = time.monotonic()
    for _ in range(4):
        try:
            with socket.create_connection(("127.0.0.1", registry.port), timeout=10) as connection:
                found.append(connection.recv(100))
        except ConnectionResetError:
            found.append(b"reset")
    assert found == [b"garbage", b"reset", b"", b""]
    assert time.monotonic() - begin >= 0.1


def test_a_slow_start_is_served_in_the_end(registry: FakeRegistry, dial: Dial, path: str) -> None:
    registry.fail_connection(ConnectionFault(delay=0.05))
    connection = dial()
    ask(connection, path, "Connection: close")
    assert received(connection).endswith(BLOB)


def test_what_was_asked_and_what_was_sent(registry: FakeRegistry, dial: Dial, path: str) -> None:
    connection = dial()
    for fields, method in (((), "HEAD"), (("Authorization: Basic x",), "GET")):
        ask(connection, path, *fields, method=method)
        data = b""
        while not data.endswith(b"\r\n\r\n" if method == "HEAD" else BLOB[-100:]):
            data += connection.recv(65536)
    registry.fail(Fault(truncate_at=100))
    ask(connection, path, "Range: bytes=1000-")
    received(connection)
    connection = dial()
    ask(connection, path, "Range: bytes=1100-", "Connection: close")
    received(connection)
    asked = [(r.connection, r.method, r.range, r.authorized) for r in registry.requests]
    assert asked == [
        (0, "HEAD", "", False),
        (0, "GET", "", True),
        (0, "GET", "bytes=1000-", False),
        (1, "GET", "bytes=1100-", False),
    ]
    sent = [(a.status, a.first, a.sent) for a in registry.answers]
    size = len(BLOB)
    assert sent == [(200, 0, 0), (200, 0, size), (206, 1000, 100), (206, 1100, size - 1100)]
    name = path.rpartition("/")[2]
    assert registry.fetched(name) == [(0, size), (1000, 1100), (1100, size)]


def test_a_range_that_is_not_the_one(registry: FakeRegistry, dial: Dial, path: str) -> None:
    registry.fail(Fault(shift=10))
    connection = dial()
    ask(connection, path, "Range: bytes=100-", "Connection: close")
    head, _, body = received(connection).partition(b"\r\n\r\n")
    assert f"Content-Range: bytes 110-{len(BLOB) - 1}/{len(BLOB)}".encode() in head
    assert body == BLOB[110:]


def test_tokens_can_expire_on_the_way(server: ssl.SSLContext) -> None:
    with FakeRegistry(auth="bearer") as registry:
        registry.add_blob(BLOB)
        registry.fail(Fault(events=(Event(Act.EXPIRE_TOKENS, 1),)), path="/token")
        with socket.create_connection(("127.0.0.1", registry.port), timeout=10) as connection:
            ask(connection, "/token", "Connection: close")
            assert b'"token"' in received(connection)
        assert registry.tokens == []
