"""Names of containerd's plugins that orlop has no counterpart of.

Data, for ``names``: operators hand over documents that were written for
containerd, so that its names stand among those of plugins to disable or to
require. Source: containerd 2.x, ``ctr plugins ls`` and its list of types.
"""

from __future__ import annotations

from typing import Final

_PREFIX: Final = "io.containerd."

_TYPES: Final = frozenset(
    {
        "io.containerd.differ.v1",
        "io.containerd.event.v1",
        "io.containerd.http.v1",
        "io.containerd.image-verifier.v1",
        "io.containerd.internal.v1",
        "io.containerd.lease.v1",
        "io.containerd.monitor.container.v1",
        "io.containerd.monitor.task.v1",
        "io.containerd.monitor.v1",
        "io.containerd.mount-handler.v1",
        "io.containerd.mount-manager.v1",
        "io.containerd.nri.v1",
        "io.containerd.podsandbox.controller.v1",
        "io.containerd.runtime.v1",
        "io.containerd.runtime.v2",
        "io.containerd.sandbox.controller.v1",
        "io.containerd.sandbox.store.v1",
        "io.containerd.service.v1",
        "io.containerd.shim.v1",
        "io.containerd.streaming.v1",
        "io.containerd.tracing.processor.v1",
        "io.containerd.transfer.v1",
        "io.containerd.ttrpc.v1",
        "io.containerd.warning.v1",
    }
)

_IDS: Final[dict[str, frozenset[str]]] = {
    "io.containerd.cri.v1": frozenset({"runtime"}),
    "io.containerd.grpc.v1": frozenset(
        {
            "containers",
            "content",
            "diff",
            "events",
            "images",
            "introspection",
            "leases",
            "mounts",
            "namespaces",
            "sandbox-controllers",
            "sandboxes",
            "snapshots",
            "streaming",
            "tasks",
            "transfer",
            "version",
        }
    ),
    "io.containerd.server.v1": frozenset({"debug", "grpc-tcp", "ttrpc"}),
    "io.containerd.snapshotter.v1": frozenset({"blockfile", "btrfs", "devmapper", "erofs", "zfs"}),
}
"""In types that orlop has, too."""


def is_containerds(name: str) -> bool:
    """True for the full name of a plugin that containerd has; ask for our own first."""
    kind, _, id_ = name.rpartition(".")
    return kind in _TYPES or id_ in _IDS.get(kind, ())


def may_be_containerds(name: str, types: frozenset[str]) -> bool:
    """True for what a newer containerd could have: it has its prefix, and no type of ours.

    Args:
        name: a full name.
        types: those of the plugins that orlop has.
    """
    return name.startswith(_PREFIX) and name.rpartition(".")[0] not in types
