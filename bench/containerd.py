"""Debian's containerd as a peer: its configuration and its commands.

It runs as it comes: three downloads at a time, the overlayfs snapshotter,
and ``unpigz`` for gzip where that is installed. ``containerd-go`` is the same
with Go's own gzip. ``BENCH_CONTAINERD`` names another program than the installed one;
one of version 2 can also sync what it has unpacked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.peer import Peer

if TYPE_CHECKING:
    from bench.peer import Layout

_PROGRAM: Final = os.environ.get("BENCH_CONTAINERD", "containerd")
_CONFIGURATION = """\
version = 2
root = "{root}"
state = "{state}/run"

[grpc]
  address = "{socket}"

[debug]
  level = "error"

[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{state}/cni/bin"
  conf_dir = "{state}/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "{certs}"
"""

_SYNC = """
[plugins."io.containerd.cri.v1.images"]
  image_pull_with_sync_fs = true

[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{certs}"
"""


def _configure(layout: Layout) -> str:
    return _CONFIGURATION.format(
        root=layout.root, state=layout.state, socket=layout.socket, certs=layout.certs
    )


def _configure_sync(layout: Layout) -> str:
    """The same for version 2, whose format of the configuration knows the key."""
    general, _, _ = _CONFIGURATION.partition('[plugins."io.containerd.grpc.v1.cri"]')
    text = general.replace("version = 2", "version = 3") + _SYNC
    return text.format(
        root=layout.root, state=layout.state, socket=layout.socket, certs=layout.certs
    )


def _daemon(layout: Layout) -> list[str]:
    return [_PROGRAM, "--config", str(layout.configuration)]


def _pull(layout: Layout, reference: str) -> list[str]:
    options = ["--address", str(layout.socket), "--namespace", "k8s.io"]
    # Releases have the client beside the daemon.
    beside = Path(_PROGRAM).with_name("ctr")
    program = str(beside) if beside.exists() else "ctr"
    return [program, *options, "images", "pull", "--hosts-dir", str(layout.certs), reference]


CONTAINERD = Peer(
    name="containerd",
    configure=_configure,
    daemon=_daemon,
    pull=_pull,
    version=(_PROGRAM, "--version"),
)

CONTAINERD_GO = Peer(
    name="containerd-go",
    configure=_configure,
    daemon=_daemon,
    pull=_pull,
    version=(_PROGRAM, "--version"),
    environment={"CONTAINERD_DISABLE_PIGZ": "1"},
)

CONTAINERD_SYNC = Peer(
    name="containerd-sync",
    configure=_configure_sync,
    daemon=_daemon,
    pull=_pull,
    version=(_PROGRAM, "--version"),
)
