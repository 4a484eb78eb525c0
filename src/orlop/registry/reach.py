"""Tells how public a network address is, and which addresses a registry may send us to.

Pure. The rule: a registry may point at its own neighbourhood and at the public
internet, so that nobody outside can make a node ask the services beside it.
"""

from __future__ import annotations

import enum
import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


class Neighbourhood(enum.Enum):
    """Where an address lives."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    FORBIDDEN = "reserved"  # link-local, metadata services, multicast, unspecified


_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA: Final = frozenset(
    {ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200")}
)
"""Metadata services of clouds outside the link-local ranges."""
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")


def is_literal(host: str) -> bool:
    """True when ``host`` is an address in any spelling that a resolver takes for one.

    Besides ``192.0.2.1`` and ``::1`` these are ``0x7f000001``, ``2130706433`` and
    ``127.1``: no DNS name ends in a label of digits.
    """
    last = host.rstrip(".").rpartition(".")[2].lower()
    return ":" in host or last.isdigit() or (last.startswith("0x") and last[2:].isalnum())


def classify(address: str) -> Neighbourhood:
    """Where a numeric address lives; an IPv4 address inside an IPv6 one counts.

    Anything that is no address is ``FORBIDDEN``.
    """
    try:
        parsed = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return Neighbourhood.FORBIDDEN
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = _embedded(parsed)
        if inner is not None:
            return _neighbourhood(inner)
    return _neighbourhood(parsed)


def strictest(addresses: Iterable[str]) -> Neighbourhood:
    """The neighbourhood that allows least among those of a host's addresses."""
    found = {classify(address) for address in addresses}
    for place in (Neighbourhood.PUBLIC, Neighbourhood.PRIVATE, Neighbourhood.LOOPBACK):
        if place in found:
            return place
    return Neighbourhood.FORBIDDEN


def may_reach(home: Neighbourhood, target: Neighbourhood) -> bool:
    """True when a registry at ``home`` may send us to an address at ``target``."""
    if target is Neighbourhood.FORBIDDEN:
        return False
    return target in (Neighbourhood.PUBLIC, home)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _neighbourhood(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Neighbourhood:
    if address.is_loopback:
        return Neighbourhood.LOOPBACK
    if (
        address in _METADATA
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.version == 4 and address in _THIS_NETWORK)
    ):
        return Neighbourhood.FORBIDDEN
    return Neighbourhood.PUBLIC if address.is_global else Neighbourhood.PRIVATE
