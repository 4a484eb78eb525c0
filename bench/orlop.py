"""orlop as a peer: as it comes, and without the sync at the end of a pull."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peer import Peer

if TYPE_CHECKING:
    from bench.peer import Layout

_PROGRAM = str(Path(sys.executable).parent / "orlop")

_CONFIGURATION = """\
version = 3

[plugins."io.containerd.cri.v1.images"]
  image_pull_with_sync_fs = {sync}

[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{certs}"
"""


def _configure(layout: Layout, *, sync: str) -> str:
    return _CONFIGURATION.format(certs=layout.certs, sync=sync)


def _daemon(layout: Layout) -> list[str]:
    return [
        *(_PROGRAM, "daemon", "--config", str(layout.configuration)),
        *("--root", str(layout.root), "--state", str(layout.state / "run")),
        *("--address", f"unix://{layout.socket}"),
    ]


def _pull(layout: Layout, reference: str) -> list[str]:
    return [_PROGRAM, "pull", "--address", f"unix://{layout.socket}", reference]


ORLOP = Peer(
    name="orlop",
    configure=partial(_configure, sync="true"),
    daemon=_daemon,
    pull=_pull,
    version=(_PROGRAM, "version"),
)

ORLOP_NOSYNC = Peer(
    name="orlop-nosync",
    configure=partial(_configure, sync="false"),
    daemon=_daemon,
    pull=_pull,
    version=(_PROGRAM, "version"),
)
