"""Peers without a daemon: podman, and skopeo with umoci, each as it comes.

Both copy an image and unpack it, and neither makes it durable.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from bench.peer import Peer

if TYPE_CHECKING:
    from bench.peer import Layout


def _configure(layout: Layout) -> str:  # noqa: ARG001 - the signature of all peers
    return ""


def _podman(layout: Layout, reference: str) -> list[str]:
    return [
        *("podman", "--root", str(layout.root / "podman"), "--runroot", str(layout.state / "run")),
        *("--storage-driver", "overlay", "pull", "--quiet", "--tls-verify=false", reference),
    ]


def _skopeo(layout: Layout, reference: str) -> list[str]:
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]
    copy += [f"docker://{reference}", f"oci:{layout.root}/oci:image"]
    unpack = ["umoci", "unpack", "--image", f"{layout.root}/oci:image", f"{layout.root}/bundle"]
    return ["sh", "-c", f"{shlex.join(copy)} && {shlex.join(unpack)}"]


PODMAN = Peer(
    name="podman",
    configure=_configure,
    daemon=None,
    pull=_podman,
    version=("podman", "--version"),
    trees="podman/overlay/*/diff",
)

SKOPEO_UMOCI = Peer(
    name="skopeo+umoci",
    configure=_configure,
    daemon=None,
    pull=_skopeo,
    version=("skopeo", "--version"),
    trees="bundle/rootfs",  # all layers in one tree
)
