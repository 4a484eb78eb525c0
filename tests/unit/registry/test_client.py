"""The registry client as a whole: other settings while it runs."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from orlop.errors import TLSFailed
from orlop.registry.settings import HostSettings, RegistrySettings
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image
from orlop.testing.layers import file
from tests.unit.registry.rig import Authority, client

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = build_image([[file("x", b"x")]])


async def test_certificates_are_read_again(tmp_path: Path) -> None:
    right, wrong = Authority.make(tmp_path / "right"), Authority.make(tmp_path / "wrong")
    certificate, key = right.issue("server", "IP:127.0.0.1")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(wrong.certificate.read_bytes())
    async with FakeRegistry(tls=server) as fake:
        fake.add_manifest("library/app", "latest", IMAGE.manifest, IMAGE.media_type)
        settings = RegistrySettings(hosts={fake.address: HostSettings(ca_file=str(trusted))})
        async with client(settings) as made:
            with pytest.raises(TLSFailed):
                await made.remote(fake).resolve()
            trusted.write_bytes(right.certificate.read_bytes())
            found = await made.remote(fake).resolve()
            assert found.descriptor.size == len(IMAGE.manifest)


async def test_hosts_are_asked_as_the_new_settings_say() -> None:
    async with FakeRegistry() as fake, client() as made:
        fake.add_manifest("library/app", "latest", IMAGE.manifest, IMAGE.media_type)
        old = made.remote(fake)
        made.registry.reload(
            RegistrySettings(hosts={fake.address: HostSettings(headers={"X-Team": "blue"})})
        )
        await old.resolve()
        assert "x-team" not in fake.requests[-1].headers
        await made.remote(fake).resolve()
        assert fake.requests[-1].headers["x-team"] == "blue"
