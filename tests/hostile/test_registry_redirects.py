"""Redirects between registries that exist: what crosses, and what must not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orlop.errors import AuthFailed, AuthPolicy, RegistryProtocol
from orlop.ports.registry import Credentials
from orlop.registry.settings import HostSettings
from orlop.testing.certificates import Authority
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import redirect
from tests.hostile.registry_rig import Site, site
from tests.hostile.rows import row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orlop.testing.faults import RecordedRequest

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

ANN = Credentials(username="ann", password="canary-password")
OWN = {"X-Secret": "canary-header", "Proxy-Authorization": "Basic canary", "Cookie": "c=canary"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    authority = Authority.make(directory / "authority")
    server = authority.server("server", "IP:127.0.0.1")
    users = {"ann": "canary-password"}
    async with site(
        directory,
        authority=authority,
        plain=FakeRegistry(auth="basic", users=users),
        secure=FakeRegistry(auth="basic", users=users, tls=server),
        host=HostSettings(headers=OWN),
        image_pull_with_sync_fs=False,
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def in_order(here: Site) -> Iterator[None]:
    yield
    for one in (here.plain, here.secure):
        one.clear_rules()
        one.clear_requests()


def moved(registry: FakeRegistry, target: FakeRegistry) -> None:
    """Send every request for a blob to the same path of another registry."""
    for digest in list(registry._answers.blobs):
        registry.fail(redirect(f"{target.url}/v2/x/blobs/{digest}"), path=digest, times=None)
        target.add_blob(registry._answers.blobs[digest])


SECRET = ("authorization", "x-secret", "proxy-authorization", "cookie")


def carried(request: RecordedRequest) -> set[str]:
    return set(SECRET) & set(request.headers)


@row("H01")
async def test_another_port_sees_nothing(here: Site) -> None:
    image = here.fresh()
    reference = here.offer(here.plain, image)
    with FakeRegistry() as storage:
        moved(here.plain, storage)
        await here.gets(reference, ANN)
        assert len(storage.requests) == 2
        assert [carried(one) for one in storage.requests] == [set()] * 2
        asked = {name for one in storage.requests for name in one.headers}
        assert asked <= {"host", "accept", "accept-encoding", "user-agent", "range"}
    here.plain.clear_rules()
    seen = [carried(one) for one in here.plain.requests]
    assert seen[1] == set(SECRET)  # what the first origin does get


@row("H01")
async def test_http_to_https_is_another_origin(here: Site) -> None:
    image = here.fresh()
    reference = here.offer(here.plain, image)
    registry = here.secure
    moved(here.plain, registry)
    # The other one wants credentials of its own, and gets none on the first one's behalf.
    await here.refuses(reference, AuthFailed, credentials=ANN)
    assert not any(one.authorized for one in registry.requests)
    here.plain.clear_rules()
    await here.gets(reference, ANN)


@row("H01")
async def test_a_challenge_from_elsewhere_is_not_answered(here: Site) -> None:
    image = here.fresh()
    reference = here.offer(here.plain, image)
    with FakeRegistry(auth="basic", users={"ann": "canary-password"}) as thief:
        moved(here.plain, thief)
        await here.refuses(reference, AuthFailed, credentials=ANN)
        assert [carried(one) for one in thief.requests] == [set()] * len(thief.requests)
    here.plain.clear_rules()
    await here.gets(reference, ANN)


@row("H03")
async def test_one_too_many(here: Site) -> None:
    image = here.fresh()
    reference = here.offer(here.plain, image)
    again = redirect("?again", status=302)
    here.plain.fail(again, path=str(image.id), times=5)
    await here.gets(reference, ANN)
    here.plain.fail(again, path=str(image.id), times=6)
    await here.refuses(reference, RegistryProtocol, credentials=ANN)


@row("H02")
async def test_without_tls(here: Site) -> None:
    image = here.fresh()
    reference = here.offer(here.secure, image)
    with FakeRegistry() as plain:
        moved(here.secure, plain)
        await here.refuses(reference, AuthPolicy, credentials=ANN)
        assert plain.connections == 0
    here.secure.clear_rules()
    await here.gets(reference, ANN)
