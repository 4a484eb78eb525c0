"""Certificates and tokens, checked with the program that made them and by hand."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING

from orlop.testing.certificates import Authority, TokenSigner

if TYPE_CHECKING:
    from pathlib import Path


def openssl(*arguments: str, data: bytes = b"") -> str:
    done = subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True)
    return done.stdout.decode()


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_certificates(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue("one", "IP:127.0.0.1", "DNS:one.test")
    ca = str(authority.certificate)
    assert openssl("verify", "-CAfile", ca, str(certificate)).endswith("OK\n")
    assert "DNS:one.test" in openssl(
        "x509", "-in", str(certificate), "-noout", "-ext", "subjectAltName"
    )
    assert key.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    authority.server("two", "DNS:two.test")


def test_tokens(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue("signer", "DNS:signer", kind="rsa")
    signer = TokenSigner(certificate, key, "an issuer", "a service")
    text = signer.sign(["repository:a/b:pull,push", "repository:c:pull"])
    head, claims, signature = text.split(".")
    document = json.loads(decoded(claims))
    assert (document["iss"], document["aud"]) == ("an issuer", "a service")
    assert document["exp"] - document["iat"] == 300
    assert document["access"] == [
        {"type": "repository", "name": "a/b", "actions": ["pull", "push"]},
        {"type": "repository", "name": "c", "actions": ["pull"]},
    ]
    assert json.loads(decoded(head))["alg"] == "RS256"
    public, signed = tmp_path / "public.pem", tmp_path / "signature"
    public.write_text(openssl("x509", "-in", str(certificate), "-noout", "-pubkey"))
    signed.write_bytes(decoded(signature))
    verify = ("dgst", "-sha256", "-verify", str(public), "-signature", str(signed))
    assert openssl(*verify, data=f"{head}.{claims}".encode()) == "Verified OK\n"
