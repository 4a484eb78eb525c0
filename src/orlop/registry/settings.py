"""How to reach registries, as frozen values; the configuration fills them in.

Holds no logic and reads no file: paths are text here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orlop.registry.health import HealthPolicy
from orlop.registry.proxy import NO_PROXIES, Proxies
from orlop.registry.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from orlop.config.hosts import Rules
    from orlop.ports.registry import Credentials


@dataclass(frozen=True, slots=True)
class TLSSettings:
    """How to check a server and how to show who we are.

    Attributes:
        ca_files: PEM files of authorities to trust besides the system's.
        client_certs: pairs of PEM files, our certificate chain and its key; the second
            is "" when the key is in the first.
        skip_verify: accept any certificate.
        stamp: differs when one of the files has changed, so that it is read again.
    """

    ca_files: tuple[str, ...] = ()
    client_certs: tuple[tuple[str, str], ...] = ()
    skip_verify: bool = False
    stamp: Hashable = ()

    @property
    def files(self) -> tuple[str, ...]:
        """All files that a session needs."""
        return (*self.ca_files, *(path for pair in self.client_certs for path in pair if path))

    @property
    def elsewhere(self) -> TLSSettings:
        """What of these settings holds for a host that this one sends us to: its authorities.

        Who trusts an authority to name the registry can trust it to name the
        registry's storage and token service. Our certificate is nobody else's
        business, and neglect of one host's certificate is not that of another's.
        """
        if not self.ca_files:
            return SYSTEM_TLS
        return TLSSettings(self.ca_files, stamp=self.stamp)


SYSTEM_TLS = TLSSettings()
"""The system's authorities and nothing else."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What the operator says about one registry host.

    Attributes:
        plain_http: True: HTTP; False: HTTPS; None: HTTP for a loopback host
            without TLS settings, HTTPS for all others.
        ca_file: PEM file of authorities to trust besides the system's; "" for none.
        client_cert: PEM file of our certificate chain; "" for none.
        client_key: PEM file of its key; "" when it is in ``client_cert``.
        skip_verify: accept any certificate.
        headers: sent with every request to this host, and to no other.
        realms: hosts (``host`` or ``host:port``) of token services that may get
            this registry's credentials, wherever they are.
    """

    plain_http: bool | None = None
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    skip_verify: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    realms: tuple[str, ...] = ()

    @property
    def tls(self) -> TLSSettings:
        """The TLS part."""
        return TLSSettings(
            (self.ca_file,) if self.ca_file else (),
            ((self.client_cert, self.client_key),) if self.client_cert else (),
            self.skip_verify,
        )


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Everything the registry room can be told.

    Attributes:
        hosts: by ``host[:port]`` as it stands in references; holds for mirrors as well.
        directories: where ``hosts.toml`` files are looked for; the first that has
            something about a registry wins.
        rules: of registries that the main document itself has mirrors for, by host, and
            "*"; excludes ``directories``.
        headers: sent to every host of a registry.
        auths: configured credentials, by canonical host.
        connect_timeout: seconds for name resolution, connection and TLS handshake.
        header_timeout: seconds from the request to the head of its answer; also
            for the whole body of a token or an error.
        silence: seconds without a byte after which a host is given up when there is another
            one that is well.
        connections_per_host: requests at once to one host; more have to wait.
        connections: requests at once to all hosts together; 0 is no limit.
        read_buffer: bytes that may wait for the reader of a body; twice that
            is the most a connection holds.
        user_agent: value of the User-Agent header.
        retry: how often, and how patiently.
        health: when a host is down, and for how long.
        proxies: which requests go through a proxy.
    """

    hosts: Mapping[str, HostSettings] = field(default_factory=dict)
    directories: tuple[str, ...] = ()
    rules: Mapping[str, Rules] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    auths: Mapping[str, Credentials] = field(default_factory=dict, repr=False)
    connect_timeout: float = 10.0
    header_timeout: float = 30.0
    silence: float = 30.0
    connections_per_host: int = 32
    connections: int = 0
    read_buffer: int = 1 << 20
    user_agent: str = "orlop"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    health: HealthPolicy = field(default_factory=HealthPolicy)
    proxies: Proxies = NO_PROXIES
