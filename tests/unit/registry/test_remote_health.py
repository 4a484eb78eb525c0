"""Several hosts, some of which fare badly; parts of blobs; proofs of access."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest

from orlop.errors import AuthFailed, RegistryUnavailable
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import OCI_LAYER, OCI_MANIFEST
from orlop.model.reference import Reference
from orlop.registry.credentials import CredentialFinder
from orlop.registry.hosts import Endpoint, Origin, Plan, plan
from orlop.registry.remote import HTTPRemote
from orlop.registry.settings import SYSTEM_TLS, RegistrySettings
from orlop.registry.tokens import TokenCache
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault
from tests.unit.registry.rig import client

if TYPE_CHECKING:
    from tests.unit.registry.rig import Client

DOCUMENT = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}).encode()
DESCRIPTOR = Descriptor(OCI_MANIFEST, Digest.of(DOCUMENT), len(DOCUMENT))
BLOB = os.urandom(1000)
LAYER = Descriptor(OCI_LAYER, Digest.of(BLOB), len(BLOB))


def filled() -> FakeRegistry:
    fake = FakeRegistry()
    fake.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
    fake.add_blob(BLOB)
    return fake


def over(c: Client, port: int, upstream: FakeRegistry) -> HTTPRemote:
    """A remote with a mirror in front."""
    mirror = Endpoint(Origin("http", "127.0.0.1", port), SYSTEM_TLS, upstream=False)
    reference = Reference.parse(f"{upstream.address}/library/app:latest")
    only = plan(reference, RegistrySettings())

    async def planned() -> Plan:
        return Plan((mirror, *only.endpoints), "")

    return HTTPRemote(
        reference,
        planned,
        credentials=CredentialFinder(None, registry="", configured={}),
        exchange=c.registry._exchange,
        tokens=TokenCache(),
        traffic=c.traffic,
    )


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_dead_mirror_costs_its_time_out_once() -> None:
    async with filled() as fake, client() as c:
        port = unused_port()
        remote = over(c, port, fake)
        for _ in range(5):
            await remote.document(DESCRIPTOR, limit=1000)
        asked = [host for host in c.traffic.started if host == f"127.0.0.1:{port}"]
        assert len(asked) == 1
        # After its rest it is probed, once.
        c.clock.seconds += 6
        for _ in range(5):
            await remote.document(DESCRIPTOR, limit=1000)
        asked = [host for host in c.traffic.started if host == f"127.0.0.1:{port}"]
        assert len(asked) == 2


async def test_a_mirror_that_breaks_off_again_and_again_comes_last() -> None:
    async with filled() as mirror, filled() as fake, client() as c:
        mirror.fail(Fault(truncate_at=1), times=None)
        remote = over(c, mirror.port, fake)
        for _ in range(3):
            async with remote.blob(LAYER) as stream:
                assert await stream.read() == BLOB[:1]
                with pytest.raises(RegistryUnavailable):
                    await stream.read()
        async with remote.blob(LAYER) as stream:
            assert await stream.read()
        assert [len(mirror.requests), len(fake.requests)] == [3, 1]


async def test_a_mirror_that_is_failing_is_not_asked_twice() -> None:
    async with filled() as mirror, filled() as fake, client() as c:
        mirror.fail(Fault(status=503), times=None)
        assert await over(c, mirror.port, fake).document(DESCRIPTOR, limit=1000) == DOCUMENT
        assert len(mirror.requests) == 1


async def test_a_mirror_that_asks_for_patience_is_left_alone() -> None:
    async with filled() as mirror, filled() as fake, client() as c:
        mirror.fail(Fault(status=429, headers={"Retry-After": "30"}))
        remote = over(c, mirror.port, fake)
        for _ in range(3):
            assert await remote.document(DESCRIPTOR, limit=1000) == DOCUMENT
        assert len(mirror.requests) == 1
        c.clock.seconds += 31
        assert await remote.document(DESCRIPTOR, limit=1000) == DOCUMENT
        assert len(mirror.requests) == 2


async def test_proof_of_access_without_a_byte() -> None:
    async with filled() as fake, client() as c:
        await c.remote(fake).prove(LAYER)
        assert [one.method for one in fake.requests] == ["HEAD"]
        fake.fail(Fault(status=405), method="HEAD")
        await c.remote(fake).prove(LAYER)
        fake.fail(Fault(status=403), times=None)
        with pytest.raises(AuthFailed, match="denies access"):
            await c.remote(fake).prove(LAYER)


async def test_part_of_a_blob() -> None:
    async with filled() as fake, client() as c:
        async with c.remote(fake).blob(LAYER, offset=2, length=3) as stream:
            assert (stream.start, stream.end) == (2, 5)
            assert await stream.read() == BLOB[2:5]
            assert await stream.read() == b""
        assert fake.requests[0].headers["range"] == "bytes=2-4"
        fake.fail(Fault(ignore_range=True))
        async with c.remote(fake).blob(LAYER, offset=2, length=3) as stream:
            assert (stream.start, stream.end) == (0, len(BLOB))
