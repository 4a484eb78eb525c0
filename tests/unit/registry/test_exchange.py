"""Redirects and retries over a real connection (H01-H03, H25, H30)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from orlop.errors import AuthFailed, AuthPolicy, NotFound, RegistryProtocol, RegistryUnavailable
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import OCI_LAYER
from orlop.ports.registry import Credentials
from orlop.registry.exchange import Question
from orlop.registry.hosts import Origin
from orlop.registry.reach import Neighbourhood
from orlop.registry.settings import SYSTEM_TLS, HostSettings, RegistrySettings, TLSSettings
from orlop.registry.transport import Request
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Act, Event, Fault, redirect
from tests.unit.registry.rig import client

if TYPE_CHECKING:
    from orlop.registry.remote import HTTPRemote

BLOB = b"some layer" * 100
LAYER = Descriptor(OCI_LAYER, Digest.of(BLOB), len(BLOB))
ALICE = Credentials(username="alice", password="wonderland")


def filled(**options: object) -> FakeRegistry:
    fake = FakeRegistry(**options)  # type: ignore[arg-type] # passed on as they are
    fake.add_blob(BLOB)
    return fake


async def read(remote: HTTPRemote, offset: int = 0) -> bytes:
    async with remote.blob(LAYER, offset=offset) as stream:
        pieces = []
        while piece := await stream.read():
            pieces.append(piece)
        return b"".join(pieces)


async def fetch(remote: HTTPRemote) -> bytes:
    """As a document: that is asked for again when the registry is failing."""
    return await remote.document(LAYER, limit=len(BLOB))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_to_another_origin_without_anything_private(status: int) -> None:
    async with filled(auth="basic", users={"alice": "wonderland"}) as fake, filled() as storage:
        own = {fake.address: HostSettings(headers={"X-Tenant": "secret tenant"})}
        async with client(RegistrySettings(hosts=own)) as c:
            target = f"{storage.url}/v2/x/blobs/{LAYER.digest}?sig=abc%2Fdef"
            # The first request is challenged, the second is redirected.
            fake.fail(Fault(status=401, headers={"WWW-Authenticate": "Basic"}))
            fake.fail(redirect(target, status=status))
            assert await read(c.remote(fake, credentials=ALICE), 10) == BLOB[10:]
            (there,) = storage.requests
            assert there.query == "sig=abc%2Fdef"
            assert there.headers["range"] == "bytes=10-"
            assert there.headers["user-agent"] == "orlop"
            assert not {"authorization", "cookie", "x-tenant", "referer"} & set(there.headers)
            assert fake.requests[1].headers["authorization"] == "Basic"
            assert fake.requests[1].headers["x-tenant"] == "secret tenant"
            assert c.traffic.started == [fake.address, fake.address, storage.address]


async def test_within_an_origin_everything_travels() -> None:
    async with filled(auth="basic", users={"alice": "wonderland"}) as fake, client() as c:
        fake.fail(Fault(status=401, headers={"WWW-Authenticate": "Basic"}))
        fake.fail(redirect(f"/v2/elsewhere/blobs/{LAYER.digest}"))
        assert await read(c.remote(fake, credentials=ALICE)) == BLOB
        assert fake.requests[2].path.startswith("/v2/elsewhere/")
        assert fake.requests[2].headers["authorization"] == "Basic"


def guarded() -> FakeRegistry:
    return filled(auth="basic", users={"alice": "wonderland"})


async def test_there_and_back_again_loses_the_credentials() -> None:
    async with guarded() as fake, filled() as storage, client() as c:
        fake.fail(Fault(status=401, headers={"WWW-Authenticate": "Basic"}))
        fake.fail(redirect(f"{storage.url}/v2/x/blobs/{LAYER.digest}"))
        storage.fail(redirect(f"{fake.url}/v2/x/blobs/{LAYER.digest}"))
        fake.fail(Fault(status=404))
        with pytest.raises(NotFound):
            await read(c.remote(fake, credentials=ALICE))
        assert "authorization" not in fake.requests[2].headers


async def test_a_challenge_from_elsewhere_is_not_answered() -> None:
    async with filled() as fake, guarded() as storage, client() as c:
        fake.fail(redirect(f"{storage.url}/v2/x/blobs/{LAYER.digest}"))
        with pytest.raises(AuthFailed, match=storage.address):
            await read(c.remote(fake, credentials=ALICE))
        assert len(storage.requests) == 1


async def test_five_redirects_and_no_more() -> None:
    async with filled() as fake, client() as c:
        fake.fail(redirect(f"/v2/library/app/blobs/{LAYER.digest}"), times=5)
        assert await read(c.remote(fake)) == BLOB
        fake.clear_requests()
        fake.fail(redirect(f"/v2/library/app/blobs/{LAYER.digest}"), times=None)
        with pytest.raises(RegistryProtocol, match="more than 5 times"):
            await read(c.remote(fake))
        assert len(fake.requests) == 6


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("file:///etc/shadow", RegistryProtocol),
        ("data:text/plain,x", RegistryProtocol),
        ("http://[not-an-address/", RegistryProtocol),
        ("http://host:99999/", RegistryProtocol),
        ("http://169.254.169.254/latest/", AuthPolicy),
        ("http://10.0.0.1/", AuthPolicy),
        ("http://0xa9fea9fe/", AuthPolicy),
        ("http://[fd00:ec2::254]/", AuthPolicy),
        ("http://0.0.0.0:1/", AuthPolicy),
        ("http://user:pass@127.0.0.1:1/", AuthPolicy),
    ],
)
async def test_places_that_are_not_visited(
    location: str, kind: type[RegistryProtocol | AuthPolicy]
) -> None:
    async with filled() as fake, client() as c:
        fake.fail(redirect(location), times=None)
        with pytest.raises(kind):
            await read(c.remote(fake))
        assert len(fake.requests) == 1
        assert c.traffic.started == [fake.address]


async def test_a_redirect_without_location_is_an_answer() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(status=302))
        with pytest.raises(Exception, match="answers 302"):
            await read(c.remote(fake))


async def test_a_retried_request_starts_at_the_registry_again() -> None:
    async with filled() as fake, filled() as storage, client() as c:
        fake.fail(redirect(f"{storage.url}/v2/x/blobs/{LAYER.digest}?one"))
        storage.fail(Fault(status=503))
        fake.fail(redirect(f"{storage.url}/v2/x/blobs/{LAYER.digest}?two"))
        assert await fetch(c.remote(fake)) == BLOB
        assert [r.query for r in storage.requests] == ["one", "two"]


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_broken_connections_are_tried_again(raw: bytes) -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(raw=raw), times=2)
        assert await fetch(c.remote(fake)) == BLOB
        fake.fail(Fault(raw=raw), times=None)
        with pytest.raises(RegistryUnavailable):
            await fetch(c.remote(fake))
        assert c.traffic.in_flight == 0


async def test_patience_has_an_end() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(status=429, headers={"Retry-After": "1000000000"}), times=None)
        with pytest.raises(RegistryUnavailable, match="too many requests"):
            await fetch(c.remote(fake))
        assert len(fake.requests) == 1


async def test_nothing_is_in_flight_while_waiting() -> None:
    seen = []
    async with filled() as fake, client() as c:

        def jitter() -> float:
            seen.append(c.traffic.in_flight)
            return 0.0

        c.registry._exchange._jitter = jitter
        fake.fail(Fault(status=503, body=b""), times=1)
        assert await fetch(c.remote(fake)) == BLOB
        assert seen == [0]


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * (70 << 10) + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"a" * 3000 + b"\r\n") * 30 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
    ],
)
async def test_answers_that_are_no_http(raw: bytes) -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(raw=raw), times=None)
        with pytest.raises(RegistryProtocol) as caught:
            await read(c.remote(fake))
        assert len(str(caught.value)) < 200
        assert len(fake.requests) <= 2


async def test_what_is_left_of_an_earlier_answer_is_not_taken_for_the_next_one() -> None:
    async with filled() as fake, client() as c:
        # The head says that there is no body; that comes when the next request is on its way.
        rest = Fault(headers={"Content-Length": "0"}, events=(Event(Act.PAUSE, 0, seconds=0.05),))
        fake.fail(rest)
        question = Question("GET", f"{fake.url}/v2/a/blobs/{LAYER.digest}", SYSTEM_TLS)
        exchange = c.registry._exchange
        async with await exchange.ask(question, c.traffic) as response:
            assert response.length == 0
        async with await exchange.ask(question, c.traffic) as response:
            assert await response.read_all(5000, name="error_bytes", within=5) == BLOB
        assert fake.connections == 2


async def test_interim_answers_have_an_end() -> None:
    async with filled() as fake, client(RegistrySettings(header_timeout=0.2)) as c:
        fake.fail(Fault(raw=b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50_000), times=None)
        with pytest.raises((RegistryUnavailable, RegistryProtocol)):
            await read(c.remote(fake))


async def test_what_a_redirected_request_keeps() -> None:
    known = HostSettings(ca_file="/ca.pem", headers={"X-Tenant": "t"})
    async with client(RegistrySettings(hosts={"storage.example": known})) as c:
        first = Origin("https", "10.0.0.1", 5000)
        question = Question(
            "GET",
            f"{first}/v2/",
            TLSSettings(skip_verify=True),
            headers={"Range": "bytes=1-"},
            private={"Authorization": "Bearer x"},
        )
        request = Request(
            "GET",
            URL(question.url),
            question.tls,
            headers={**question.headers, **question.private},
        )

        def go(location: str) -> Request:
            return c.registry._exchange._redirected(request, question, first, location)

        near = go("/other#fragment")
        assert str(near.url) == f"{first}/other"
        assert (near.tls, near.headers, near.home) == (request.tls, request.headers, None)
        far = go("https://cdn.example/x")
        assert (far.tls, far.headers, far.home) == (
            SYSTEM_TLS,
            question.headers,
            Neighbourhood.PRIVATE,
        )
        ours = go("https://storage.example/x")
        assert (ours.tls, ours.headers, ours.home) == (known.tls, question.headers, None)
        assert "Bearer" not in repr(question) + repr(request)


@pytest.mark.parametrize("as_date", [False, True])
async def test_one_too_many_slows_all_who_ask_that_host(as_date: bool) -> None:
    """A gate is closed for all; requests that come meanwhile are not even sent."""
    async with filled() as fake, client() as c:
        sent: list[int] = []

        async def sleep(seconds: float) -> None:
            sent.append(len(fake.requests))
            c.clock.seconds += seconds

        exchange = c.registry._exchange
        exchange._sleep = sleep
        patient = replace(exchange.settings.retry, longest_wait=60)
        exchange.settings = replace(exchange.settings, retry=patient)
        moment = datetime.fromtimestamp(c.clock.now() / 1e9 + 20, UTC)
        value = format_datetime(moment, usegmt=True) if as_date else "20"
        fake.fail(Fault(status=429, headers={"Retry-After": value}), times=1)
        with pytest.raises(RegistryUnavailable, match="too many requests"):
            await read(c.remote(fake))  # a layer is asked for again by whoever wants it
        started = c.clock.seconds
        assert await read(c.remote(fake)) == BLOB
        assert 18 < c.clock.seconds - started < 22
        assert sent == [1]


async def test_a_gate_that_is_closed_for_too_long_is_not_waited_for() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(status=503, headers={"Retry-After": "600"}))
        for _ in range(2):
            with pytest.raises(RegistryUnavailable, match=r"is failing|asks to wait for 600 s"):
                await read(c.remote(fake))
        assert len(fake.requests) == 1
