"""Resolving and documents: what is asked, and what answers mean (H20, H28, H32, M rows' door)."""

from __future__ import annotations

import json

import pytest

from orlop.errors import (
    DigestMismatch,
    LimitExceeded,
    ManifestInvalid,
    NotFound,
    RegistryProtocol,
    RegistryRejected,
    RegistryUnavailable,
    SizeMismatch,
)
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import ACCEPT, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from orlop.model.reference import Reference
from orlop.ports.registry import Credentials
from orlop.registry.credentials import CredentialFinder
from orlop.registry.hosts import Endpoint, Origin, Plan, plan
from orlop.registry.remote import HTTPRemote
from orlop.registry.settings import SYSTEM_TLS, RegistrySettings
from orlop.registry.tokens import TokenCache
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault
from tests.unit.registry.rig import Client, client

DOCUMENT = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}).encode()
DIGEST = Digest.of(DOCUMENT)
DESCRIPTOR = Descriptor(OCI_MANIFEST, DIGEST, len(DOCUMENT))


def filled() -> FakeRegistry:
    fake = FakeRegistry()
    fake.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
    return fake


async def test_a_tag_costs_one_head() -> None:
    async with filled() as fake, client() as c:
        resolved = await c.remote(fake).resolve()
        assert resolved.descriptor == DESCRIPTOR
        assert resolved.raw is None
        (request,) = fake.requests
        assert (request.method, request.path) == ("HEAD", "/v2/library/app/manifests/latest")
        assert request.headers["accept"] == ACCEPT
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["user-agent"] == "orlop"
        assert "cookie" not in request.headers
        assert c.traffic.started == [fake.address]
        assert c.traffic.in_flight == 0


async def test_a_digest_wins_over_the_tag() -> None:
    async with filled() as fake, client() as c:
        resolved = await c.remote(fake, f"library/app:other@{DIGEST}").resolve()
        assert resolved.descriptor == DESCRIPTOR
        assert fake.requests[0].path == f"/v2/library/app/manifests/{DIGEST}"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(headers={"Docker-Content-Digest": None}),
        Fault(headers={"Docker-Content-Digest": "sha256:garbage"}),
        Fault(headers={"Content-Type": None}),
        Fault(headers={"Content-Type": "application/octet-stream"}),
        Fault(headers={"Content-Length": None}),
        Fault(status=400),
        Fault(status=403),
        Fault(status=404),
        Fault(status=405),
    ],
)
async def test_get_when_head_is_not_enough(fault: Fault) -> None:
    async with filled() as fake, client() as c:
        fake.fail(fault, method="HEAD")
        resolved = await c.remote(fake).resolve()
        assert resolved.descriptor == DESCRIPTOR
        assert resolved.raw == DOCUMENT
        assert [r.method for r in fake.requests] == ["HEAD", "GET"]


async def test_a_digest_reference_needs_no_digest_header() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(headers={"Docker-Content-Digest": None}), method="HEAD")
        resolved = await c.remote(fake, f"library/app@{DIGEST}").resolve()
        assert resolved.descriptor == DESCRIPTOR
        assert len(fake.requests) == 1


async def test_sha512_references() -> None:
    async with filled() as fake, client() as c:
        digest = Digest.of(DOCUMENT, "sha512")
        fake.add_manifest("library/app", str(digest), DOCUMENT, OCI_MANIFEST)
        fake.fail(Fault(status=405), method="HEAD")
        resolved = await c.remote(fake, f"library/app@{digest}").resolve()
        assert resolved.descriptor == Descriptor(OCI_MANIFEST, digest, len(DOCUMENT))


async def test_a_server_that_does_not_know_what_it_serves() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(headers={"Content-Type": "application/json"}), times=2)
        resolved = await c.remote(fake).resolve()
        assert resolved.descriptor.media_type == OCI_MANIFEST


async def test_other_artifacts_keep_their_media_type() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(headers={"Content-Type": "application/vnd.x+json"}), times=2)
        resolved = await c.remote(fake).resolve()
        assert resolved.descriptor.media_type == "application/vnd.x+json"
        assert resolved.raw == DOCUMENT


async def test_a_login_page_is_no_manifest() -> None:
    async with filled() as fake, client() as c:
        page = Fault(
            headers={"Content-Type": "text/html; charset=utf-8", "Docker-Content-Digest": None},
            body=b"<html>please log in",
        )
        fake.fail(page, times=2)
        with pytest.raises(ManifestInvalid, match="text/html page"):
            await c.remote(fake).resolve()


