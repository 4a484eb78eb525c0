"""Challenges and token services that are out for credentials, or out of their minds."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orlop.errors import AuthFailed, AuthPolicy, OrlopError, RegistryProtocol
from orlop.ports.registry import Credentials
from orlop.testing.certificates import Authority
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault, challenge, redirect
from orlop.testing.scenarios import endless_body, endless_head
from tests.hostile.registry_rig import Site, site
from tests.hostile.rows import case, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

ANN = Credentials(username="ann", password="canary-password")
GOOD = frozenset({"good"})
WIRES = pytest.mark.parametrize("wire", ["tcp", "tls"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    authority = Authority.make(directory / "authority")
    users = {"ann": "canary-password"}
    async with site(
        directory,
        authority=authority,
        plain=FakeRegistry(auth="bearer", users=users, registry_tokens=GOOD),
        secure=FakeRegistry(
            auth="bearer",
            users=users,
            registry_tokens=GOOD,
            tls=authority.server("server", "IP:127.0.0.1"),
        ),
        image_pull_with_sync_fs=False,
    ) as made:
        yield made


@pytest.fixture
def registry(wire: str, here: Site) -> Iterator[FakeRegistry]:
    made = here.plain if wire == "tcp" else here.secure
    yield made
    made.clear_rules()
    made.clear_requests()


async def refuses(
    here: Site, registry: FakeRegistry, fault: Fault, path: str, kind: type[OrlopError]
) -> OrlopError:
    """Pull with credentials while requests for ``path`` go wrong; afterwards all is well."""
    image = here.fresh()
    reference = here.offer(registry, image)
    registry.fail(fault, path=path, times=None)
    error = await here.survives(registry, reference, kind, credentials=ANN, image=image)
    assert "canary" not in f"{error!r} {error.hint}"
    return error


REALMS = [
    case("H10", "another-port", "http://127.0.0.1:1/token", AuthPolicy),
    case("H10", "loopback", "https://127.0.0.1:1/token", AuthPolicy),
    case("H10", "loopback-ipv6", "https://[::1]/token", AuthPolicy),
    case("H10", "private", "https://10.1.2.3/token", AuthPolicy),
    case("H10", "link-local", "https://169.254.169.254/token", AuthPolicy),
    case("H10", "metadata-ipv6", "https://[fd00:ec2::254]/token", AuthPolicy),
    case("H10", "6to4", "https://[2002:a9fe:a9fe::]/token", AuthPolicy),
    case("H10", "nat64", "https://[64:ff9b::a9fe:a9fe]/token", AuthPolicy),
    case("H10", "a-number", "https://2852039166/token", AuthPolicy),
    case("H10", "hexadecimal", "https://0xa9fea9fe/token", AuthPolicy),
    case("H10", "without-tls", "http://auth.example/token", AuthPolicy),
    case("H10", "another-domain", "https://auth.example/token", AuthPolicy),
    case("H10", "a-file", "file:///etc/passwd", AuthPolicy),
    case("H10", "data", "data:,x", AuthPolicy),
    case("H10", "no-scheme", "/token", AuthPolicy),
    case("H10", "user-name", "https://ann:x@127.0.0.1/token", AuthPolicy),
    case("H10", "nonsense", "https://[/token", RegistryProtocol),
]


@WIRES
@pytest.mark.parametrize(("realm", "kind"), REALMS)
async def test_realms(
    here: Site, registry: FakeRegistry, realm: str, kind: type[OrlopError]
) -> None:
    asks = challenge(f'Bearer realm="{realm}",service="s",scope="repository:a:pull"')
    await refuses(here, registry, asks, "/v2/", kind)
    authorized = [one for one in registry.requests if one.authorized]
    assert {one.path for one in authorized if one.headers["authorization"] == "Basic"} <= {"/token"}


@WIRES
@row("H10")
async def test_a_token_service_that_sends_elsewhere(here: Site, registry: FakeRegistry) -> None:
    with FakeRegistry() as thief:
        kind: type[OrlopError] = AuthFailed if registry is here.plain else AuthPolicy
        # What is no token is refused; what matters is what the thief saw.
        await refuses(here, registry, redirect(f"{thief.url}/token?x"), "/token", kind)
        assert not any(one.authorized for one in thief.requests)


def token(**document: object) -> Fault:
    return Fault(status=200, body=json.dumps(document).encode())


TOKENS = [
    case("H11", "endless", endless_body(chunked=True), AuthFailed),
    case("H11", "endless-until-the-end", endless_body(chunked=False), AuthFailed),
    case("H11", "endless-head", endless_head(), RegistryProtocol),
    case("H11", "long", Fault(status=200, body=b"x" * (1 << 20)), AuthFailed),
    case("H11", "empty", Fault(status=200, body=b""), AuthFailed),
    case("H11", "no-document", Fault(status=200, body=b"<html>"), AuthFailed),
    case("H11", "a-list", Fault(status=200, body=b"[]"), AuthFailed),
    case("H11", "deep", Fault(status=200, body=b"[" * 60_000), AuthFailed),
    case("H11", "no-token", token(access_token=""), AuthFailed),
    case("H11", "a-number", token(token=5), AuthFailed),
    case("H11", "line-breaks", token(token="a\r\nX-Evil: b"), AuthFailed),
    case("H11", "no-ascii", token(token="\u00e4"), AuthFailed),
    case("H11", "refused", Fault(status=403, body=b'{"details":"no"}'), AuthFailed),
    case(
        "H11", "packed", Fault(headers={"Content-Encoding": "gzip"}, body=b"\x1f\x8b"), AuthFailed
    ),
]


@WIRES
@pytest.mark.parametrize(("fault", "kind"), TOKENS)
async def test_token_answers(
    here: Site, registry: FakeRegistry, fault: Fault, kind: type[OrlopError]
) -> None:
    await refuses(here, registry, fault, "/token", kind)


LIVES = [case("H11", f"life-{life}", life) for life in ("1e30", "-5", "0", "null", "0.5", "1e-300")]


@WIRES
@pytest.mark.parametrize("life", LIVES)
async def test_lives_of_tokens(here: Site, registry: FakeRegistry, life: str) -> None:
    reference = here.offer(registry, here.fresh())
    body = f'{{"token":"good","expires_in":{life}}}'.encode()
    registry.fail(Fault(status=200, body=body), path="/token", times=None)
    await here.gets(reference, ANN)


CHALLENGES = [
    case("H12", "a-megabyte", challenge('Bearer realm="' + "x" * (1 << 20) + '"')),
    case("H12", "open-quote", challenge('Bearer realm="https://auth.example')),
    case("H12", "many", challenge("Basic," * 10_000)),
    case("H12", "many-fields", challenge(*["Basic"] * 90)),
    case(
        "H12", "many-parameters", challenge("Bearer " + ",".join(f'p{n}="x"' for n in range(5000)))
    ),
    case("H12", "twice", challenge('Bearer realm="https://a.example",realm="https://b.example"')),
    case("H12", "spaces", challenge("Bearer" + " " * 60_000 + "=")),
    case("H12", "commas", challenge("," * 60_000 + "=")),
    case("H12", "backslashes", challenge('Bearer realm="' + "\\" * 60_000)),
]


@WIRES
@pytest.mark.parametrize("fault", CHALLENGES)
async def test_challenges(here: Site, registry: FakeRegistry, fault: Fault) -> None:
    begin = time.process_time()
    await refuses(here, registry, fault, "/v2/", RegistryProtocol)
    assert time.process_time() - begin < 2


@WIRES
@row("H13")
async def test_challenges_without_end(here: Site, registry: FakeRegistry) -> None:
    realm = f"{registry.url}/token"
    image = here.fresh()
    reference = here.offer(registry, image)
    for number in range(30):
        wanted = f'Bearer realm="{realm}",service="s{number}",scope="repository:a:pull"'
        registry.fail(challenge(wanted), path="/v2/")
    await here.refuses(reference, AuthFailed, credentials=ANN, keeps=())
    assert [one.method for one in registry.requests if "/v2/" in one.path] == ["HEAD"] * 3
    assert len([one for one in registry.requests if one.path == "/token"]) == 2


@WIRES
@row("H13")
async def test_a_token_serves_one_repository(here: Site, registry: FakeRegistry) -> None:
    for _ in range(2):
        await here.gets(here.offer(registry, here.fresh()), ANN)
    asked = [one.query for one in registry.requests if one.path == "/token"]
    assert len(asked) == len(set(asked)) == 2
    assert all("team" in query for query in asked)
