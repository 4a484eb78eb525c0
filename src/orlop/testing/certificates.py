"""Certificates and signed tokens for tests, made with the program ``openssl``.

Nothing here is worth keeping: keys lie in the clear in a directory of the caller's.
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_WITHIN: Final = 30.0

KeyKind = Literal["ec", "rsa"]

_KEYS: Final = {
    "ec": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "rsa": ("rsa", "-pkeyopt", "rsa_keygen_bits:2048"),
}


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority with its files in ``directory``."""

    directory: Path

    @property
    def certificate(self) -> Path:
        """PEM file of its certificate."""
        return self.directory / "ca.pem"

    @classmethod
    def make(cls, directory: Path) -> Self:
        """Make one; good for two days."""
        directory.mkdir(parents=True, exist_ok=True)
        made = cls(directory)
        _openssl(
            "req", "-x509", "-newkey", *_KEYS["ec"], "-nodes",
            "-keyout", str(directory / "ca.key"), "-out", str(made.certificate),
            "-days", "2", "-subj", "/CN=test authority",
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip
        return made

    def issue(
        self, name: str, *names: str, days: int = 2, kind: KeyKind = "ec"
    ) -> tuple[Path, Path]:
        """Certificate and key for ``names`` such as ``IP:127.0.0.1``.

        ``days`` may be negative, for a certificate that has expired.
        """
        key, request = self.directory / f"{name}.key", self.directory / f"{name}.csr"
        certificate, extensions = self.directory / f"{name}.pem", self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={','.join(names)}\n")
        _openssl(
            "req", "-newkey", *_KEYS[kind], "-nodes",
            "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}",
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.certificate),
            "-CAkey", str(self.directory / "ca.key"), "-CAcreateserial",
            "-days", str(days), "-extfile", str(extensions), "-out", str(certificate),
        )  # fmt: skip
        return certificate, key

    def server(self, name: str, *names: str) -> ssl.SSLContext:
        """A server context with a certificate for ``names``."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.issue(name, *names))
        return context


@dataclass(frozen=True, slots=True)
class TokenSigner:
    """Signs JSON web tokens as the distribution project's registry wants them.

    RFC 7515, RFC 7519; RS256, with the certificate in ``x5c``.

    Attributes:
        certificate: PEM file of the signer's certificate, from the authority that the
            registry was told of.
        key: PEM file of its RSA key.
        issuer, service: names that the registry was told of.
        life: seconds from the signing until the token ends; negative for one that has
            ended. Registries tolerate clocks that differ by a minute.
    """

    certificate: Path
    key: Path
    issuer: str
    service: str
    life: int = 300

    def sign(self, scopes: Sequence[str]) -> str:
        """A token for scopes such as ``repository:library/app:pull,push``."""
        pem = self.certificate.read_text()
        der = base64.b64encode(ssl.PEM_cert_to_DER_cert(pem)).decode("ascii")
        now = int(time.time())
        access = [_access(scope) for scope in scopes]
        text = ".".join(
            _encoded(json.dumps(part).encode())
            for part in (
                {"typ": "JWT", "alg": "RS256", "x5c": [der]},
                {
                    "iss": self.issuer,
                    "aud": self.service,
                    "sub": "",
                    "jti": str(uuid.uuid4()),
                    "iat": now,
                    "nbf": now - 1000,
                    "exp": now + self.life,
                    "access": access,
                },
            )
        )
        signature = _openssl("dgst", "-sha256", "-sign", str(self.key), data=text.encode())
        return f"{text}.{_encoded(signature)}"


def _access(scope: str) -> dict[str, object]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _openssl(*arguments: str, data: bytes = b"") -> bytes:
    command = ["openssl", *arguments]
    done = subprocess.run(command, input=data, check=True, capture_output=True, timeout=_WITHIN)
    return done.stdout
