"""Names with many addresses, and mirrors that fail or lie (H33, H34)."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from orlop.errors import AuthPolicy
from orlop.model.limits import DEFAULTS
from orlop.model.mediatype import OCI_MANIFEST
from orlop.registry.reach import Neighbourhood
from orlop.registry.settings import SYSTEM_TLS, RegistrySettings
from orlop.registry.transport import Request, Transport
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault, challenge
from orlop.testing.manual_clock import ManualClock
from orlop.testing.scenarios import endless_head
from tests.hostile.rows import case, row
from tests.unit.registry.rig import TrafficLog, client
from tests.unit.registry.test_remote import DESCRIPTOR, DOCUMENT, guarded, over

if TYPE_CHECKING:
    from collections.abc import Sequence


class Names(aiohttp.ThreadedResolver):
    """Gives the next list of addresses for whatever name, and the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        super().__init__()
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        (one,) = await super().resolve("127.0.0.1", port, family)
        return [{**one, "hostname": host, "host": address} for address in addresses]


def named(transport: Transport, home: Neighbourhood | None, names: Names) -> None:
    """Let a transport ask ``names`` on behalf of registries at ``home``."""
    connector = transport._session(home).connector
    assert isinstance(connector, aiohttp.TCPConnector)
    connector._resolver._inner = names  # type: ignore[attr-defined] # the resolver of this room


@row("H33")
async def test_a_name_that_is_moved_inside_between_two_questions() -> None:
    transport = Transport(RegistrySettings(connect_timeout=0.3), DEFAULTS, ManualClock())
    traffic = TrafficLog()
    async with FakeRegistry() as inside:
        named(transport, Neighbourhood.PUBLIC, Names(["127.0.0.1"], ["169.254.169.254"]))
        url = URL(f"http://token.example:{inside.port}/token")
        for _ in range(2):
            with pytest.raises(AuthPolicy, match="where it may not send us"):
                await transport.send(
                    Request("GET", url, SYSTEM_TLS, home=Neighbourhood.PUBLIC), traffic
                )
        assert inside.connections == 0
    await transport.close()


@row("H33")
async def test_of_many_addresses_one_that_answers_is_enough() -> None:
    transport = Transport(RegistrySettings(), DEFAULTS, ManualClock())
    traffic = TrafficLog()
    with socket.socket() as full:  # its queue is full: it drops further SYNs
        full.bind(("127.0.0.2", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        fake = FakeRegistry()
        fake.port = full.getsockname()[1]
        async with fake:
            named(transport, None, Names(["127.0.0.2", "127.0.0.1"]))
            begin = time.monotonic()
            request = Request("GET", URL(f"http://many.example:{fake.port}/v2/"), SYSTEM_TLS)
            (await transport.send(request, traffic)).close()
            assert time.monotonic() - begin < 3
        for filler in fillers:
            filler.close()
    await transport.close()


MIRRORS = [
    case("H34", "other-bytes", Fault(corrupt_at=1)),
    case("H34", "gone", Fault(status=404)),
    case("H34", "failing", Fault(status=500)),
    case("H34", "refuses", Fault(status=403)),
    case("H34", "asks-for-a-token", challenge('Bearer realm="https://auth.example/token"')),
    case("H34", "sends-away", Fault(status=307, headers={"Location": "http://10.0.0.1/"})),
    case("H34", "no-http", Fault(raw=b"?")),
    case("H34", "silent", Fault(delay=30)),
    case("H34", "endless", endless_head()),
    case("H34", "login-page", Fault(body=b"<html>", headers={"Content-Type": "text/html"})),
]


@pytest.mark.parametrize("fault", MIRRORS)
async def test_mirrors(fault: Fault) -> None:
    settings = RegistrySettings(header_timeout=0.2)
    async with FakeRegistry() as mirror, guarded() as fake, client(settings) as c:
        mirror.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
        mirror.fail(fault, times=None)
        remote = over(c, mirror, upstream=fake)
        assert (await remote.resolve()).descriptor == DESCRIPTOR
        assert await remote.document(DESCRIPTOR, limit=1000) == DOCUMENT
        assert mirror.requests
        assert not any(one.authorized for one in mirror.requests)


@row("H34")
async def test_a_mirror_with_a_document_of_another_length() -> None:
    async with FakeRegistry() as mirror, guarded() as fake, client() as c:
        mirror.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
        mirror.fail(Fault(body=b"stale"), path=str(DESCRIPTOR.digest))
        remote = over(c, mirror, upstream=fake)
        assert await remote.document(DESCRIPTOR, limit=1000) == DOCUMENT


@row("H34")
async def test_a_mirror_that_is_not_there() -> None:
    mirror = FakeRegistry()
    async with mirror:
        pass
    async with guarded() as fake, client() as c:
        assert (await over(c, mirror, upstream=fake).resolve()).descriptor == DESCRIPTOR