async def test_head_with_another_digest_than_asked_for() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(headers={"Docker-Content-Digest": str(Digest.of(b"other"))}))
        with pytest.raises(DigestMismatch, match="library/app@"):
            await c.remote(fake, f"library/app@{DIGEST}").resolve()


async def test_get_with_other_bytes_than_asked_for() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(status=405), method="HEAD")
        fake.fail(Fault(body=b"{}", headers={"Docker-Content-Digest": None}), method="GET")
        with pytest.raises(DigestMismatch, match="instead of"):
            await c.remote(fake, f"library/app@{DIGEST}").resolve()


async def test_get_whose_digest_header_lies() -> None:
    async with filled() as fake, client() as c:
        lie = {"Docker-Content-Digest": str(Digest.of(b"other"))}
        fake.fail(Fault(status=405), method="HEAD")
        fake.fail(Fault(headers=lie), method="GET")
        with pytest.raises(DigestMismatch):
            await c.remote(fake).resolve()


async def test_a_manifest_without_end() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(status=405), method="HEAD")
        fake.fail(Fault(body=b"x" * (5 << 20), chunked=True), method="GET")
        with pytest.raises(LimitExceeded) as caught:
            await c.remote(fake).resolve()
        assert caught.value.limit == "manifest_bytes"


async def test_not_found_names_the_reference_and_the_registry() -> None:
    async with filled() as fake, client() as c:
        with pytest.raises(NotFound) as caught:
            await c.remote(fake, "library/app:none").resolve()
        assert str(caught.value) == (
            f"{fake.address}/library/app:none: not found in registry {fake.address}:"
            " MANIFEST_UNKNOWN: manifest unknown"
        )


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_failing_registry_is_asked_again_and_then_unavailable(status: int) -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(status=status), times=2)
        assert (await c.remote(fake).resolve()).descriptor == DESCRIPTOR
        assert len(fake.requests) == 3
        fake.clear_requests()
        fake.fail(Fault(status=status), times=None)
        with pytest.raises(RegistryUnavailable, match=f"status {status}"):
            await c.remote(fake).resolve()
        assert [r.method for r in fake.requests] == ["HEAD"] * 3


async def test_other_refusals_are_final() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(status=451, body=b'{"errors":[{"code":"LEGAL"}]}'), times=2)
        with pytest.raises(RegistryRejected, match="answers 451: LEGAL") as caught:
            await c.remote(fake).resolve()
        assert caught.value.status == 451


async def test_documents_come_from_where_their_type_says() -> None:
    async with filled() as fake, client() as c:
        config = b'{"os":"linux"}'
        fake.add_blob(config)
        remote = c.remote(fake)
        assert await remote.document(DESCRIPTOR, limit=1000) == DOCUMENT
        wanted = Descriptor(OCI_CONFIG, Digest.of(config), len(config))
        assert await remote.document(wanted, limit=1000) == config
        assert [r.path.split("/")[4] for r in fake.requests] == ["manifests", "blobs"]
        assert fake.requests[0].headers["accept"].startswith(OCI_MANIFEST)
        assert c.traffic.bytes == len(DOCUMENT) + len(config)


async def test_a_document_over_the_limit_is_not_fetched() -> None:
    async with filled() as fake, client() as c:
        for media_type, limit in ((OCI_INDEX, "manifest_bytes"), (OCI_CONFIG, "config_bytes")):
            with pytest.raises(LimitExceeded) as caught:
                await c.remote(fake).document(Descriptor(media_type, DIGEST, 101), limit=100)
            assert caught.value.limit == limit
        assert fake.requests == []


@pytest.mark.parametrize("difference", [-1, 1])
async def test_a_document_of_another_length(difference: int) -> None:
    wanted = Descriptor(OCI_MANIFEST, DIGEST, len(DOCUMENT) + difference)
    async with filled() as fake, client() as c:
        with pytest.raises(RegistryProtocol, match="instead of"):
            await c.remote(fake).document(wanted, limit=1000)


async def test_a_document_without_a_length_that_is_too_long() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(chunked=True, body=DOCUMENT + b" "))
        with pytest.raises(SizeMismatch):
            await c.remote(fake).document(DESCRIPTOR, limit=1000)


async def test_a_document_with_other_bytes() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(corrupt_at=3))
        with pytest.raises(DigestMismatch):
            await c.remote(fake).document(DESCRIPTOR, limit=1000)


async def test_a_document_that_is_packed_on_its_way() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(headers={"Content-Encoding": "gzip"}))
        with pytest.raises(RegistryProtocol, match="Content-Encoding"):
            await c.remote(fake).document(DESCRIPTOR, limit=1000)


