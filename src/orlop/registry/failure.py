"""Translates what aiohttp, the socket and TLS layers raise, once, into our errors.

Every message is ``registry HOST: cause`` in one short line, without any URL.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final

import aiohttp

from orlop.errors import (
    AuthPolicy,
    OrlopError,
    RegistryError,
    RegistryProtocol,
    RegistryUnavailable,
    TLSFailed,
)
from orlop.registry import tls

if TYPE_CHECKING:
    from orlop.registry.settings import RegistrySettings


class AddressRefusedError(OSError):
    """A name resolves only to addresses that ``reach`` forbids; never leaves this room."""


class Silent(RegistryUnavailable):
    """A host sent nothing for so long that another one is asked instead."""


class GarbledAnswer(RegistryProtocol):
    """What came is no HTTP: a server's nonsense, or the rest of an answer before it."""


_NAMES: Final = {
    socket.EAI_NONAME: "host name not found",
    socket.EAI_NODATA: "host name has no address",
    socket.EAI_AGAIN: "temporary failure of name resolution",
}
_ERRNOS: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
    errno.ETIMEDOUT: "connection timed out",
}
_KINDS: Final[tuple[tuple[type[Exception], type[RegistryError], str], ...]] = (
    (aiohttp.ConnectionTimeoutError, RegistryUnavailable, "no connection within {connect}"),
    (aiohttp.ClientPayloadError, RegistryUnavailable, "connection ended before the answer did"),
    (aiohttp.ServerDisconnectedError, RegistryUnavailable, "connection closed without an answer"),
    (aiohttp.ClientResponseError, GarbledAnswer, "the answer is not valid HTTP"),
    (aiohttp.InvalidURL, RegistryProtocol, "a URL is not valid"),
    (TimeoutError, RegistryUnavailable, "no answer within {header}"),
)
"""Kinds of errors, the narrower first, and what they mean."""
_LOCAL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def translate(error: Exception, *, host: str, settings: RegistrySettings) -> OrlopError:
    """The error of ours that a failed request to ``host`` (an address to show) means."""
    where = f"registry {host}"
    if isinstance(error, OrlopError):
        return error
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return RegistryUnavailable(f"{where}: the proxy answers {error.status}")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        where = f"{where}: proxy {error.host}:{error.port}"
    # Certificate and TLS errors first: some of aiohttp's are OSErrors as well.
    secure = _tls_cause(error)
    if secure is not None:
        cause, hint = tls.reason(secure)
        return TLSFailed(f"{where}: {cause}", hint=hint)
    if isinstance(error, OSError) and error.errno and not isinstance(error, aiohttp.ClientError):
        return _from_os(error, where)  # a TimeoutError with a number is the kernel's
    for foreign, ours, text in _KINDS:
        if isinstance(error, foreign):
            cause = text.format(
                connect=f"{settings.connect_timeout:g} s", header=f"{settings.header_timeout:g} s"
            )
            return ours(f"{where}: {cause}")
    if isinstance(error, OSError):
        return _from_os(error, where)
    return RegistryUnavailable(f"{where}: connection lost")


def _tls_cause(error: BaseException) -> ssl.SSLError | None:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
        return inner if isinstance(inner, ssl.SSLError) else ssl.SSLCertVerificationError()
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error if isinstance(error.os_error, ssl.SSLError) else None
    return error if isinstance(error, ssl.SSLError) else None


def _from_os(error: OSError, where: str) -> OrlopError:
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(inner, AddressRefusedError):
        return AuthPolicy(f"{where}: {inner}")
    if isinstance(inner, socket.gaierror):
        cause = _NAMES.get(inner.errno or 0, "host name cannot be resolved")
        return RegistryUnavailable(f"{where}: {cause}")
    number = inner.errno or 0
    cause = _ERRNOS.get(number) or (os.strerror(number) if number else "connection lost")
    if number in _LOCAL:
        return RegistryUnavailable(f"{where}: no connection from this node: {cause}")
    return RegistryUnavailable(f"{where}: {cause}")
