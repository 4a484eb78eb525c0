"""A real registry that wants signed tokens, and a token service that signs them (RS256)."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from orlop._proto import runtime_v1_pb2 as pb
from orlop.cri.auth import credentials
from orlop.errors import AuthFailed, RegistryUnavailable
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from orlop.ports.registry import Credentials
from orlop.registry.settings import HostSettings, RegistrySettings
from orlop.testing.certificates import Authority, TokenSigner
from orlop.testing.distribution import DistributionRegistry, TokenAuth
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Act, Event, Fault, challenge
from tests.unit.registry.rig import client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.registry.remote import HTTPRemote

USERS = {"ann": "wonderland"}
IDENTITY = "an-identity-token"
BLOB = os.urandom(300_000)
LAYER = Descriptor(OCI_LAYER, Digest.of(BLOB), len(BLOB))
CONFIG = b'{"os":"linux"}'


def described(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


DOCUMENT = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(OCI_CONFIG, CONFIG),
        "layers": [described(OCI_LAYER, BLOB)],
    }
).encode()
MANIFEST = Descriptor(OCI_MANIFEST, Digest.of(DOCUMENT), len(DOCUMENT))


@dataclass
class Place:
    """The registry, its token service, and the scopes that this has signed."""

    registry: DistributionRegistry
    service: FakeRegistry
    signer: TokenSigner
    scopes: list[str]

    @property
    def settings(self) -> RegistrySettings:
        """The service is elsewhere, and the operator allows that."""
        known = HostSettings(realms=(self.service.address,))
        return RegistrySettings(hosts={self.registry.address: known})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("tokens")
    authority = Authority.make(directory / "authority")
    certificate, key = authority.issue("signer", "DNS:signer", kind="rsa")
    signer = TokenSigner(certificate, key, "an issuer", "a service")
    signed: list[str] = []

    def sign(scopes: Sequence[str]) -> str:
        signed.extend(scopes)
        return signer.sign(scopes)

    with FakeRegistry(
        auth="bearer", users=USERS, identity_tokens=frozenset({IDENTITY}), sign=sign
    ) as service:
        wants = TokenAuth(
            f"{service.url}/token", signer.service, signer.issuer, authority.certificate
        )
        pusher = f"Bearer {signer.sign(['repository:library/app:pull,push'])}"
        with DistributionRegistry(directory, token=wants, authorization=pusher) as registry:
            registry.put_blob("library/app", BLOB)
            registry.put_blob("library/app", CONFIG)
            registry.put_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
            yield Place(registry, service, signer, signed)


@pytest.fixture(autouse=True)
def in_order(place: Place) -> Iterator[None]:
    yield
    place.service.clear_rules()
    place.service.clear_requests()
    place.scopes.clear()


async def pull(remote: HTTPRemote) -> None:
    resolved = await remote.resolve()
    assert resolved.descriptor == MANIFEST
    assert await remote.document(MANIFEST, limit=1 << 20) == DOCUMENT
    pieces = []
    async with remote.blob(LAYER) as stream:
        while piece := await stream.read():
            pieces.append(piece)
    assert b"".join(pieces) == BLOB


ENCODED = base64.b64encode(b"ann:wonderland").decode()

FORMS = [
    pytest.param(pb.AuthConfig(username="ann", password="wonderland"), "GET", id="password"),
    pytest.param(pb.AuthConfig(auth=ENCODED), "GET", id="auth"),
    pytest.param(pb.AuthConfig(identity_token=IDENTITY), "POST", id="identity-token"),
    pytest.param(
        pb.AuthConfig(username="<token>", password="x", identity_token=IDENTITY),
        "POST",
        id="identity-token-with-a-user",
    ),
]


@pytest.mark.parametrize(("auth", "method"), FORMS)
async def test_every_form_of_credentials(place: Place, auth: pb.AuthConfig, method: str) -> None:
    async with client(place.settings) as c:
        await pull(c.remote(place.registry.address, credentials=credentials(auth)))
    (asked,) = place.service.requests
    assert (asked.method, asked.path) == (method, "/token")
    assert asked.authorized == (method == "GET")
    assert place.scopes == ["repository:library/app:pull"]


async def test_a_registry_token(place: Place) -> None:
    token = place.signer.sign(["repository:library/app:pull"])
    async with client(place.settings) as c:
        form = credentials(pb.AuthConfig(registry_token=token))
        await pull(c.remote(place.registry.address, credentials=form))
        assert place.service.requests == []
        ended = replace(place.signer, life=-900).sign(["repository:library/app:pull"])
        form = credentials(pb.AuthConfig(registry_token=ended))
        with pytest.raises(AuthFailed):
            await c.remote(place.registry.address, credentials=form).resolve()


@pytest.mark.parametrize(
    "form",
    [None, Credentials(username="ann", password="x"), Credentials(identity_token="x")],
)
async def test_who_gets_no_token(place: Place, form: Credentials | None) -> None:
    async with client(place.settings) as c:
        with pytest.raises(AuthFailed):
            await c.remote(place.registry.address, credentials=form).resolve()
    assert len(place.service.requests) == 1


ANN = Credentials(username="ann", password="wonderland")


async def test_a_token_is_kept_until_it_expires(place: Place) -> None:
    async with client(place.settings) as c:
        for _ in range(3):
            await pull(c.remote(place.registry.address, credentials=ANN))
        assert len(place.service.requests) == 1
        c.clock.seconds += 290
        await pull(c.remote(place.registry.address, credentials=ANN))
        assert len(place.service.requests) == 1
        c.clock.seconds += 6
        await asyncio.gather(
            *(pull(c.remote(place.registry.address, credentials=ANN)) for _ in range(3))
        )
        assert 2 <= len(place.service.requests) <= 4


async def test_a_token_that_has_expired_without_saying_so(place: Place) -> None:
    """In the middle of a pull: the registry refuses it, and another one is fetched."""
    async with client(place.settings) as c:
        ended = replace(place.signer, life=-900).sign(["repository:library/app:pull"])
        body = json.dumps({"token": ended, "expires_in": 3600}).encode()
        place.service.fail(Fault(status=200, body=body), path="/token")
        await pull(c.remote(place.registry.address, credentials=ANN))
        assert len(place.service.requests) == 2


async def test_a_token_for_less(place: Place) -> None:
    async with client(place.settings) as c:
        nothing = json.dumps({"token": place.signer.sign([])}).encode()
        place.service.fail(Fault(status=200, body=nothing), path="/token", times=None)
        with pytest.raises(AuthFailed):
            await c.remote(place.registry.address, credentials=ANN).resolve()
        assert len(place.service.requests) == 2


def several(service: FakeRegistry) -> list[Fault]:
    bearer = f'Bearer realm="{service.url}/token",service="s",scope="repository:a:pull"'
    return [
        challenge('Basic realm="x"', bearer),
        challenge(bearer, 'Basic realm="x"'),
        challenge(f'Basic realm="x", {bearer}'),
        challenge(f'{bearer}, Basic realm="x"'),
        challenge(f"Negotiate abc==, {bearer}"),
    ]


@pytest.mark.parametrize("number", range(5))
async def test_of_several_challenges_basic_is_the_last_resort(number: int) -> None:
    async with FakeRegistry(auth="bearer", users=USERS) as fake, client() as c:
        fake.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
        fake.fail(several(fake)[number], path="/v2/")
        assert (await c.remote(fake, credentials=ANN).resolve()).descriptor == MANIFEST
        sent = [one.headers.get("authorization") for one in fake.requests]
        assert sent == [None, "Basic", "Bearer"]
        assert [one.path for one in fake.requests][1] == "/token"


async def test_basic_when_there_is_nothing_else() -> None:
    async with FakeRegistry(auth="basic", users=USERS) as fake, client() as c:
        fake.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
        fake.fail(challenge("Negotiate", 'Basic realm="x"', "Bearer"), path="/v2/")
        assert (await c.remote(fake, credentials=ANN).resolve()).descriptor == MANIFEST


async def test_scopes_of_one_challenge_are_asked_for_together() -> None:
    scopes: list[Sequence[str]] = []

    def sign(asked: Sequence[str]) -> str:
        scopes.append(asked)
        return f"token-{len(scopes)}"

    known = frozenset({IDENTITY})
    async with FakeRegistry(auth="bearer", users=USERS, identity_tokens=known, sign=sign) as fake:
        fake.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
        both = "repository:library/app:pull repository:library/base:pull,push"
        wanted = challenge(f'Bearer realm="{fake.url}/token",service="s",scope="{both}"')
        for form in (ANN, Credentials(identity_token=IDENTITY)):
            async with client() as c:
                fake.fail(wanted, path="/v2/")
                await c.remote(fake, credentials=form).resolve()
    assert scopes == [both.split()] * 2


async def test_a_token_that_expires_while_a_layer_is_sent() -> None:
    async with FakeRegistry(auth="bearer", users=USERS) as fake, client() as c:
        fake.add_blob(BLOB)
        breaks = (Event(Act.EXPIRE_TOKENS, 1000), Event(Act.CLOSE, 2000))
        fake.fail(Fault(events=breaks), path="/blobs/", method="GET", times=2)
        remote = c.remote(fake, credentials=ANN)
        data = b""
        while len(data) < len(BLOB):
            with_rest = remote.blob(LAYER, offset=len(data))
            async with with_rest as stream:
                assert stream.start == len(data)
                try:
                    while piece := await stream.read():
                        data += piece
                except RegistryUnavailable:
                    continue
        assert data == BLOB
        assert len([one for one in fake.requests if one.path == "/token"]) >= 2
