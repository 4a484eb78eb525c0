"""Against the distribution project's registry: open, with passwords, with tokens, with TLS."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    AuthFailed,
    DigestMismatch,
    NotFound,
    RegistryError,
    RegistryProtocol,
    RegistryRejected,
    RegistryUnavailable,
    TLSFailed,
)
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from orlop.ports.registry import Credentials
from orlop.registry.settings import HostSettings, RegistrySettings
from orlop.testing.distribution import DistributionRegistry, basic
from orlop.testing.fake_registry import FakeRegistry
from tests.unit.registry.rig import Authority, client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.registry.remote import HTTPRemote

BLOB = os.urandom(3 << 20) + b"tail"
LAYER = Descriptor(OCI_LAYER, Digest.of(BLOB), len(BLOB))
CONFIG = json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": []}}).encode()
CONFIG_DESCRIPTOR = Descriptor(OCI_CONFIG, Digest.of(CONFIG), len(CONFIG))


def described(descriptor: Descriptor) -> dict[str, object]:
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }


DOCUMENT = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(CONFIG_DESCRIPTOR),
        "layers": [described(LAYER)],
    }
).encode()
MANIFEST = Descriptor(OCI_MANIFEST, Digest.of(DOCUMENT), len(DOCUMENT))


def push(registry: DistributionRegistry) -> None:
    assert registry.put_blob("library/app", BLOB) == LAYER.digest
    assert registry.put_blob("library/app", CONFIG) == CONFIG_DESCRIPTOR.digest
    assert registry.put_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST) == MANIFEST.digest


async def read(remote: HTTPRemote, offset: int = 0) -> tuple[int, bytes]:
    async with remote.blob(LAYER, offset=offset) as stream:
        pieces = []
        while piece := await stream.read():
            pieces.append(piece)
        return stream.start, b"".join(pieces)


async def pull(remote: HTTPRemote) -> None:
    resolved = await remote.resolve()
    assert resolved.descriptor == MANIFEST
    assert await remote.document(MANIFEST, limit=1 << 20) == DOCUMENT
    assert await remote.document(CONFIG_DESCRIPTOR, limit=1 << 20) == CONFIG
    assert await read(remote) == (0, BLOB)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionRegistry]:
    with DistributionRegistry(tmp_path_factory.mktemp("registry")) as running:
        push(running)
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


async def test_by_tag_and_by_digest(registry: DistributionRegistry) -> None:
    async with client() as c:
        await pull(c.remote(registry.address))
        await pull(c.remote(registry.address, f"library/app@{MANIFEST.digest}"))


async def test_ranges(registry: DistributionRegistry) -> None:
    async with client() as c:
        remote = c.remote(registry.address)
        for offset in (1, 1 << 20, len(BLOB) - 1):
            assert await read(remote, offset) == (offset, BLOB[offset:])
        with pytest.raises(RegistryProtocol, match="no byte"):
            await read(remote, len(BLOB))


async def test_layers_in_parallel(registry: DistributionRegistry) -> None:
    async with client() as c:
        remote = c.remote(registry.address)
        found = await asyncio.gather(*(read(remote) for _ in range(6)))
        assert found == [(0, BLOB)] * 6


async def test_what_is_not_there(registry: DistributionRegistry) -> None:
    async with client() as c:
        for name in ("library/app:none", "library/none:latest", f"library/app@{Digest.of(b'')}"):
            with pytest.raises(NotFound, match=f"{name}: not found in registry"):
                await c.remote(registry.address, name).resolve()
        gone = replace(LAYER, digest=Digest.of(b"gone"))
        with pytest.raises(NotFound, match="BLOB_UNKNOWN"):
            async with c.remote(registry.address).blob(gone):
                pass


async def test_a_descriptor_that_lies_about_the_size(registry: DistributionRegistry) -> None:
    async with client() as c:
        for difference in (-1, 1):
            wrong = replace(LAYER, size=LAYER.size + difference)
            with pytest.raises(RegistryProtocol, match=f"sends {len(BLOB)} bytes instead of"):
                async with c.remote(registry.address).blob(wrong):
                    pass


async def test_a_document_changed_on_the_registrys_disk(tmp_path: Path) -> None:
    with DistributionRegistry(tmp_path) as own:
        push(own)
        digest = CONFIG_DESCRIPTOR.digest
        (data,) = (tmp_path / "storage").rglob(f"{digest.hex}/data")
        data.write_bytes(CONFIG.replace(b"linux", b"linuz"))
        async with client() as c:
            with pytest.raises(DigestMismatch):
                await c.remote(own.address).document(CONFIG_DESCRIPTOR, limit=1 << 20)


async def test_uploads_are_skipped_and_refused(
    registry: DistributionRegistry, tmp_path: Path
) -> None:
    file = tmp_path / "blob"
    file.write_bytes(BLOB)
    begin = time.monotonic()
    assert registry.put_blob("library/app", file) == LAYER.digest
    assert registry.put_blob("library/other", file) == LAYER.digest
    assert time.monotonic() - begin < 5
    missing = DOCUMENT.replace(LAYER.digest.hex.encode(), Digest.of(b"x").hex.encode())
    with pytest.raises(RegistryRejected) as caught:
        registry.put_manifest("library/app", "bad", missing, OCI_MANIFEST)
    assert caught.value.status == 400


async def test_deleting(tmp_path: Path) -> None:
    with DistributionRegistry(tmp_path) as own:
        push(own)
        own.delete_manifest("library/app", MANIFEST.digest)
        async with client() as c:
            with pytest.raises(NotFound):
                await c.remote(own.address).resolve()


async def test_a_restart_on_the_same_port(tmp_path: Path) -> None:
    with DistributionRegistry(tmp_path) as own:
        push(own)
        address, pid = own.address, own.pid
        async with client() as c:
            remote = c.remote(address)
            await remote.resolve()
            own.stop()
            with pytest.raises(RegistryUnavailable, match="connection refused"):
                await remote.resolve()
            own.start()
            assert (own.address, own.pid != pid) == (address, True)
            await pull(remote)


def test_a_registry_that_cannot_start(tmp_path: Path) -> None:
    with DistributionRegistry(tmp_path / "one") as first:
        second = DistributionRegistry(tmp_path / "two", port=first.port, htpasswd=tmp_path / "x")
        try:
            with pytest.raises(RegistryUnavailable, match="does not serve"):
                second.start()
        finally:
            second.stop()


def htpasswd(file: Path, user: str, password: str) -> None:
    command = ["htpasswd", "-nbB", "-C", "4", user, password]
    file.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)


async def test_passwords(tmp_path: Path) -> None:
    users = tmp_path / "htpasswd"
    htpasswd(users, "alice", "wonderland")
    access = basic("alice", "wonderland")
    with DistributionRegistry(tmp_path, htpasswd=users, authorization=access) as own:
        push(own)
        async with client() as c:
            alice = Credentials(username="alice", password="wonderland")
            await pull(c.remote(own.address, credentials=alice))
            wrong = Credentials(username="alice", password="wrong")
            with pytest.raises(AuthFailed, match="does not accept the credentials"):
                await c.remote(own.address, credentials=wrong).resolve()
            with pytest.raises(AuthFailed, match="wants credentials"):
                await c.remote(own.address).resolve()


async def test_tls_with_an_authority_of_its_own(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("server", "IP:127.0.0.1", "DNS:localhost")
    with DistributionRegistry(
        tmp_path, certificate=certificate, key=key, ca_file=authority.certificate
    ) as own:
        push(own)
        trusting = HostSettings(ca_file=str(authority.certificate))
        async with client(RegistrySettings(hosts={own.address: trusting})) as c:
            await pull(c.remote(own.address))
        async with client(
            RegistrySettings(hosts={own.address: HostSettings(skip_verify=True)})
        ) as c:
            await pull(c.remote(own.address))
        strict = HostSettings(plain_http=False)
        async with client(RegistrySettings(hosts={own.address: strict})) as c:
            with pytest.raises(
                TLSFailed, match="certificate: unable to get local issuer"
            ) as failed:
                await c.remote(own.address).resolve()
            assert "ca_file" in failed.value.hint
            assert c.traffic.started == [own.address]  # not tried again
        # The other way round: HTTP to a server that wants TLS.
        async with client() as c:
            with pytest.raises(RegistryProtocol, match="not valid HTTP"):
                await c.remote(own.address).resolve()


async def test_a_token_service_has_tls_settings_of_its_own(authority: Authority) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*authority.issue("both", "IP:127.0.0.1", "DNS:localhost"))
    async with FakeRegistry(auth="bearer", tls=server) as service:
        realm = f"https://localhost:{service.port}/token"
        async with FakeRegistry(auth="bearer", tls=server, realm=realm) as fake:
            fake.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
            name = f"localhost:{service.port}"
            lax = HostSettings(skip_verify=True, realms=(name,))
            async with client(RegistrySettings(hosts={fake.address: lax})) as c:
                with pytest.raises(TLSFailed, match=f"registry {name}: certificate"):
                    await c.remote(fake.address).resolve()
            trusting = HostSettings(ca_file=str(authority.certificate))
            hosts = {fake.address: lax, name: trusting}
            async with client(RegistrySettings(hosts=hosts)) as c:
                with pytest.raises(AuthFailed):  # two registries that do not share their tokens
                    await c.remote(fake.address).resolve()
            assert [r.path for r in service.requests] == ["/token"] * 2


async def test_a_client_certificate(tmp_path: Path, authority: Authority) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(*authority.issue("server", "IP:127.0.0.1"))
    certificate, key = map(str, authority.issue("client", "DNS:client"))
    async with FakeRegistry(tls=server) as fake:
        fake.add_manifest("library/app", "latest", DOCUMENT, OCI_MANIFEST)
        known = HostSettings(
            ca_file=str(authority.certificate), client_cert=certificate, client_key=key
        )
        async with client(RegistrySettings(hosts={fake.address: known})) as c:
            assert (await c.remote(fake.address).resolve()).descriptor == MANIFEST
        unknown = HostSettings(ca_file=str(authority.certificate))
        async with client(RegistrySettings(hosts={fake.address: unknown})) as c:
            # With TLS 1.3 the refusal follows the handshake and may be lost with the connection.
            with pytest.raises(RegistryError):
                await c.remote(fake.address).resolve()


async def test_a_certificate_for_another_name(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("elsewhere", "DNS:elsewhere.test")
    trusting = HostSettings(ca_file=str(authority.certificate))
    with DistributionRegistry(
        tmp_path, certificate=certificate, key=key, ca_file=authority.certificate, port=0
    ) as own:
        async with client(RegistrySettings(hosts={own.address: trusting})) as c:
            with pytest.raises(TLSFailed, match="IP address mismatch"):
                await c.remote(own.address).resolve()


async def test_tls_to_a_server_that_has_none(registry: DistributionRegistry) -> None:
    strict = HostSettings(plain_http=False)
    async with client(RegistrySettings(hosts={registry.address: strict})) as c:
        with pytest.raises(TLSFailed, match="does not speak TLS") as caught:
            await c.remote(registry.address).resolve()
        assert "plain HTTP" in caught.value.hint


async def test_throughput(tmp_path: Path) -> None:
    """Far below what any machine does (several GB/s); it catches copies gone wrong."""
    size = 64 << 20
    file = tmp_path / "blob"
    file.write_bytes(bytes(size))
    with DistributionRegistry(tmp_path / "registry") as own:
        layer = Descriptor(OCI_LAYER, own.put_blob("library/app", file), size)
        async with client() as c:
            begin = time.monotonic()
            async with c.remote(own.address).blob(layer) as stream:
                while await stream.read():
                    pass
            assert size / (time.monotonic() - begin) > 100e6
