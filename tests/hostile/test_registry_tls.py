"""Servers that cannot prove who they are, and connections that are no TLS (H29, H30, H33)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidReference, OrlopError, RegistryError, RegistryUnavailable, TLSFailed
from orlop.model.reference import Reference
from orlop.registry.settings import HostSettings, RegistrySettings
from orlop.testing.certificates import Authority
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Act, ConnectionFault
from tests.hostile.registry_rig import site
from tests.hostile.rows import case, row
from tests.unit.registry.rig import client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.root

DOCUMENT = b"{}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


def by_another(own: Authority) -> ssl.SSLContext:
    return Authority.make(own.directory / "another").server("x", "IP:127.0.0.1")


def old(own: Authority) -> ssl.SSLContext:
    context = own.server("old", "IP:127.0.0.1")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def expired(own: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*own.issue("expired", "IP:127.0.0.1", days=-1))
    return context


def curious(own: Authority) -> ssl.SSLContext:
    context = own.server("curious", "IP:127.0.0.1")
    context.load_verify_locations(own.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


SERVERS = [
    case("H29", "another-authority", by_another, TLSFailed, "certificate"),
    case(
        "H29", "another-name", lambda own: own.server("name", "DNS:other.test"), TLSFailed, "mism"
    ),
    case("H29", "another-address", lambda own: own.server("ip", "IP:127.0.0.2"), TLSFailed, "mism"),
    case("H29", "expired", expired, TLSFailed, "expired"),
    # These two say why in an alert, which may be lost with the connection.
    case("H29", "old-protocol", old, RegistryError, "registry"),
    case("H29", "wants-a-certificate", curious, RegistryError, "registry"),
]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("server", "kind", "words"), SERVERS)
async def test_servers_that_are_not_believed(
    authority: Authority,
    server: Callable[[Authority], ssl.SSLContext],
    kind: type[OrlopError],
    words: str,
) -> None:
    async with FakeRegistry(tls=server(authority)) as fake:
        hosts = {fake.address: HostSettings(ca_file=str(authority.certificate))}
        async with client(RegistrySettings(hosts=hosts)) as c:
            with pytest.raises(kind, match=words):
                await c.remote(fake).resolve()
        assert fake.requests == []


PLAIN = b"HTTP/1.1 200 OK\r\n\r\n"
GARBAGE = [
    case("H29", "garbage", ConnectionFault(raw=b"\x00" * 500, act=Act.CLOSE), TLSFailed),
    case(
        "H29",
        "plain-http",
        ConnectionFault(raw=PLAIN, act=Act.CLOSE),
        TLSFailed,
    ),
    case("H29", "end", ConnectionFault(act=Act.CLOSE), RegistryUnavailable),
    case("H29", "reset", ConnectionFault(act=Act.RESET), RegistryUnavailable),
]


@pytest.mark.parametrize(("fault", "kind"), GARBAGE)
async def test_what_is_no_tls(
    authority: Authority, fault: ConnectionFault, kind: type[OrlopError]
) -> None:
    async with FakeRegistry(tls=authority.server("good", "IP:127.0.0.1")) as fake:
        hosts = {fake.address: HostSettings(ca_file=str(authority.certificate))}
        async with client(RegistrySettings(hosts=hosts)) as c:
            fake.fail_connection(fault, times=10)
            with pytest.raises(kind):
                await c.remote(fake).resolve()
            assert fake.requests == []
            assert set(c.traffic.started) == {fake.address}


@row("H29")
async def test_trust_is_not_shared(authority: Authority) -> None:
    """Neither an authority nor the lack of care for one host counts for another."""
    server = authority.server("two", "IP:127.0.0.1")
    async with FakeRegistry(tls=server) as lax, FakeRegistry(tls=server) as strict:
        hosts = {
            lax.address: HostSettings(skip_verify=True),
            strict.address: HostSettings(plain_http=False),
        }
        for fake in (lax, strict):
            fake.add_manifest("library/app", "latest", DOCUMENT, "application/json")
        async with client(RegistrySettings(hosts=hosts)) as c:
            await c.remote(lax).resolve()
            with pytest.raises(TLSFailed):
                await c.remote(strict).resolve()
            await c.remote(lax).resolve()


@row("H29")
async def test_the_service_lives_on(tmp_path: Path, authority: Authority) -> None:
    secure = FakeRegistry(tls=expired(authority))
    async with site(tmp_path, secure=secure, authority=authority) as here:
        reference = here.offer(here.secure, here.fresh())
        await here.refuses(reference, TLSFailed)
        await here.gets(here.offer(here.plain, here.fresh()))


@pytest.mark.parametrize(
    "text",
    [
        case("H30", "user-and-password", "ann:secret@registry.example/app"),
        case("H30", "user", "ann@registry.example/app"),
        case("H30", "scheme", "https://registry.example/app"),
    ],
)
def test_references_name_no_user(text: str) -> None:
    with pytest.raises(InvalidReference):
        Reference.parse(text)


@row("H30")
async def test_the_environment_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1\nlogin ann\npassword canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with FakeRegistry() as proxy, FakeRegistry() as fake, client() as c:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://ann:canary@{proxy.address}")
        fake.add_manifest("library/app", "latest", DOCUMENT, "application/json")
        await c.remote(fake).resolve()
        assert proxy.connections == 0
        assert not any(one.authorized for one in fake.requests)
