"""Makes TLS contexts and explains why a TLS session failed.

Reads certificate files; never opens a connection. A context belongs to one set
of ``TLSSettings`` and is never changed afterwards.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from orlop.errors import HostsInvalid

if TYPE_CHECKING:
    from orlop.registry.settings import TLSSettings

_PLAIN_ANSWERS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})


def context(settings: TLSSettings) -> ssl.SSLContext:
    """A client context; TLS 1.2 or newer. Blocks on the disk.

    OpenSSL shows one certificate for each kind of key, the last that was given.

    Raises:
        HostsInvalid: a file cannot be read or holds no certificate or key.
    """
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    for ca_file in settings.ca_files:
        try:
            made.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise HostsInvalid(f"CA file {ca_file}: {_file_reason(error)}") from error
    for certificate, key in settings.client_certs:
        try:
            made.load_cert_chain(certificate, key or None, _no_password)
        except OSError as error:
            files = " and ".join(filter(None, (certificate, key)))
            raise HostsInvalid(f"client certificate {files}: {_file_reason(error)}") from error
    if settings.skip_verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def reason(error: ssl.SSLError) -> tuple[str, str]:
    """Why a session failed, and what the user can do about it; one line each."""
    if isinstance(error, ssl.SSLCertVerificationError):
        # Only errors that OpenSSL made have these attributes.
        cause = (getattr(error, "verify_message", "") or "it is not valid").rstrip(".")
        hint = ""
        if getattr(error, "verify_code", None) in _UNKNOWN_ISSUER:
            hint = "name the registry's authority: ca in its hosts.toml, or registry.ca_files"
        return f"certificate: {cause}", hint
    library_reason: str = getattr(error, "reason", None) or "handshake failed"
    if library_reason in _PLAIN_ANSWERS:
        return "the server does not speak TLS", "if that is meant, allow plain HTTP for this host"
    return f"TLS: {library_reason.replace('_', ' ').lower()}", ""


_UNKNOWN_ISSUER: Final = frozenset({18, 19, 20, 21})
"""X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT up to UNABLE_TO_VERIFY_LEAF_SIGNATURE."""


def _file_reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        words: str = getattr(error, "reason", None) or ""
        return words.replace("_", " ").lower() or "no usable PEM content"
    return error.strerror or "cannot be read"


def _no_password() -> str:
    """An encrypted key fails instead of asking on the terminal."""
    return ""
