"""Connections: time-outs, limits, addresses, life (H26, H27, H30, H33)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from orlop.errors import AuthPolicy, FailedPrecondition, RegistryUnavailable
from orlop.model.limits import DEFAULTS
from orlop.registry.proxy import from_environment
from orlop.registry.reach import Neighbourhood
from orlop.registry.settings import SYSTEM_TLS, RegistrySettings, TLSSettings
from orlop.registry.transport import Request, Transport, _Resolver
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault
from orlop.testing.manual_clock import ManualClock
from tests.unit.registry.rig import Authority, TrafficLog, client, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    made = Transport(
        RegistrySettings(connections_per_host=2, header_timeout=5), DEFAULTS, ManualClock()
    )
    yield made
    await made.close()


def request(fake: FakeRegistry, path: str = "/v2/", home: Neighbourhood | None = None) -> Request:
    return Request("GET", URL(f"http://localhost:{fake.port}{path}"), SYSTEM_TLS, home=home)


async def test_a_host_answers_only_so_many_requests_at_once(transport: Transport) -> None:
    traffic = TrafficLog()
    async with FakeRegistry() as fake:
        held = [await transport.send(request(fake), traffic) for _ in range(2)]
        # Small bodies have arrived with the head: reading them ends the requests.
        waiting = asyncio.create_task(transport.send(request(fake), traffic))
        await asyncio.sleep(0.05)
        assert len(traffic.started) == 2
        assert not waiting.done()
        held[0].close()
        (await waiting).close()
        held[1].close()
        assert traffic.in_flight == 0
    assert len(transport._slots) == 0


async def test_waiting_for_a_slot_can_be_cancelled(transport: Transport) -> None:
    traffic = TrafficLog()
    async with FakeRegistry() as fake:
        held = [await transport.send(request(fake), traffic) for _ in range(2)]
        waiting = asyncio.create_task(transport.send(request(fake), traffic))
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        for response in held:
            response.close()
        (await transport.send(request(fake), traffic)).close()
        assert traffic.in_flight == 0


async def test_a_head_that_does_not_come() -> None:
    async with FakeRegistry() as fake, client(RegistrySettings(header_timeout=0.05)) as c:
        fake.fail(Fault(delay=30), times=None)
        with pytest.raises(RegistryUnavailable, match=r"no answer within 0\.05 s"):
            await c.remote(fake).resolve()


async def test_a_connection_that_does_not_come_about() -> None:
    # A listening socket whose queue is full drops further SYNs.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = f"127.0.0.1:{full.getsockname()[1]}"
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            async with client(RegistrySettings(connect_timeout=0.1)) as c:
                with pytest.raises(RegistryUnavailable, match=r"no connection within 0\.1 s"):
                    await c.remote(address).resolve()
        finally:
            for filler in fillers:
                filler.close()


async def test_connection_refused() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        async with client() as c:
            with pytest.raises(RegistryUnavailable) as caught:
                await c.remote(address).resolve()
            assert str(caught.value) == f"registry {address}: connection refused"
            assert c.traffic.started == [address] * 3


async def test_an_unknown_host() -> None:
    async with client() as c:
        with pytest.raises(RegistryUnavailable, match=r"registry name\.invalid: .*name"):
            await c.remote("name.invalid").resolve()


@pytest.mark.parametrize("home", [Neighbourhood.PUBLIC, Neighbourhood.PRIVATE])
async def test_a_name_that_leads_inside(transport: Transport, home: Neighbourhood) -> None:
    traffic = TrafficLog()
    async with FakeRegistry() as fake:
        with pytest.raises(AuthPolicy, match="leads to a loopback address"):
            await transport.send(request(fake, home=home), traffic)
        assert fake.connections == 0
        assert traffic.in_flight == 0
        (await transport.send(request(fake, home=Neighbourhood.LOOPBACK), traffic)).close()


async def test_a_connection_serves_no_other_rule(transport: Transport) -> None:
    traffic = TrafficLog()
    async with FakeRegistry() as fake:
        response = await transport.send(request(fake), traffic)
        await response.discard()
        with pytest.raises(AuthPolicy):
            await transport.send(request(fake, home=Neighbourhood.PUBLIC), traffic)


async def test_where_hosts_live(transport: Transport) -> None:
    assert transport.neighbourhood("10.0.0.1") is Neighbourhood.PRIVATE
    assert transport.neighbourhood("localhost") is Neighbourhood.PUBLIC
    async with FakeRegistry() as fake:
        (await transport.send(request(fake), TrafficLog())).close()
    assert transport.neighbourhood("localhost") is Neighbourhood.LOOPBACK


async def test_only_allowed_addresses_are_left() -> None:
    class Fixed(aiohttp.ThreadedResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[aiohttp.abc.ResolveResult]:
            found = await super().resolve("127.0.0.1", port, family)
            return [{**found[0], "host": h} for h in ("169.254.169.254", "10.0.0.1", "1.1.1.1")]

    for home, expected in (
        (Neighbourhood.PUBLIC, ["1.1.1.1"]),
        (Neighbourhood.PRIVATE, ["10.0.0.1", "1.1.1.1"]),
        (Neighbourhood.LOOPBACK, ["1.1.1.1"]),
    ):
        resolver = _Resolver(home, {})
        resolver._inner = Fixed()
        assert [r["host"] for r in await resolver.resolve("name")] == expected


async def test_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with FakeRegistry() as fake, client() as c:
        fake.add_manifest("library/app", "latest", b"{}", "application/json")
        assert (await c.remote(fake).resolve()).raw == b"{}"


async def test_cookies_are_not_kept() -> None:
    async with FakeRegistry() as fake, client() as c:
        fake.add_manifest("library/app", "latest", b"{}", "application/json")
        fake.fail(Fault(headers={"Set-Cookie": "a=b; Path=/"}), times=None)
        await c.remote(fake).resolve()
        assert all("cookie" not in r.headers for r in fake.requests)


async def test_closing_ends_connections() -> None:
    transport = Transport(RegistrySettings(), DEFAULTS, ManualClock())
    async with FakeRegistry() as fake:
        await (await transport.send(request(fake), TrafficLog())).discard()
        assert fake.connections == 1
        await transport.close()
        await fake.all_closed()
        await transport.close()
        with pytest.raises(RuntimeError, match="closed"):
            await transport.send(request(fake), TrafficLog())


async def test_cancelling_a_connection_attempt_leaves_nothing() -> None:
    async with FakeRegistry() as fake, client() as c:
        fake.fail(Fault(delay=30), times=None)
        task = asyncio.create_task(c.remote(fake).resolve())
        await until(lambda: bool(fake.requests))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert c.traffic.in_flight == 0


async def test_discard_gives_up_on_a_long_body(transport: Transport) -> None:
    traffic = TrafficLog()
    async with FakeRegistry() as fake:
        fake.fail(Fault(status=500, body=b"x" * (8 << 20), chunked=True))
        response = await transport.send(request(fake), traffic)
        await response.discard()
        assert traffic.in_flight == 0
        assert traffic.bytes < 4 << 20
        await (await transport.send(request(fake), traffic)).discard()
        assert fake.connections == 2


async def test_all_hosts_together_answer_only_so_many_requests_at_once() -> None:
    transport = Transport(RegistrySettings(connections=2), DEFAULTS, ManualClock())
    traffic = TrafficLog()
    async with FakeRegistry() as one, FakeRegistry() as other:
        held = [await transport.send(request(fake), traffic) for fake in (one, other)]
        waiting = [asyncio.create_task(transport.send(request(one), traffic)) for _ in range(2)]
        await asyncio.sleep(0.02)
        assert len(traffic.started) == 2
        waiting[0].cancel()
        held[0].close()
        (await waiting[1]).close()
        held[1].close()
        await asyncio.wait(waiting)
        assert traffic.in_flight == 0
        assert transport._all_slots is not None
        assert not transport._all_slots.locked()
        await transport.close()


async def test_a_body_is_waited_for_only_while_it_is_read(transport: Transport) -> None:
    traffic = TrafficLog()
    async with FakeRegistry() as fake:
        digest = fake.add_blob(bytes(1_000_000))
        fake.fail(Fault(stall_at=500_000))
        response = await transport.send(request(fake, f"/v2/x/blobs/{digest}"), traffic)
        assert (traffic.in_flight, traffic.paused) == (1, 1)
        received = 0
        while received < 500_000:
            received += len(await response.read())
            assert traffic.paused == 1
        reading = asyncio.create_task(response.read())
        await asyncio.sleep(0)
        assert traffic.paused == 0
        reading.cancel()
        await asyncio.wait({reading})
        assert (traffic.in_flight, traffic.paused) == (0, 0)


async def test_a_body_that_is_empty_stays_so(transport: Transport) -> None:
    async with FakeRegistry() as fake:
        fake.fail(Fault(status=200, body=b""), times=None)
        head = replace(request(fake), method="HEAD")
        for asked in (head, request(fake)):
            async with await transport.send(asked, TrafficLog()) as response:
                assert [await response.read() for _ in range(3)] == [b""] * 3


async def test_connections_are_used_again(transport: Transport) -> None:
    async with FakeRegistry() as fake:
        digests = [fake.add_blob(os.urandom(300_000)) for _ in range(20)]
        for digest in digests:
            async with await transport.send(
                request(fake, f"/v2/x/blobs/{digest}"), TrafficLog()
            ) as response:
                while await response.read():
                    pass
        assert len(fake.requests) == 20
        assert fake.connections == 1


async def test_an_address_that_does_not_answer_costs_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first address of the name takes no connections; the second one does (RFC 8305)."""
    with socket.socket() as full:
        full.bind(("127.0.0.2", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]

        async def resolve(
            self: _Resolver, host: str, port: int = 0, family: int = socket.AF_INET
        ) -> list[aiohttp.abc.ResolveResult]:
            found = await self._inner.resolve("127.0.0.1", port, socket.AF_INET)
            return [{**found[0], "host": address} for address in ("127.0.0.2", "127.0.0.1")]

        monkeypatch.setattr(_Resolver, "resolve", resolve)
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            server = await asyncio.start_server(_answer, "127.0.0.1", port)
            transport = Transport(RegistrySettings(connect_timeout=5), DEFAULTS, ManualClock())
            where = Request("GET", URL(f"http://name.test:{port}/v2/"), SYSTEM_TLS)
            async with asyncio.timeout(2):
                (await transport.send(where, TrafficLog())).close()
            await transport.close()
            server.close()
        finally:
            for filler in fillers:
                filler.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


# Proxies.


@dataclass
class ProxyServer:
    """A proxy that writes down what it is asked; it tunnels, or answers itself."""

    heads: list[bytes] = field(default_factory=list)
    target: int = 0
    status: bytes = b"200 OK"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 " + self.status + b"\r\nContent-Length: 0\r\n\r\n")
        if self.target:
            inner = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer))
        writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def through(proxy: ProxyServer) -> AsyncIterator[Transport]:
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://alice:wonderland@localhost:{port}"
    proxies = from_environment({"HTTP_PROXY": url, "HTTPS_PROXY": url})
    transport = Transport(RegistrySettings(proxies=proxies), DEFAULTS, ManualClock())
    try:
        yield transport
    finally:
        await transport.close()
        server.close()


