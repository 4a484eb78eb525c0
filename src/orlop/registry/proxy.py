"""Which proxy a request goes through, as the environment says.

Pure: handed the variables. HTTP_PROXY, HTTPS_PROXY and NO_PROXY as most programs
read them, in capitals or in small letters (capitals first): a proxy is an http://
URL, or ``host:port``. NO_PROXY is a list with commas: ``*`` is every host, an
address or a network (``10.0.0.0/8``) is what it says, ``example.test`` is that
name and all below it, ``.example.test`` only those below it; a port may follow a
name or an address. Loopback hosts never go through a proxy.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_URL: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    r"(?:(?P<username>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)(?::(?P<port>[0-9]{1,5}))?/?"
)
_ESCAPED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. Its credentials are sent to it and to nobody else, and never shown.

    Attributes:
        url: where it is, without credentials; "" when ``problem`` says why it is not known.
        username, password: for Basic authentication; "" for none.
    """

    url: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies of a node.

    Attributes:
        http: for plain HTTP; None is a direct connection.
        https: for HTTPS, as a tunnel.
        direct: the elements of NO_PROXY, in small letters.
    """

    http: Proxy | None = None
    https: Proxy | None = None
    direct: tuple[str, ...] = ()

    def proxy_for(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy of a request to ``host`` (no brackets); None for a direct connection."""
        proxy = self.https if scheme == "https" else self.http
        if proxy is None or self._is_direct(host.lower().rstrip("."), port):
            return None
        return proxy

    def _is_direct(self, host: str, port: int) -> bool:
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        return any(_matches(rule, host, address, port) for rule in self.direct)


NO_PROXIES = Proxies()
"""Every connection is direct."""


def from_environment(variables: Mapping[str, str]) -> Proxies:
    """The proxies that environment variables tell.

    One that cannot be used is a problem only of those requests that would need it.
    """

    def value(name: str) -> str:
        return (variables.get(name) or variables.get(name.lower(), "")).strip()

    # A CGI program's HTTP_PROXY is a header of the request that it serves.
    http = "" if "REQUEST_METHOD" in variables else value("HTTP_PROXY")
    rules = (rule.strip().lower() for rule in value("NO_PROXY").split(","))
    return Proxies(
        http=_proxy("HTTP_PROXY", http),
        https=_proxy("HTTPS_PROXY", value("HTTPS_PROXY")),
        direct=tuple(rule for rule in rules if rule),
    )


def _proxy(name: str, value: str) -> Proxy | None:
    if not value:
        return None
    parts = _URL.fullmatch(value)
    port = int(parts["port"] or 80) if parts else 0
    if parts is None or (parts["scheme"] or "http").lower() != "http" or not 0 < port < 65536:
        # The value is not shown: it may hold a password.
        return Proxy("", problem=f"{name} is not the URL of an HTTP proxy (http://HOST:PORT)")
    return Proxy(
        f"http://{parts['host']}:{port}",
        _unescaped(parts["username"] or ""),
        _unescaped(parts["password"] or ""),
    )


def _unescaped(text: str) -> str:
    """Text of a URL without percent-encoding (RFC 3986 2.1)."""
    raw = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode())
    return raw.decode("utf-8", "replace")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _matches(
    rule: str,
    host: str,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None,
    port: int,
) -> bool:
    if rule == "*":
        return True
    if "/" in rule:
        try:
            return address is not None and address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    name, only = _split(rule)
    if only and only != port:
        return False
    if address is not None:
        return _address(name) == address
    name = name.removeprefix("*").rstrip(".")
    return host.endswith(name) if name.startswith(".") else f".{host}".endswith(f".{name}")


def _split(rule: str) -> tuple[str, int]:
    """Name and port (0 is any) of an element."""
    if _address(rule) is not None:
        return rule, 0
    name, colon, port = rule.rpartition(":")
    if colon and port.isascii() and port.isdigit():
        return name.strip("[]"), int(port)
    return rule.strip("[]"), 0
