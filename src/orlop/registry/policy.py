"""Decides where a registry may send us: redirects and token services.

Pure. Answers nothing when all is well and raises when it is not. What an allowed
redirect may carry follows from ``Origin`` equality and is decided by ``exchange``.
Addresses that a name resolves to are checked by the transport with ``reach``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import AuthPolicy, RegistryProtocol
from orlop.registry.reach import Neighbourhood, classify, is_literal, may_reach

if TYPE_CHECKING:
    from orlop.registry.hosts import Endpoint, Origin


def check_redirect(
    source: Origin, target: Origin, *, home: Neighbourhood, has_userinfo: bool
) -> None:
    """Refuse a redirect that would leave HTTP(S), drop TLS, carry a name or reach inside.

    Args:
        source: who redirects.
        target: where to.
        home: neighbourhood of the registry that was asked first.
        has_userinfo: True when the target URL holds a user name.

    Raises:
        RegistryProtocol: the target is not HTTP.
        AuthPolicy: it is one that must not be followed.
    """
    if target.scheme not in ("http", "https"):
        raise RegistryProtocol(f"registry {source.address} redirects to a {target.scheme}: URL")
    where = f"registry {source.address} redirects to {target}"
    if has_userinfo:
        raise AuthPolicy(f"{where} with a user name in the URL")
    if source == target:
        return
    if source.scheme == "https" and target.scheme == "http":
        raise AuthPolicy(f"{where}, without TLS")
    if is_literal(target.host) and not may_reach(home, classify(target.host)):
        raise AuthPolicy(f"{where}, a {classify(target.host).value} address")


def trusts_realm(endpoint: Endpoint, realm: Origin) -> bool:
    """True when the operator named this token service, or it is the endpoint itself."""
    return realm == endpoint.origin or bool(
        {realm.host, realm.address, f"{realm.host}:{realm.port}"} & set(endpoint.realms)
    )


def check_realm(
    endpoint: Endpoint, realm: Origin, *, with_credentials: bool, has_userinfo: bool
) -> None:
    """Refuse a token service that must not be asked, or must not see the credentials.

    Allowed: the endpoint itself; services the operator named; others over HTTPS by
    DNS name, with credentials only inside the registry's own registrable domain.

    Raises:
        AuthPolicy: it must not be asked.
    """
    where = f"registry {endpoint.origin.address} sends to the token service {realm}"
    hint = f"to allow it, list {realm.address!r} among the realms of {endpoint.origin.address}"
    if has_userinfo:
        raise AuthPolicy(f"{where} with a user name in the URL")
    if realm.scheme not in ("http", "https"):
        raise AuthPolicy(f"{where}, which is not HTTP")
    if endpoint.origin.scheme == "https" and realm.scheme != "https":
        raise AuthPolicy(f"{where}, without TLS")
    if trusts_realm(endpoint, realm):
        return
    if realm.scheme != "https":
        raise AuthPolicy(f"{where}, without TLS", hint=hint)
    if is_literal(realm.host):
        raise AuthPolicy(f"{where}, a numeric address", hint=hint)
    same = registrable_domain(realm.host) == registrable_domain(endpoint.origin.host)
    if with_credentials and not same:
        raise AuthPolicy(f"{where}, in another domain, with credentials", hint=hint)


def registrable_domain(host: str) -> str:
    """The part of a DNS name that somebody registered, by a rule of thumb.

    Two labels, or three when the last two look like ``co.uk``; a numeric address
    and a single label stay whole. No public suffix list is kept: what is decided with
    this is who else may see credentials that the registry could have asked for itself.
    """
    labels = host.rstrip(".").split(".")
    if is_literal(host) or len(labels) < 3:
        return host.rstrip(".")
    country_style = len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3:] if country_style else labels[-2:])
