"""The fake registry itself, asked with the standard library's client."""

from __future__ import annotations

import base64
import gc
import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from orlop.model.digest import Digest
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault, Rule, redirect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOB = bytes(range(256)) * 4096
DIGEST = Digest.of(BLOB)
PATH = f"/v2/a/b/blobs/{DIGEST}"
TYPE = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        assert running.add_blob(BLOB) == DIGEST
        yield running


def ask(
    registry: FakeRegistry,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: str | None = None,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=10)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def test_blobs_and_ranges(registry: FakeRegistry) -> None:
    answer, body = ask(registry, PATH)
    assert (answer.status, body) == (200, BLOB)
    answer, body = ask(registry, PATH, headers={"Range": "bytes=1000-"})
    assert (answer.status, body) == (206, BLOB[1000:])
    assert answer.headers["Content-Range"] == f"bytes 1000-{len(BLOB) - 1}/{len(BLOB)}"
    answer, body = ask(registry, PATH, headers={"Range": "bytes=10-19"})
    assert (answer.status, body) == (206, BLOB[10:20])
    answer, _ = ask(registry, PATH, headers={"Range": f"bytes={len(BLOB)}-"})
    assert answer.status == 416
    answer, body = ask(registry, PATH, method="HEAD")
    assert (answer.status, body, answer.length) == (200, b"", 0)
    assert answer.headers["Content-Length"] == str(len(BLOB))


def test_manifests_by_tag_and_digest(registry: FakeRegistry) -> None:
    digest = registry.add_manifest("a/b", "v1", b"{}", TYPE)
    for name in ("v1", str(digest)):
        answer, body = ask(registry, f"/v2/a/b/manifests/{name}")
        assert (answer.status, body) == (200, b"{}")
        assert answer.headers["Content-Type"] == TYPE
        assert answer.headers["Docker-Content-Digest"] == str(digest)
    assert ask(registry, "/v2/other/manifests/v1")[0].status == 404
    registry.remove("v1")
    assert ask(registry, "/v2/a/b/manifests/v1")[0].status == 404
    assert ask(registry, f"/v2/a/b/manifests/{digest}")[0].status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/", 200),
        ("/", 404),
        ("/v2/a/b/tags/list", 404),
        ("/v2/a/b/blobs/garbage", 400),
        (f"/v2/a/b/blobs/{Digest.of(b'none')}", 404),
    ],
)
def test_other_paths(registry: FakeRegistry, path: str, status: int) -> None:
    assert ask(registry, path)[0].status == status


def test_it_remembers_requests_without_secrets(registry: FakeRegistry) -> None:
    ask(registry, f"{PATH}?a=b%20c", headers={"Authorization": "Basic canary", "X-A": "1"})
    (request,) = registry.requests
    assert (request.number, request.method, request.path) == (0, "GET", PATH)
    assert request.query == "a=b%20c"
    assert request.headers["authorization"] == "Basic"
    assert request.headers["x-a"] == "1"
    assert "canary" not in repr(registry.requests)
    registry.clear_requests()
    assert registry.requests == []


def test_connections_are_kept(registry: FakeRegistry) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=10)
    for _ in range(3):
        connection.request("GET", PATH)
        assert connection.getresponse().read() == BLOB
    connection.close()
    assert registry.connections == 1


def test_faults_of_the_head(registry: FakeRegistry) -> None:
    registry.fail(Fault(status=503, headers={"Retry-After": "7"}, body=b"busy"), times=2)
    for _ in range(2):
        answer, body = ask(registry, PATH)
        assert (answer.status, answer.headers["Retry-After"], body) == (503, "7", b"busy")
    assert ask(registry, PATH)[1] == BLOB
    registry.fail(Fault(headers={"Accept-Ranges": None}))
    assert "Accept-Ranges" not in ask(registry, PATH)[0].headers
    registry.fail(redirect("/elsewhere"))
    answer, _ = ask(registry, PATH)
    assert (answer.status, answer.headers["Location"]) == (307, "/elsewhere")
    registry.fail(Fault(ignore_range=True))
    assert ask(registry, PATH, headers={"Range": "bytes=5-"})[0].status == 200
    begin = time.monotonic()
    registry.fail(Fault(delay=0.1))
    ask(registry, PATH)
    assert time.monotonic() - begin >= 0.1


