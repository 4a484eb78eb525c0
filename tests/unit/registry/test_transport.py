"""Connections: time-outs, limits, addresses, life (H26, H27, H30, H33)."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from orlop.errors import AuthPolicy, RegistryUnavailable
from orlop.model.limits import DEFAULTS
from orlop.registry.reach import Neighbourhood
from orlop.registry.settings import SYSTEM_TLS, RegistrySettings
from orlop.registry.transport import Request, Transport, _Resolver
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault
from tests.unit.registry.rig import TrafficLog, client, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    made = Transport(RegistrySettings(connections_per_host=2, header_timeout=5), DEFAULTS)
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
    transport = Transport(RegistrySettings(), DEFAULTS)
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
