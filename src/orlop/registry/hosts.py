"""Decides which endpoints serve a reference, in which order, and what each may be asked.

Pure. The rules come from ``hosts.toml`` files, from deprecated tables of the main
document, or are missing; then the reference's own registry is asked and nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from orlop.config.hosts import CAPABILITIES, DEFAULT_SOURCE, HostEntry
from orlop.errors import InvalidReference, RegistryBlocked
from orlop.registry.reach import Neighbourhood, classify, is_literal
from orlop.registry.settings import SYSTEM_TLS, HostSettings, TLSSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.config.hosts import Capability, CredentialSource, Rules
    from orlop.model.reference import Reference
    from orlop.ports.registry import Credentials
    from orlop.registry.settings import RegistrySettings

Scheme = Literal["http", "https"]

ALL_CAPABILITIES: Final[frozenset[Capability]] = frozenset(CAPABILITIES)
EVERY: Final = "*"
"""Name of the rules for registries that have none of their own."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HUB: Final = "docker.io"
_HUB_ENDPOINT: Final = "registry-1.docker.io"
_HUB_ALIASES: Final = frozenset({_HUB, "index.docker.io", _HUB_ENDPOINT})
"""Names under which credentials for Docker Hub are stored in the wild."""
_ASKED: Final[frozenset[Capability]] = frozenset({"pull", "resolve"})


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
        namespace: the registry it stands in for, told in the query; "" for that itself.
        capabilities: what it may be asked for.
        tls: how to check it.
        headers: sent to it and to nobody else.
        realms: hosts of token services that may get the credentials.
        upstream: True for the reference's own registry, which alone sees the
            credentials of the pull unless ``credentials`` says otherwise.
        credentials: whose it gets.
        connect_timeout: seconds for a connection; None for the default.
        where: ``FILE:LINE`` of what is configured about it; "" for nothing.
    """

    origin: Origin
    tls: TLSSettings
    prefix: str = "/v2"
    namespace: str = ""
    capabilities: frozenset[Capability] = ALL_CAPABILITIES
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    realms: tuple[str, ...] = ()
    upstream: bool = True
    credentials: CredentialSource = DEFAULT_SOURCE
    connect_timeout: float | None = None
    where: str = ""

    @property
    def name(self) -> str:
        """The name under which its credentials are kept: ``host[:port]``."""
        return canonical(self.origin.address)

    def url(self, repository: str, kind: Literal["manifests", "blobs"], name: str) -> str:
        """URL of a manifest or blob; the parts of a reference need no escaping."""
        namespace = self.namespace.replace("[", "%5B").replace("]", "%5D")
        query = f"?ns={namespace}" if namespace else ""
        return f"{self.origin}{self.prefix}/{repository}/{kind}/{name}{query}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Who serves a reference.

    Attributes:
        endpoints: in the order in which to ask; only the last one can be the fallback.
        fallback: why the registry, or what stands in for it, is or is not the last one.
        where: ``FILE:LINE`` of the rules; "" for none.
    """

    endpoints: tuple[Endpoint, ...]
    fallback: str
    where: str = ""

    def able(self, capability: Capability) -> tuple[Endpoint, ...]:
        """Those that may be asked for something."""
        return tuple(one for one in self.endpoints if capability in one.capabilities)


def plan(reference: Reference, settings: RegistrySettings, rules: Rules | None = None) -> Plan:
    """Who serves ``reference``, in which order, and what each may be asked.

    Args:
        reference: what to fetch.
        settings: what the main document says about hosts.
        rules: of the registry; None when there are none.

    Raises:
        InvalidReference: the reference's domain is no host with a port.
        RegistryBlocked: the rules let nobody pull.
    """
    if rules is None:
        only = _endpoint(HostEntry(), reference, settings)
        return Plan((only,), "nothing is configured about the registry, so it is asked itself")
    if rules.blocked:
        raise RegistryBlocked(
            f"{reference.name}: blocked at {rules.where}", hint="the operator of this node did it"
        )
    listed = tuple(_endpoint(entry, reference, settings) for entry in rules.hosts)
    if not rules.fallback:
        return Plan(listed, f"none: fallback = false at {rules.where}", rules.where)
    server = _endpoint(rules.server, reference, settings)
    if any(_covers(one, server) for one in listed):
        return Plan(listed, f"none: {server.origin} is among the hosts", rules.where)
    if rules.server.url is None:
        why = f"the registry itself, for no server is named at {rules.where}"
    else:
        why = f"the server of {rules.server.where}"
    return Plan((*listed, server), why, rules.where)


def rules_of(reference: Reference, settings: RegistrySettings) -> Rules | None:
    """The rules that the main document itself has for a registry."""
    return settings.rules.get(reference.domain.lower()) or settings.rules.get(EVERY)


def _endpoint(entry: HostEntry, reference: Reference, settings: RegistrySettings) -> Endpoint:
    url, domain = entry.url, reference.domain.lower()
    name = domain if url is None else url.address
    host, port = split(name)
    if host in _HUB_ALIASES and port is None:
        host, name = _HUB_ENDPOINT, _HUB
    known = settings.hosts.get(name) or HostSettings()
    tls = TLSSettings(
        (*entry.ca, *known.tls.ca_files),
        (*entry.client, *known.tls.client_certs),
        entry.skip_verify or known.skip_verify,
    )
    scheme = url.scheme if url is not None else ""
    if not scheme:
        scheme = "http" if _plain(host, known, tls) else "https"
    origin = Origin(scheme, host, port or _DEFAULT_PORTS[scheme])
    upstream = _is_registry(origin, domain)
    return Endpoint(
        origin=origin,
        tls=tls,
        prefix=entry.api_path(),
        namespace="" if upstream else domain,
        capabilities=entry.capabilities,
        headers=_headers(settings.headers, known.headers.items(), entry.headers),
        realms=(*entry.realms, *known.realms),
        upstream=upstream,
        credentials=entry.credentials,
        connect_timeout=entry.dial_timeout,
        where=entry.where,
    )


def _is_registry(origin: Origin, domain: str) -> bool:
    """True when the registry of a reference is at ``origin``; the scheme may differ."""
    host, port = split(_HUB_ENDPOINT if domain in _HUB_ALIASES else domain)
    return origin.host == host and origin.port == (port or _DEFAULT_PORTS[origin.scheme])


def _covers(one: Endpoint, other: Endpoint) -> bool:
    """True when whoever asks ``one`` need not ask ``other`` as well."""
    return (
        (one.origin, one.prefix, one.tls, one.headers, one.credentials)
        == (other.origin, other.prefix, other.tls, other.headers, other.credentials)
    ) and _ASKED & other.capabilities <= one.capabilities


def _headers(*layers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Fields laid over each other, by name whatever its case."""
    found = {name.lower(): (name, value) for layer in layers for name, value in layer}
    return tuple(sorted(found.values()))


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
    if canonical(named) == canonical(reference.domain.lower()):
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


def canonical(address: str) -> str:
    """The name under which credentials for ``host[:port]`` are kept."""
    address = address.removesuffix(":443")
    return _HUB if address in _HUB_ALIASES else address


def _plain(host: str, settings: HostSettings, tls: TLSSettings) -> bool:
    if settings.plain_http is not None:
        return settings.plain_http
    return is_loopback(host) and tls == SYSTEM_TLS
