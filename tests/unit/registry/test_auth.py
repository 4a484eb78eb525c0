"""Basic, bearer and OAuth2: what is sent, where, and how often (H10, H11, H13, K01, K04)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from orlop.errors import AuthFailed, AuthPolicy, OrlopError, RegistryProtocol, RegistryUnavailable
from orlop.model.mediatype import OCI_MANIFEST
from orlop.ports.registry import Credentials
from orlop.registry.settings import HostSettings, RegistrySettings
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault, challenge, redirect
from tests.unit.registry.rig import Client, client

if TYPE_CHECKING:
    from orlop.registry.remote import HTTPRemote

DOCUMENT = b'{"schemaVersion":2}'
USERS = {"alice": "wonderland"}
ALICE = Credentials(username="alice", password="wonderland")


def filled(fake: FakeRegistry) -> FakeRegistry:
    fake.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
    return fake


def basic() -> FakeRegistry:
    return filled(FakeRegistry(auth="basic", users=USERS))


def bearer(**options: object) -> FakeRegistry:
    return filled(FakeRegistry(auth="bearer", **options))  # type: ignore[arg-type] # passed on


def paths(fake: FakeRegistry) -> list[tuple[str, str]]:
    return [(r.method, r.path.rpartition("/")[2]) for r in fake.requests]


async def test_basic_only_after_a_challenge() -> None:
    async with basic() as fake, client() as c:
        await c.remote(fake, credentials=ALICE).resolve()
        first, second = fake.requests
        assert "authorization" not in first.headers
        assert second.headers["authorization"] == "Basic"


async def test_basic_is_remembered_for_the_pull_and_not_beyond() -> None:
    async with basic() as fake, client() as c:
        remote = c.remote(fake, credentials=ALICE)
        await remote.resolve()
        await remote.resolve()
        assert len(fake.requests) == 3
        with pytest.raises(AuthFailed, match="wants credentials"):
            await c.remote(fake).resolve()


async def test_a_wrong_password_is_sent_once() -> None:
    async with basic() as fake, client() as c:
        wrong = Credentials(username="alice", password="looking-glass")
        with pytest.raises(AuthFailed, match="does not accept the credentials") as caught:
            await c.remote(fake, credentials=wrong).resolve()
        assert "looking-glass" not in str(caught.value)
        assert [r.headers.get("authorization") for r in fake.requests] == [None, "Basic"]


async def test_no_credentials_for_basic() -> None:
    async with basic() as fake, client() as c:
        with pytest.raises(AuthFailed) as caught:
            await c.remote(fake).resolve()
        assert "log in" in caught.value.hint
        assert len(fake.requests) == 1


async def test_credentials_for_another_registry_stay_here() -> None:
    async with basic() as fake, client() as c:
        other = Credentials(username="alice", password="wonderland", server_address="other.test")
        with pytest.raises(AuthFailed, match="wants credentials"):
            await c.remote(fake, credentials=other).resolve()
        assert all("authorization" not in r.headers for r in fake.requests)
        own = Credentials(username="alice", password="wonderland", server_address=fake.url)
        await c.remote(fake, credentials=own).resolve()


async def test_an_anonymous_token() -> None:
    async with bearer() as fake, client() as c:
        await c.remote(fake).resolve()
        assert paths(fake) == [("HEAD", "latest"), ("GET", "token"), ("HEAD", "latest")]
        token = fake.requests[1]
        assert token.query == "service=fake+registry&scope=repository:library/app:pull"
        assert "authorization" not in token.headers
        assert fake.requests[2].headers["authorization"] == "Bearer"
        assert c.traffic.started == [fake.address] * 3
        assert c.traffic.bytes > 0


async def test_a_token_for_a_user() -> None:
    async with bearer(users=USERS) as fake, client() as c:
        await c.remote(fake, credentials=ALICE).resolve()
        assert fake.requests[1].headers["authorization"] == "Basic"
        assert "alice" not in fake.requests[1].query


async def test_a_refresh_token_is_posted() -> None:
    known = frozenset({"refresh-me"})
    async with bearer(users=USERS, identity_tokens=known) as fake, client() as c:
        held = Credentials(username="<token>", identity_token="refresh-me")
        await c.remote(fake, credentials=held).resolve()
        request = fake.requests[1]
        assert (request.method, request.path, request.query) == ("POST", "/token", "")
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        wrong = Credentials(identity_token="refresh-you")
        with pytest.raises(AuthFailed, match="refuses") as caught:
            await c.remote(fake, credentials=wrong).resolve()
        assert "refresh-you" not in str(caught.value)


async def test_a_registry_token_is_sent_as_it_is() -> None:
    async with bearer() as fake, client() as c:
        await c.remote(fake).resolve()
        (token,) = fake.tokens
        fake.clear_requests()
        await c.remote(fake, credentials=Credentials(registry_token=token)).resolve()
        assert paths(fake) == [("HEAD", "latest")] * 2
        with pytest.raises(AuthFailed):
            await c.remote(fake, credentials=Credentials(registry_token="old")).resolve()
        with pytest.raises(AuthFailed, match="no token has"):
            await c.remote(fake, credentials=Credentials(registry_token="a\r\nb: c")).resolve()


async def test_tokens_are_shared_by_pulls_with_the_same_credentials_only() -> None:
    async with bearer() as fake, client() as c:
        for _ in range(3):
            await c.remote(fake).resolve()
        assert [p for p in paths(fake) if p[1] == "token"] == [("GET", "token")]
        await c.remote(fake, credentials=ALICE).resolve()
        await c.remote(fake, credentials=Credentials(username="bob", password="b")).resolve()
        assert len([p for p in paths(fake) if p[1] == "token"]) == 3


async def test_tokens_are_not_shared_by_repositories() -> None:
    async with bearer() as fake, client() as c:
        fake.add_manifest("library/other", "latest", DOCUMENT, OCI_MANIFEST)
        await c.remote(fake).resolve()
        await c.remote(fake, "library/other:latest").resolve()
        scopes = [r.query.rpartition("scope=")[2] for r in fake.requests if r.path == "/token"]
        assert scopes == ["repository:library/app:pull", "repository:library/other:pull"]


async def test_layers_of_a_pull_wait_for_one_token() -> None:
    async with bearer() as fake, client() as c:
        remote = c.remote(fake)
        await asyncio.gather(*(remote.resolve() for _ in range(8)))
        assert len([p for p in paths(fake) if p[1] == "token"]) == 1


async def test_a_token_is_replaced_before_it_expires() -> None:
    async with bearer(token_life=100.0) as fake, client() as c:
        remote = c.remote(fake)
        await remote.resolve()
        c.clock.seconds += 94
        await remote.resolve()
        assert len([p for p in paths(fake) if p[1] == "token"]) == 1
        c.clock.seconds += 2
        await remote.resolve()
        assert len([p for p in paths(fake) if p[1] == "token"]) == 2
        assert [p for p in paths(fake) if p[0] == "HEAD"] == [("HEAD", "latest")] * 4


async def test_a_token_that_is_refused_is_replaced_once() -> None:
    async with bearer() as fake, client() as c:
        remote = c.remote(fake)
        await remote.resolve()
        fake.expire_tokens()
        await remote.resolve()
        assert len([p for p in paths(fake) if p[1] == "token"]) == 2


async def test_challenges_without_end() -> None:
    async with bearer() as fake, client() as c:
        always = 'Bearer realm="{}/token",scope="repository:library/app:pull{}"'
        for n in range(10):
            wanted = {"WWW-Authenticate": always.format(fake.url, n)}
            fake.fail(Fault(status=401, headers=wanted), path="/manifests/")
        with pytest.raises(AuthFailed):
            await c.remote(fake).resolve()
        assert [p[0] for p in paths(fake)] == ["HEAD", "GET", "HEAD", "GET", "HEAD"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"token": ""}',
        b'{"token": "a b"}',
        b'{"token": "a\\r\\nX-Evil: 1"}',
        b'{"token": "\\u00e4"}',
        b'{"token": 5}',
        b'{"token": "x", "expires_in": "soon"}',
        b"[" * 50_000,
        b'{"token": "' + b"x" * (64 << 10) + b'"}',
    ],
)
async def test_answers_without_a_usable_token(body: bytes) -> None:
    async with bearer() as fake, client() as c:
        fake.fail(Fault(body=body), path="/token")
        with pytest.raises(AuthFailed, match="token service"):
            await c.remote(fake).resolve()
        assert "authorization" not in fake.requests[-1].headers


async def test_an_endless_token() -> None:
    async with bearer() as fake, client() as c:
        fake.fail(Fault(body=b"x" * (32 << 20), chunked=True), path="/token")
        with pytest.raises(AuthFailed, match="too long"):
            await c.remote(fake).resolve()
        assert c.traffic.bytes < 8 << 20


@pytest.mark.parametrize("life", ["-1", "0", "1e30", "null", "0.5", "1" + "0" * 30])
async def test_lives_that_make_no_sense(life: str) -> None:
    async with bearer() as fake, client() as c:
        await c.remote(fake).resolve()
        (token,) = fake.tokens
        answer = f'{{"access_token": "{token}", "expires_in": {life}}}'.encode()
        fake.fail(Fault(body=answer), path="/token", times=None)
        c.clock.seconds += 1000
        remote = c.remote(fake)
        await remote.resolve()
        c.clock.seconds += 3601
        fake.clear_requests()
        await remote.resolve()
        assert ("GET", "token") in paths(fake)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, AuthFailed), (401, AuthFailed), (403, AuthFailed), (404, AuthFailed),
     (500, RegistryUnavailable), (503, RegistryUnavailable), (429, RegistryUnavailable)],
)  # fmt: skip
async def test_a_token_service_that_refuses(status: int, kind: type[OrlopError]) -> None:
    async with bearer() as fake, client() as c:
        body = json.dumps({"details": "wonderland is not\x1b the password"}).encode()
        fake.fail(Fault(status=status, body=body), path="/token", times=None)
        with pytest.raises(kind) as caught:
            await c.remote(fake, credentials=ALICE).resolve()
        assert "[REDACTED] is not\\x1b the password" in str(caught.value)
        assert "wonderland" not in str(caught.value)


async def resolve_with_realm(c: Client, fake: FakeRegistry, realm: str) -> None:
    wanted = {"WWW-Authenticate": f'Bearer realm="{realm}"'}
    fake.fail(Fault(status=401, headers=wanted), path="/manifests/")
    remote: HTTPRemote = c.remote(fake, credentials=ALICE)
    await remote.resolve()


@pytest.mark.parametrize(
    "realm",
    [
        "http://127.0.0.1:1/token",
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/",
        "https://[fd00:ec2::254]/",
        "https://10.0.0.1/",
        "https://evil.test/token",
        "http://evil.test/token",
        "file:///etc/passwd",
        "/token",
        "token",
    ],
)
async def test_realms_that_are_not_asked(realm: str) -> None:
    async with bearer() as fake, client() as c:
        with pytest.raises(AuthPolicy):
            await resolve_with_realm(c, fake, realm)
        assert c.traffic.started == [fake.address]


@pytest.mark.parametrize("realm", ["http://[x/", "http://a:99999/"])
async def test_realms_that_are_no_url(realm: str) -> None:
    async with bearer() as fake, client() as c:
        with pytest.raises(RegistryProtocol, match="no URL"):
            await resolve_with_realm(c, fake, realm)


async def test_a_realm_with_a_user_name() -> None:
    async with bearer() as fake, client() as c:
        with pytest.raises(AuthPolicy, match="user name"):
            await resolve_with_realm(c, fake, f"http://u:p@{fake.address}/token")


async def test_a_realm_with_a_query_keeps_it() -> None:
    async with bearer() as fake, client() as c:
        await resolve_with_realm(c, fake, f"{fake.url}/token?tenant=a%20b#fragment")
        token = next(r for r in fake.requests if r.path == "/token")
        assert token.query.startswith("tenant=a")
        assert token.query.endswith("&scope=repository:library/app:pull")


async def test_a_token_service_of_its_own_must_be_allowed() -> None:
    async with bearer() as service, bearer(realm=f"{service.url}/token") as fake:
        async with client() as c:
            with pytest.raises(AuthPolicy) as caught:
                await c.remote(fake, credentials=ALICE).resolve()
            assert service.address in caught.value.hint
        hosts = {fake.address: HostSettings(realms=(service.address,))}
        async with client(RegistrySettings(hosts=hosts)) as c:
            fake.share_tokens(service)
            await c.remote(fake, credentials=ALICE).resolve()
            assert service.requests[0].headers["authorization"] == "Basic"


async def test_a_token_service_that_redirects_elsewhere_takes_no_password_along() -> None:
    async with bearer() as fake, FakeRegistry() as elsewhere, client() as c:
        fake.fail(redirect(f"{elsewhere.url}/token"), path="/token")
        elsewhere.fail(Fault(status=401), path="/token")
        with pytest.raises(AuthFailed):
            await c.remote(fake, credentials=ALICE).resolve()
        assert all("authorization" not in r.headers for r in elsewhere.requests)


async def test_a_posted_form_is_not_redirected() -> None:
    async with bearer() as fake, FakeRegistry() as elsewhere, client() as c:
        fake.fail(redirect(f"{elsewhere.url}/token"), path="/token", method="POST")
        with pytest.raises(RegistryProtocol, match="posted form"):
            await c.remote(fake, credentials=Credentials(identity_token="refresh")).resolve()
        assert elsewhere.requests == []


async def test_a_malformed_challenge() -> None:
    async with bearer() as fake, client() as c:
        fake.fail(Fault(status=401, headers={"WWW-Authenticate": 'Bearer realm="'}))
        with pytest.raises(RegistryProtocol, match="malformed"):
            await c.remote(fake).resolve()


@pytest.mark.parametrize("value", [None, "Negotiate", "Digest realm=x"])
async def test_a_challenge_that_nobody_here_answers(value: str | None) -> None:
    async with bearer() as fake, client() as c:
        fake.fail(Fault(status=401, headers={"WWW-Authenticate": value}))
        with pytest.raises(AuthFailed):
            await c.remote(fake, credentials=ALICE).resolve()
        assert len(fake.requests) == 1


async def test_a_forbidden_repository() -> None:
    async with bearer() as fake, client() as c:
        body = b'{"errors":[{"code":"DENIED","message":"not yours"}]}'
        fake.fail(Fault(status=403, body=body), path="/manifests/", times=None)
        with pytest.raises(AuthFailed, match=r"denies access .*DENIED: not yours"):
            await c.remote(fake, credentials=ALICE).resolve()
        assert paths(fake) == [("HEAD", "latest"), ("GET", "latest")]


async def test_no_secret_in_any_repr_or_error() -> None:
    held = Credentials("alice", "pass-canary", "identity-canary", "registry-canary")
    async with basic() as fake, client() as c:
        remote = c.remote(fake, credentials=held)
        echo = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "pass-canary"}]})
        fake.fail(Fault(status=401, headers={"WWW-Authenticate": "Basic"}))
        fake.fail(Fault(status=403, body=echo.encode()), times=None)
        with pytest.raises(AuthFailed) as caught:
            await remote.resolve()
        shown = [
            str(caught.value),
            repr(caught.value),
            repr(held),
            repr(remote),
            repr(remote.__dict__),
        ]
        cause: BaseException | None = caught.value
        while cause is not None:
            shown.append(repr(cause))
            cause = cause.__cause__ or cause.__context__
        assert not [text for text in shown if "canary" in text]


async def test_a_registry_that_tells_what_it_was_sent() -> None:
    """Tokens and the operator's own header fields are blotted out, too."""
    async with FakeRegistry(auth="bearer") as fake:
        hosts = {fake.address: HostSettings(headers={"X-Key": "secret-key"})}
        async with client(RegistrySettings(hosts=hosts)) as c:
            token = b'{"token":"secret-token"}'
            fake.fail(Fault(status=200, body=token), path="/token", times=None)
            said = b'{"errors":[{"message":"not with secret-token and secret-key"}]}'
            wanted = challenge(f'Bearer realm="{fake.url}/token",service="s"')
            fake.fail(wanted, path="/v2/")
            fake.fail(Fault(status=403, body=said), path="/v2/", times=None)
            with pytest.raises(AuthFailed, match=r"not with \[REDACTED\] and \[REDACTED\]"):
                await c.remote(fake).resolve()
