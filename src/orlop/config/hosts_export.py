"""Writes the ``hosts.toml`` files that take the place of deprecated tables.

Pure: text out, nothing is written. Credentials are left where they are, for these
files are read by many and the tables of the main document go on working.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from orlop.config.hosts_legacy import EVERY, mirror_rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orlop.config.hosts import HostEntry, Rules
    from orlop.config.schema import RegistryConfig

_DEFAULT: Final = "_default"


def hosts_files(registry: RegistryConfig) -> Mapping[str, str]:
    """The files that say what ``registry.mirrors`` says.

    Args:
        registry: as it was read.

    Returns:
        Text by path relative to a directory of ``registry.config_path``, such as
        ``docker.io/hosts.toml``; sorted by path. Read with ``hosts_parse`` it gives the
        same endpoints in the same order.

    Raises:
        InvalidArgument: an endpoint is no URL of a host.
    """
    return {
        f"{directory(name)}/hosts.toml": _text(name, rules, registry)
        for name, rules in sorted(mirror_rules(registry).items())
    }


def directory(name: str) -> str:
    """The directory for a registry: ``HOST``, ``HOST_PORT_``, or ``_default`` for all."""
    if name == EVERY:
        return _DEFAULT
    colon = name.find(":", name.rfind("]") + 1)
    return name if colon < 0 else f"{name[:colon]}_{name[colon + 1 :]}_"


def _text(name: str, rules: Rules, registry: RegistryConfig) -> str:
    lines = [f"# Made from registry.mirrors.{_quoted(name)}."]
    with_auth = [host for host in _hosts(name, rules) if registry.auth_for(host) is not None]
    for host in dict.fromkeys(with_auth):
        lines += [
            f"# The credentials for {host} stay in the main document, where they go on working.",
            "# To move them, write a docker config.json and name it in the table of the host:",
            '# credentials = "file:/path/to/config.json"',
        ]
    lines.append("")
    server = rules.server
    if server.url is not None:
        lines.append(f"server = {_quoted(str(server.url))}")
    lines += _settings(server)
    for entry in rules.hosts:
        lines += ["", f"[host.{_quoted(str(entry.url))}]", *_settings(entry)]
    return "\n".join(lines) + "\n"


def _hosts(name: str, rules: Rules) -> Iterator[str]:
    for entry in (*rules.hosts, rules.server):
        if entry.url is not None:
            yield entry.url.address
    if name != EVERY:
        yield name


def _settings(entry: HostEntry) -> Iterator[str]:
    yield f"capabilities = [{', '.join(map(_quoted, sorted(entry.capabilities)))}]"
    if entry.override_path:
        yield "override_path = true"


def _quoted(text: str) -> str:
    """A TOML string; the names and URLs here are ASCII without controls."""
    return json.dumps(text)
