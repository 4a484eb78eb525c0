"""Foreign errors become ours, in one short line."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import cast

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from orlop.errors import (
    AuthPolicy,
    NotFound,
    OrlopError,
    RegistryProtocol,
    RegistryUnavailable,
    TLSFailed,
)
from orlop.registry.failure import AddressRefusedError, GarbledAnswer, translate
from orlop.registry.settings import RegistrySettings

KEY = ConnectionKey("r.example", 443, True, True, None, None, None)
INFO = aiohttp.RequestInfo(URL("https://r.example/?sig=secret"), "GET", cast("None", {}), URL())  # type: ignore[arg-type] # not looked at


def os_error(number: int) -> OSError:
    return aiohttp.ClientConnectorError(KEY, OSError(number, "text"))


def expired() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError()
    error.verify_message, error.verify_code = "certificate has expired", 10
    return error


@pytest.mark.parametrize(
    ("error", "kind", "cause"),
    [
        (os_error(errno.ECONNREFUSED), RegistryUnavailable, "connection refused"),
        (os_error(errno.EHOSTUNREACH), RegistryUnavailable, "no route to host"),
        (os_error(errno.ENETUNREACH), RegistryUnavailable, "network is unreachable"),
        (os_error(errno.EMFILE), RegistryUnavailable, "no connection from this node: Too many"),
        (os_error(errno.EPROTO), RegistryUnavailable, "Protocol error"),
        (ConnectionResetError(errno.ECONNRESET, "x"), RegistryUnavailable, "connection reset"),
        (OSError("no number"), RegistryUnavailable, "connection lost"),
        (TimeoutError(errno.ETIMEDOUT, "x"), RegistryUnavailable, "connection timed out"),
        (TimeoutError(), RegistryUnavailable, "no answer within 30 s"),
        (aiohttp.ConnectionTimeoutError(), RegistryUnavailable, "no connection within 10 s"),
        (aiohttp.ClientPayloadError("x"), RegistryUnavailable, "ended before the answer did"),
        (aiohttp.ServerDisconnectedError(), RegistryUnavailable, "closed without an answer"),
        (aiohttp.ClientResponseError(INFO, ()), GarbledAnswer, "not valid HTTP"),
        (aiohttp.InvalidURL("x"), RegistryProtocol, "a URL is not valid"),
        (aiohttp.ClientError("x"), RegistryUnavailable, "connection lost"),
        (
            aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_NONAME, "x")),
            RegistryUnavailable,
            "host name not found",
        ),
        (
            aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_AGAIN, "x")),
            RegistryUnavailable,
            "temporary failure of name resolution",
        ),
        (
            aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_FAIL, "x")),
            RegistryUnavailable,
            "cannot be resolved",
        ),
        (
            aiohttp.ClientConnectorDNSError(KEY, AddressRefusedError("its name leads inside")),
            AuthPolicy,
            "its name leads inside",
        ),
        (
            aiohttp.ClientConnectorCertificateError(KEY, expired()),
            TLSFailed,
            "certificate: certificate has expired",
        ),
        (
            aiohttp.ClientConnectorCertificateError(KEY, ValueError("x")),
            TLSFailed,
            "certificate: it is not valid",
        ),
        (
            aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "x")),
            TLSFailed,
            "TLS: handshake failed",
        ),
        (ssl.SSLError(1, "x"), TLSFailed, "TLS: handshake failed"),
    ],
)
def test_kinds(error: Exception, kind: type[OrlopError], cause: str) -> None:
    ours = translate(error, host="r.example", settings=RegistrySettings())
    assert type(ours) is kind
    assert ours.message.startswith("registry r.example: ")
    assert cause in ours.message
    assert "secret" not in ours.message
    assert "\n" not in ours.message


def test_ours_stay_as_they_are() -> None:
    error = NotFound("x")
    assert translate(error, host="r.example", settings=RegistrySettings()) is error