def test_faults_of_the_body(registry: FakeRegistry) -> None:
    registry.fail(Fault(corrupt_at=10))
    wrong = ask(registry, PATH)[1]
    assert [n for n, (a, b) in enumerate(zip(wrong, BLOB, strict=True)) if a != b] == [10]
    registry.fail(Fault(chunked=True))
    answer, body = ask(registry, PATH)
    assert (answer.headers["Transfer-Encoding"], body) == ("chunked", BLOB)
    registry.fail(Fault(truncate_at=1000))
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(registry, PATH)
    assert len(caught.value.partial) == 1000
    registry.fail(Fault(reset_at=1000))
    with pytest.raises(ConnectionResetError):
        ask(registry, PATH)
    registry.fail(Fault(raw=b"nonsense"))
    with pytest.raises(http.client.BadStatusLine):
        ask(registry, PATH)
    begin = time.monotonic()
    registry.fail(Fault(rate=10 * len(BLOB)))
    assert ask(registry, PATH)[1] == BLOB
    assert time.monotonic() - begin >= 0.09


def test_a_stall_lasts_until_the_client_hangs_up(registry: FakeRegistry) -> None:
    registry.fail(Fault(stall_at=5))
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=0.1)
    connection.request("GET", PATH)
    answer = connection.getresponse()
    assert answer.read(5) == BLOB[:5]
    with pytest.raises(TimeoutError):
        answer.read(1)
    answer.close()
    connection.close()


def test_stopping_ends_a_stall() -> None:
    with FakeRegistry() as registry:
        registry.add_blob(BLOB)
        registry.fail(Fault(stall_at=0))
        connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=10)
        connection.request("GET", PATH)
        connection.getresponse().close()
    connection.close()
    assert not [t for t in threading.enumerate() if t.name == "fake-registry"]


def test_stopping_ends_a_connection_that_nobody_has_looked_at_yet() -> None:
    for _ in range(20):
        with FakeRegistry() as registry:
            connection = socket.create_connection(("127.0.0.1", registry.port), timeout=10)
        assert connection.recv(1) == b""
        connection.close()
    gc.collect()  # a socket that was forgotten is an error here


def test_rules_are_taken_in_order_and_counted(registry: FakeRegistry) -> None:
    first = registry.fail(Fault(status=500), method="HEAD", times=None)
    second = registry.fail(Fault(status=501), path="/blobs/")
    registry.add_rule(Rule(lambda request: request.number == 3, Fault(status=502)))
    statuses = [ask(registry, PATH, method=m)[0].status for m in ("HEAD", "GET", "GET", "GET")]
    assert statuses == [500, 501, 200, 502]
    assert (first.times, second.times) == (None, 0)
    registry.clear_rules()
    assert ask(registry, PATH, method="HEAD")[0].status == 200


def authorization(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_basic_authentication() -> None:
    with FakeRegistry(auth="basic", users={"alice": "secret"}) as registry:
        answer, _ = ask(registry, "/v2/")
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="fake registry"'
        assert ask(registry, "/v2/", headers=authorization("alice", "secret"))[0].status == 200
        assert ask(registry, "/v2/", headers=authorization("alice", "wrong"))[0].status == 401
        assert ask(registry, "/v2/", headers=authorization("bob", ""))[0].status == 401
        assert ask(registry, "/v2/", headers={"Authorization": "Basic ÿ"})[0].status == 401


def test_bearer_authentication() -> None:
    known = frozenset({"refresh"})
    with FakeRegistry(auth="bearer", users={"a": "s"}, identity_tokens=known) as registry:
        registry.add_blob(BLOB)
        answer, _ = ask(registry, PATH)
        assert answer.status == 401
        assert 'scope="repository:a/b:pull"' in answer.headers["WWW-Authenticate"]
        assert f'realm="{registry.url}/token"' in answer.headers["WWW-Authenticate"]
        assert ask(registry, "/token")[0].status == 401
        assert ask(registry, "/token", method="POST", body="refresh_token=x")[0].status == 401
        for method, headers, form in (
            ("GET", authorization("a", "s"), None),
            ("POST", {}, "refresh_token=refresh"),
        ):
            _, body = ask(registry, "/token", method=method, headers=headers, body=form)
            token = json.loads(body)["token"]
            bearer = {"Authorization": f"Bearer {token}"}
            assert ask(registry, PATH, headers=bearer)[1] == BLOB
            registry.expire_tokens()
            assert ask(registry, PATH, headers=bearer)[0].status == 401


def test_tokens_expire() -> None:
    with FakeRegistry(auth="bearer", token_life=0.05) as registry:
        token = json.loads(ask(registry, "/token")[1])["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        assert ask(registry, "/v2/", headers=bearer)[0].status == 200
        time.sleep(0.06)
        assert ask(registry, "/v2/", headers=bearer)[0].status == 401


def test_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    with FakeRegistry(tls=server) as registry:
        assert registry.url == f"https://{registry.address}"
        trusting = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", registry.port, timeout=10, context=trusting
        )
        connection.request("GET", "/v2/")
        assert connection.getresponse().status == 200
        connection.close()


async def test_on_the_callers_loop_and_again_on_the_same_port() -> None:
    registry = FakeRegistry()
    async with registry:
        port = registry.port
    async with registry:
        assert registry.port == port
    await registry.stop()
