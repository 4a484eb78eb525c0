"""Finds and reads what the directories of ``registry.config_path`` say about a registry.

Reads files when a pull needs them, and again when they have changed. What cannot be
read or understood raises: a typing error must not send a pull elsewhere. Blocks on
the disk: call it in a thread; several may at once.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.config.document import MAX_BYTES
from orlop.config.hosts import HostEntry, HostsFile, Rules
from orlop.config.hosts_parse import parse
from orlop.errors import HostsInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_DIRECTORIES: Final = ("/etc/containerd/certs.d", "/etc/docker/certs.d")

_FILE_NAME: Final = "hosts.toml"
_DEFAULT: Final = "_default"
_HTTPS: Final = ":443"

Stamp = tuple[int, int, int, int, int]
"""What changes when a file changes: device, inode, size, and two times."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A place that was looked at, and what was there."""

    path: str
    found: str


@dataclass(frozen=True, slots=True)
class Found:
    """What holds for one repository.

    Attributes:
        rules: None when no directory knows the registry.
        looked: all places that were looked at, in order.
        warnings: of the file that holds, one line each.
        fresh: True when that file was read now, so that its warnings are news.
    """

    rules: Rules | None = None
    looked: tuple[Looked, ...] = ()
    warnings: tuple[str, ...] = ()
    fresh: bool = False


def split_path(config_path: str) -> tuple[str, ...]:
    """The directories of ``registry.config_path``; the default ones if it is empty."""
    return tuple(filter(None, config_path.split(":"))) or DEFAULT_DIRECTORIES


def candidates(domain: str) -> tuple[str, ...]:
    """Names of directories for a registry, the ones that win first.

    containerd's are ``HOST_PORT_``, ``HOST:PORT`` and ``_default``. Between them come
    ``*.SUFFIX`` for every host below a suffix, the longest suffix first, each with the
    port (both forms) before without it. A registry on port 443 is also found without
    its port, and its name in lower case comes first: it is the same server.
    """
    found: list[str] = []
    for name in dict.fromkeys((domain.lower(), domain)):
        host, port = _split(name)
        found += _with_port(host, port)
        if port in ("", _HTTPS):
            found.append(host)
    host, port = _split(domain.lower())
    labels = host.split(".")
    for start in range(1, len(labels)):
        suffix = "*." + ".".join(labels[start:])
        found += [*_with_port(suffix, port), suffix]
    return (*dict.fromkeys(found), _DEFAULT)


class HostsDirectories:
    """The directories, and what was read in them; belongs to one registry client.

    Args:
        directories: absolute paths; the first one that has something wins.
    """

    def __init__(self, directories: Sequence[str]) -> None:
        self._directories = tuple(directories)
        self._read: dict[str, tuple[Stamp, HostsFile]] = {}

    def find(self, domain: str, repository: str) -> Found:
        """What holds for ``repository`` of the registry ``domain``.

        Raises:
            HostsInvalid: what is there cannot be read or understood.
        """
        looked: list[Looked] = []
        for directory in self._directories:
            for name in candidates(domain):
                place = os.path.join(directory, name)
                if not _exists(place):
                    looked.append(Looked(place, "nothing"))
                    continue
                return self._found(place, repository, looked)
        return Found(looked=tuple(looked))

    def _found(self, place: str, repository: str, looked: list[Looked]) -> Found:
        path = os.path.join(place, _FILE_NAME)
        stamp = _stamp(path)
        if stamp is None or not stamp[2]:  # an empty file is none, as in containerd
            rules = _certificates(place)
            what = "certificates" if rules.server != HostEntry() else "a directory without settings"
            return Found(rules, (*looked, Looked(place, what)))
        known = self._read.get(path)
        fresh = known is None or known[0] != stamp
        if known is None or fresh:
            known = (stamp, parse(_content(path), path=path))
            self._read[path] = known
        file = known[1]
        rules = file.rules_for(repository)
        return Found(
            rules, (*looked, Looked(path, f"rules at {rules.where}")), file.warnings, fresh
        )


def stamp_of(paths: Sequence[str]) -> tuple[Stamp | None, ...]:
    """What tells whether files have changed; None for those that cannot be looked at."""
    found: list[Stamp | None] = []
    for path in paths:
        try:
            found.append(_stamp(path))
        except HostsInvalid:
            found.append(None)  # whoever opens it says why
    return tuple(found)


def _certificates(place: str) -> Rules:
    """Docker's layout: ``*.crt`` are authorities, ``*.cert`` with ``*.key`` are ours."""
    try:
        names = sorted(os.listdir(place))
    except OSError as error:
        raise HostsInvalid(f"{place}: {error.strerror}") from error
    client = []
    for name in names:
        if name.endswith(".cert"):
            key = name.removesuffix(".cert") + ".key"
            client.append(
                (os.path.join(place, name), os.path.join(place, key) if key in names else "")
            )
    ca = tuple(os.path.join(place, name) for name in names if name.endswith(".crt"))
    entry = HostEntry(ca=ca, client=tuple(client), where=place)
    return Rules(server=entry, where=place)


def _exists(place: str) -> bool:
    try:
        os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        _refuse_dangling(place)
        return False
    except OSError as error:
        raise HostsInvalid(f"{place}: {error.strerror}") from error
    return True


def _stamp(path: str) -> Stamp | None:
    """None when there is no such file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        _refuse_dangling(path)
        return None
    except OSError as error:
        raise HostsInvalid(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise HostsInvalid(f"{path}: it is no file")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _refuse_dangling(path: str) -> None:
    """A link that leads nowhere was meant to lead somewhere."""
    if os.path.islink(path):
        raise HostsInvalid(f"{path}: a link that leads nowhere")


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise HostsInvalid(f"{path}: {error.strerror}") from error


def _split(domain: str) -> tuple[str, str]:
    """Host and ``:port``, which is "" when there is none."""
    start = domain.rfind("]") + 1
    colon = domain.find(":", start)
    return (domain, "") if colon < 0 else (domain[:colon], domain[colon:])


def _with_port(host: str, port: str) -> list[str]:
    return [f"{host}_{port[1:]}_", f"{host}{port}"] if port else []
