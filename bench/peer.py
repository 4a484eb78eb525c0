"""What a measurement must know of a service, or a program, that pulls images.

The peers themselves are in modules of their own; the measurement treats them alike,
but for the client of those that have no daemon.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SNAPSHOTS = "io.containerd.snapshotter.v1.overlayfs/snapshots"
"""Below the root of every service: one directory a snapshot, its files in ``fs``."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one run of a service keeps its things.

    Attributes:
        root: On the file system under measurement; empty.
        state: A temporary directory elsewhere: configuration, socket, log.
    """

    root: Path
    state: Path

    @property
    def socket(self) -> Path:
        """The socket of the CRI."""
        return self.state / "sock"

    @property
    def configuration(self) -> Path:
        """The file of the service's configuration."""
        return self.state / "config.toml"

    @property
    def certs(self) -> Path:
        """The directory of ``hosts.toml`` files, in containerd's format."""
        return self.state / "certs.d"


@dataclass(frozen=True, slots=True)
class Peer:
    """A service or a program, as data.

    Attributes:
        name: What the table calls it.
        configure: Returns the text of its configuration.
        daemon: Returns the command that serves; None where ``pull`` does all the work.
        pull: Returns the command that pulls a reference without the CRI.
        version: The command that prints its version.
        environment: Variables of the daemon.
        trees: Patterns of the directories below its root that hold the unpacked files.
    """

    name: str
    configure: Callable[[Layout], str]
    daemon: Callable[[Layout], list[str]] | None
    pull: Callable[[Layout, str], list[str]]
    version: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    trees: str = f"{SNAPSHOTS}/*/fs"

    def read_version(self) -> str:
        """Asks the program for its version."""
        result = subprocess.run(self.version, check=True, capture_output=True, text=True)
        return result.stdout.splitlines()[0]


def allow_plain_http(layout: Layout, host: str) -> None:
    """Writes the ``hosts.toml`` that makes a registry one without TLS."""
    directory = layout.certs / host
    directory.mkdir(parents=True)
    (directory / "hosts.toml").write_text(f'server = "http://{host}"\n')
