"""Decides which endpoints serve a reference, and whose credentials they may see.

Pure. ``endpoints`` returns them in the order in which the client asks; today
that is the reference's own registry, later its mirrors come before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from orlop.errors import InvalidReference
from orlop.registry.reach import Neighbourhood, classify, is_literal
from orlop.registry.settings import HostSettings, TLSSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.model.reference import Reference
    from orlop.ports.registry import Credentials

Scheme = Literal["http", "https"]
Capability = Literal["pull", "resolve"]

ALL_CAPABILITIES: Final[frozenset[Capability]] = frozenset({"pull", "resolve"})

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HUB: Final = "docker.io"
_HUB_ENDPOINT: Final = "registry-1.docker.io"
_HUB_ALIASES: Final = frozenset({_HUB, "index.docker.io", _HUB_ENDPOINT})
"""Names under which credentials for Docker Hub are stored in the wild."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: the border that no credential crosses.

    ``host`` is in lower case and without brackets.
    """

    scheme: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """``host`` or ``host:port``, as it stands in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that speaks the distribution API for a registry.

    Attributes:
        origin: where it is.
        prefix: path before ``/<repository>/manifests``; ``/v2`` as a rule.
        capabilities: what it may be asked for.
        tls: how to check it.
        headers: sent to it and to nobody else.
        realms: hosts of token services that may get the credentials.
        upstream: True for the reference's own registry, which alone may see
            the credentials of the pull.
    """

    origin: Origin
    tls: TLSSettings
    prefix: str = "/v2"
    capabilities: frozenset[Capability] = ALL_CAPABILITIES
    headers: tuple[tuple[str, str], ...] = ()
    realms: tuple[str, ...] = ()
    upstream: bool = True

    def url(self, repository: str, kind: Literal["manifests", "blobs"], name: str) -> str:
        """URL of a manifest or blob; the parts of a reference need no escaping."""
        return f"{self.origin}{self.prefix}/{repository}/{kind}/{name}"


def endpoints(reference: Reference, hosts: Mapping[str, HostSettings]) -> tuple[Endpoint, ...]:
    """Who serves ``reference``, in the order in which to ask; at least one.

    Args:
        reference: what to fetch.
        hosts: settings by ``host[:port]`` as it stands in references.

    Raises:
        InvalidReference: the reference's domain is no host with a port.
    """
    domain = reference.domain
    settings = hosts.get(domain, HostSettings())
    host, port = split(_HUB_ENDPOINT if domain == _HUB else domain)
    scheme: Scheme = "http" if _plain(host, settings) else "https"
    return (
        Endpoint(
            origin=Origin(scheme, host, port or _DEFAULT_PORTS[scheme]),
            tls=settings.tls,
            headers=tuple(settings.headers.items()),
            realms=settings.realms,
        ),
    )


def credentials_for(reference: Reference, credentials: Credentials | None) -> Credentials | None:
    """The credentials, if there are any for the registry of ``reference``, else None.

    A server address may be written as a host, a host with a port, or a URL
    such as ``https://index.docker.io/v1/``; the port has to agree.
    """
    if credentials is None or not (
        credentials.username or credentials.identity_token or credentials.registry_token
    ):
        return None
    if not credentials.server_address:
        return credentials
    address = credentials.server_address.strip().lower()
    _, separator, rest = address.partition("://")
    named = (rest if separator else address).partition("/")[0]
    if _canonical(named) == _canonical(reference.domain.lower()):
        return credentials
    return None


def split(domain: str) -> tuple[str, int | None]:
    """Host (lower case, no brackets) and port of ``host[:port]``.

    Raises:
        InvalidReference: the port is no port.
    """
    host, colon, port = domain.rpartition(":")
    if not colon or domain.endswith("]"):
        host, port = domain, ""
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InvalidReference(f"{domain}: the port is not a number from 1 to 65535")
    return host.strip("[]").lower(), int(port) if port else None


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and the numeric loopback addresses."""
    if host == "localhost":
        return True
    return is_literal(host) and classify(host) is Neighbourhood.LOOPBACK


def _plain(host: str, settings: HostSettings) -> bool:
    if settings.plain_http is not None:
        return settings.plain_http
    return is_loopback(host) and settings.tls == TLSSettings()


def _canonical(address: str) -> str:
    address = address.removesuffix(":443")
    return _HUB if address in _HUB_ALIASES else address
