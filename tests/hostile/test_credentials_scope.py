"""Whose credentials go where, and who gets an image that is here already (K04, K05)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orlop.errors import AuthFailed
from orlop.ports.registry import Credentials
from orlop.registry.settings import HostSettings, RegistrySettings
from orlop.testing.certificates import Authority
from orlop.testing.fake_registry import FakeRegistry
from tests.hostile.registry_rig import Site, site
from tests.hostile.rows import case, row
from tests.unit.registry.rig import client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

USERS = {"ann": "wonderland"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    authority = Authority.make(directory / "authority")
    async with site(
        directory,
        authority=authority,
        plain=FakeRegistry(auth="basic", users=USERS),
        secure=FakeRegistry(
            auth="bearer", users=USERS, tls=authority.server("server", "IP:127.0.0.1")
        ),
        image_pull_with_sync_fs=False,
    ) as made:
        yield made


def ann(server: str = "") -> Credentials:
    return Credentials(username="ann", password="wonderland", server_address=server)


ELSEWHERE = [
    case("K04", "another-host", "registry.example"),
    case("K04", "another-port", "127.0.0.1:1"),
    case("K04", "no-port", "127.0.0.1"),
    case("K04", "another-port-by-url", "https://127.0.0.1:1/v2/"),
    case("K04", "sub-domain", "sub.{address}"),
    case("K04", "longer", "{address}0"),
    case("K04", "hub", "https://index.docker.io/v1/"),
    case("K04", "user-info", "https://{address}@registry.example/"),
]


@pytest.mark.parametrize("server", ELSEWHERE)
@pytest.mark.parametrize("wire", ["tcp", "tls"])
async def test_credentials_for_somebody_else(here: Site, wire: str, server: str) -> None:
    registry = here.plain if wire == "tcp" else here.secure
    registry.clear_requests()
    reference = here.offer(registry, here.fresh())
    wrong = ann(server.format(address=registry.address))
    await here.refuses(reference, AuthFailed, credentials=wrong)
    assert not any(one.headers.get("authorization") == "Basic" for one in registry.requests)
    await here.gets(reference, ann(registry.address))


@row("K04")
async def test_two_hosts_in_turn() -> None:
    """Nothing that one host was told is remembered for another one."""
    async with (
        FakeRegistry(auth="basic", users=USERS) as one,
        FakeRegistry(auth="basic", users=USERS) as other,
        client(RegistrySettings(hosts={one.address: HostSettings(headers={"X-Own": "x"})})) as c,
    ):
        for fake in (one, other):
            fake.add_manifest("library/app", "latest", b"{}", "application/json")
        await c.remote(one, credentials=ann()).resolve()
        with pytest.raises(AuthFailed):
            await c.remote(other).resolve()
        assert not any(r.authorized or "x-own" in r.headers for r in other.requests)


STRANGERS = [
    case("K05", "nobody", None),
    case("K05", "wrong-password", Credentials(username="ann", password="wrong")),
    case("K05", "somebody-else", Credentials(username="bob", password="wonderland")),
    case("K05", "another-token", Credentials(registry_token="guessed")),
]


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("wire", ["tcp", "tls"])
async def test_an_image_that_is_here(here: Site, wire: str, stranger: Credentials | None) -> None:
    registry = here.plain if wire == "tcp" else here.secure
    image = here.fresh()
    reference = here.offer(registry, image)
    await here.pull(reference, ann())
    name = reference.rpartition(":")[0]
    for asked in (reference, f"{name}@{image.digest}"):
        await here.refuses(asked, AuthFailed, credentials=stranger)
    assert await here.store.service.remove(reference)