async def test_plain_requests_go_through_the_proxy() -> None:
    proxy = ProxyServer()
    async with through(proxy) as transport:
        # Also from a public registry: the name that is resolved here is the proxy's.
        for home in (None, Neighbourhood.PUBLIC):
            far = Request("GET", URL("http://r.example/v2/"), SYSTEM_TLS, home=home)
            (await transport.send(far, TrafficLog())).close()
    assert proxy.heads[0].startswith(b"GET http://r.example/v2/ HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic " in proxy.heads[0]


async def test_a_tunnel_hides_the_proxys_credentials_from_the_registry(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue("server", "DNS:r.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with FakeRegistry(tls=context) as fake:
        proxy = ProxyServer(target=fake.port)
        async with through(proxy) as transport:
            trusted = TLSSettings(ca_files=(str(authority.certificate),))
            there = Request("GET", URL("https://r.example/v2/"), trusted)
            response = await transport.send(there, TrafficLog())
            assert response.status == 200
            response.close()
    assert proxy.heads[0].startswith(b"CONNECT r.example:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization" in proxy.heads[0]
    assert [head for head in fake.requests[0].headers if head.startswith("proxy")] == []


async def test_a_proxy_that_refuses() -> None:
    proxy = ProxyServer(status=b"407 Proxy Authentication Required")
    async with through(proxy) as transport:
        there = Request("GET", URL("https://r.example/v2/"), SYSTEM_TLS)
        with pytest.raises(RegistryUnavailable) as caught:
            await transport.send(there, TrafficLog())
    assert str(caught.value) == "registry r.example: the proxy answers 407"


async def test_a_proxy_that_cannot_be_used() -> None:
    proxies = from_environment({"HTTPS_PROXY": "socks5://alice:wonderland@p.internal:1080"})
    transport = Transport(RegistrySettings(proxies=proxies), DEFAULTS, ManualClock())
    there = Request("GET", URL("https://r.example/v2/"), SYSTEM_TLS)
    with pytest.raises(FailedPrecondition, match=r"^registry r\.example: HTTPS_PROXY is not the"):
        await transport.send(there, TrafficLog())
    await transport.close()


async def test_a_proxy_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        proxies = from_environment({"HTTPS_PROXY": f"http://alice:wonderland@{address}"})
        transport = Transport(RegistrySettings(proxies=proxies), DEFAULTS, ManualClock())
        there = Request("GET", URL("https://r.example/v2/"), SYSTEM_TLS)
        with pytest.raises(RegistryUnavailable) as caught:
            await transport.send(there, TrafficLog())
        await transport.close()
    assert str(caught.value) == f"registry r.example: proxy {address}: connection refused"
