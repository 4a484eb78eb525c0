"""The deprecated tables of the main document in today's words.

Pure. ``registry.mirrors`` means what it meant in containerd 1.x: the endpoints of the
registry, else those of ``*``, in their order, and after them the registry itself
unless it is among them; an endpoint's path is the root of its API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.config.hosts import Capability, HostEntry, HostURL, Rules
from orlop.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.config.schema import RegistryConfig

EVERY: Final = "*"
"""The name in ``registry.mirrors`` that stands for registries without an entry."""

_CAPABILITIES: Final[frozenset[Capability]] = frozenset({"pull", "resolve"})
_HUB: Final = "docker.io"
_HUB_HOSTS: Final = frozenset({_HUB, "registry-1.docker.io"})


def mirror_rules(registry: RegistryConfig) -> dict[str, Rules]:
    """Rules by registry host, in lower case, and ``*``.

    Raises:
        InvalidArgument: an endpoint is no URL of a host; the message names its key.
    """
    return {
        name.lower(): _rules(name.lower(), mirror.endpoint)
        for name, mirror in registry.mirrors.items()
    }


def _rules(name: str, endpoints: Sequence[str]) -> Rules:
    where = f"registry.mirrors.{name}"
    found: dict[HostURL, HostEntry] = {}
    for endpoint in endpoints:
        try:
            url = HostURL.parse(endpoint)
        except InvalidArgument as error:
            raise InvalidArgument(f"{where}: {error.message}", hint=error.hint) from error
        found.setdefault(url, _entry(url, where))
    hosts = tuple(found.values())
    itself = _HUB_HOSTS if name == _HUB else {name}
    if any(url.address in itself for url in found):
        # The registry is listed: nobody else is asked, and the last one takes its place.
        return Rules(hosts[:-1], hosts[-1], where=where)
    return Rules(hosts, HostEntry(capabilities=_CAPABILITIES, where=where), where=where)


def _entry(url: HostURL, where: str) -> HostEntry:
    return HostEntry(url=url, capabilities=_CAPABILITIES, override_path=bool(url.path), where=where)