@pytest.mark.parametrize("fault", [Fault(truncate_at=5), Fault(reset_at=5), Fault(reset_at=0)])
async def test_a_document_that_breaks_off_is_fetched_again(fault: Fault) -> None:
    async with filled() as fake, client() as c:
        fake.fail(fault, times=2)
        assert await c.remote(fake).document(DESCRIPTOR, limit=1000) == DOCUMENT
        fake.fail(fault, times=None)
        with pytest.raises(RegistryUnavailable):
            await c.remote(fake).document(DESCRIPTOR, limit=1000)


async def test_a_document_that_is_gone() -> None:
    async with filled() as fake, client() as c:
        fake.remove(str(DIGEST))
        with pytest.raises(NotFound, match=f"library/app@{DIGEST}: not found"):
            await c.remote(fake).document(DESCRIPTOR, limit=1000)


async def test_connections_are_used_again() -> None:
    async with filled() as fake, client() as c:
        remote = c.remote(fake)
        await remote.resolve()
        for _ in range(5):
            await remote.document(DESCRIPTOR, limit=1000)
        assert fake.connections == 1


async def test_many_remotes_cost_nothing_until_they_are_used() -> None:
    async with client() as c:
        assert isinstance(c, Client)
        remotes = [c.remote("registry.invalid", f"a/b:{n}") for n in range(100)]
        assert len(remotes) == 100
        assert c.traffic.started == []


def over(c: Client, *hosts: FakeRegistry, upstream: FakeRegistry) -> HTTPRemote:
    """A remote with mirrors in front."""
    mirrors = [
        Endpoint(Origin("http", "127.0.0.1", host.port), SYSTEM_TLS, upstream=False)
        for host in hosts
    ]
    reference = Reference.parse(f"{upstream.address}/library/app:latest")
    only = plan(reference, RegistrySettings())

    async def planned() -> Plan:
        return Plan((*mirrors, *only.endpoints), "")

    return HTTPRemote(
        reference,
        planned,
        credentials=CredentialFinder(
            Credentials(username="alice", password="wonderland"), registry="", configured={}
        ),
        exchange=c.registry._exchange,
        tokens=TokenCache(),
        traffic=c.traffic,
    )


async def test_the_next_host_helps_out() -> None:
    async with FakeRegistry() as mirror, filled() as fake, client() as c:
        remote = over(c, mirror, upstream=fake)
        assert (await remote.resolve()).descriptor == DESCRIPTOR
        assert await remote.document(DESCRIPTOR, limit=1000) == DOCUMENT
        mirror.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
        fake.clear_requests()
        assert await remote.document(DESCRIPTOR, limit=1000) == DOCUMENT
        assert fake.requests == []


async def test_a_mirror_with_other_bytes_is_passed_over() -> None:
    async with filled() as mirror, filled() as fake, client() as c:
        mirror.fail(Fault(corrupt_at=1))
        remote = over(c, mirror, upstream=fake)
        assert await remote.document(DESCRIPTOR, limit=1000) == DOCUMENT


def guarded() -> FakeRegistry:
    fake = FakeRegistry(auth="basic", users={"alice": "wonderland"})
    fake.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
    return fake


async def test_mirrors_see_no_credentials() -> None:
    async with guarded() as mirror, guarded() as fake, client() as c:
        await over(c, mirror, upstream=fake).resolve()
        assert [r.headers.get("authorization") for r in mirror.requests] == [None]
        assert [r.headers.get("authorization") for r in fake.requests] == [None, "Basic"]


async def test_the_error_names_every_host() -> None:
    async with FakeRegistry() as mirror, FakeRegistry() as fake, client() as c:
        mirror.fail(Fault(status=503), times=None)
        with pytest.raises(NotFound) as caught:
            await over(c, mirror, upstream=fake).resolve()
        text = str(caught.value)
        assert text == (
            f"{fake.address}/library/app:latest: {fake.address}: not found:"
            f" MANIFEST_UNKNOWN: manifest unknown (before that: {mirror.address}:"
            " is failing (status 503))"
        )


async def test_a_mirror_behind_a_login_page_is_passed_over() -> None:
    async with FakeRegistry() as mirror, filled() as fake, client() as c:
        page = Fault(status=200, body=b"<html>", headers={"Content-Type": "text/html"})
        mirror.fail(page, times=None)
        assert (await over(c, mirror, upstream=fake).resolve()).descriptor == DESCRIPTOR
