"""TLS contexts from files (H29); sessions are in the integration tests."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from orlop.errors import HostsInvalid
from orlop.registry.settings import HostSettings, TLSSettings
from orlop.registry.tls import context
from tests.unit.registry.rig import Authority

if TYPE_CHECKING:
    from pathlib import Path


def test_the_default_verifies() -> None:
    made = context(TLSSettings())
    assert made.verify_mode is ssl.CERT_REQUIRED
    assert made.check_hostname
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2


def test_skip_verify_is_not_sticky() -> None:
    lax = context(TLSSettings(skip_verify=True))
    assert lax.verify_mode is ssl.CERT_NONE
    assert not lax.check_hostname
    assert context(TLSSettings()).verify_mode is ssl.CERT_REQUIRED


def test_an_authority_is_added_to_its_own_context(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    before = len(context(TLSSettings()).get_ca_certs())
    assert (
        len(context(TLSSettings(ca_files=(str(authority.certificate),))).get_ca_certs())
        == before + 1
    )
    assert len(context(TLSSettings()).get_ca_certs()) == before


def test_a_client_certificate(tmp_path: Path) -> None:
    certificate, key = Authority.make(tmp_path).issue("client", "DNS:client")
    context(TLSSettings(client_certs=((str(certificate), str(key)),)))
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    context(TLSSettings(client_certs=((str(both), ""),)))


def test_files_that_are_not_there_or_not_right(tmp_path: Path) -> None:
    gone, junk = str(tmp_path / "gone"), tmp_path / "junk"
    junk.write_text("no certificate")
    certificate, key = Authority.make(tmp_path / "ca").issue("client", "DNS:client")
    _, other = Authority.make(tmp_path / "other").issue("client", "DNS:client")
    for settings, text in (
        (TLSSettings(ca_files=(gone,)), f"CA file {gone}: No such file"),
        (TLSSettings(ca_files=(str(junk),)), f"CA file {junk}: no "),
        (TLSSettings(client_certs=((gone, ""),)), f"client certificate {gone}: No such file"),
        (TLSSettings(client_certs=((str(certificate), gone),)), f"and {gone}: No such file"),
        (TLSSettings(client_certs=((str(certificate), str(other)),)), "key values mismatch"),
        (TLSSettings(client_certs=((str(certificate), ""),)), "client certificate"),
    ):
        with pytest.raises(HostsInvalid) as caught:
            context(settings)
        assert text in caught.value.message
        assert key.read_text() not in caught.value.message


def test_an_encrypted_key_does_not_ask(tmp_path: Path) -> None:
    certificate, _ = Authority.make(tmp_path).issue("client", "DNS:client")
    locked = tmp_path / "locked.key"
    locked.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEF\n"
        "-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    with pytest.raises(HostsInvalid, match="client certificate"):
        context(TLSSettings(client_certs=((str(certificate), str(locked)),)))


def test_settings_of_a_host() -> None:
    host = HostSettings(ca_file="a", client_cert="b", client_key="c", skip_verify=True)
    assert host.tls == TLSSettings(("a",), (("b", "c"),), skip_verify=True)
    assert "secret" not in repr(HostSettings(headers={"X": "secret"}))
