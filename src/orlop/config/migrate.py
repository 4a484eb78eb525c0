"""Older documents, brought to today's version, with a report.

Pure: documents go in and come out as plain dictionaries; the input is never
changed. Each entry of ``_STEPS`` lifts a document by one version. The rules are
containerd's own moves, but nothing gets lost on the way:

* each key moves for itself, whatever else the document holds;
* where the old and the new key both exist, the new one wins and the report
  calls the old one a conflict;
* a key that has no meaning any more is dropped and the report says why.

Values are not judged here: an ill-typed one moves as it is, and the reader
refuses it under the line where it was written.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.config.draft import CURRENT_VERSION, Change, Draft, Step, Table
from orlop.config.keys import CRI, GRPC, IMAGES, METRICS, PLUGINS, RUNTIME, TRANSFER, Key
from orlop.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PREFIX = "io.containerd."

# Version 1 named plugins by their id alone.
_SHORT_NAMES = {
    "cri": "grpc.v1.cri",
    "cgroups": "monitor.v1.cgroups",
    "linux": "runtime.v1.linux",
    "scheduler": "gc.v1.scheduler",
    "bolt": "metadata.v1.bolt",
    "task": "runtime.v2.task",
    "opt": "internal.v1.opt",
    "restart": "internal.v1.restart",
    "tracing": "internal.v1.tracing",
    "otlp": "tracing.processor.v1.otlp",
    "aufs": "snapshotter.v1.aufs",
    "btrfs": "snapshotter.v1.btrfs",
    "devmapper": "snapshotter.v1.devmapper",
    "native": "snapshotter.v1.native",
    "overlayfs": "snapshotter.v1.overlayfs",
    "zfs": "snapshotter.v1.zfs",
}

# Keys of the old CRI section that are the image service's, by their new place.
# The last two never were in the old section; people write them there by mistake.
_IMAGE_KEYS: tuple[tuple[Key, Key], ...] = (
    (("sandbox_image",), ("pinned_images", "sandbox")),
    (("registry",), ("registry",)),
    (("image_decryption",), ("image_decryption",)),
    (("max_concurrent_downloads",), ("max_concurrent_downloads",)),
    (("image_pull_progress_timeout",), ("image_pull_progress_timeout",)),
    (("image_pull_with_sync_fs",), ("image_pull_with_sync_fs",)),
    (("stats_collect_period",), ("stats_collect_period",)),
    (("containerd", "snapshotter"), ("snapshotter",)),
    (("containerd", "disable_snapshot_annotations"), ("disable_snapshot_annotations",)),
    (("containerd", "discard_unpacked_layers"), ("discard_unpacked_layers",)),
    (("use_local_image_pull",), ("use_local_image_pull",)),
    (("concurrent_layer_fetch_buffer",), ("concurrent_layer_fetch_buffer",)),
)

IMAGE_KEYS_OF_CRI = frozenset(old[0] for old, _ in _IMAGE_KEYS if len(old) == 1)
"""Image keys that older documents have in the CRI section itself."""

_STAY_IN_CRI = frozenset(
    {
        "disable_tcp_service",
        "stream_server_address",
        "stream_server_port",
        "stream_idle_timeout",
        "enable_tls_streaming",
        "x509_key_pair_streaming",
    }
)

_OBSOLETE_IN_CRI: tuple[tuple[Key, str], ...] = (
    (("systemd_cgroup",), "containerd removed it; the runtime's options say SystemdCgroup"),
    (("containerd", "default_runtime"), "containerd removed it; use default_runtime_name"),
    (("containerd", "untrusted_workload_runtime"), "containerd removed it; use a runtime handler"),
)

# The tables that became plugins with version 4: table, key, plugin, key.
_SERVER_KEYS: tuple[tuple[str, str, Key, str], ...] = (
    ("grpc", "address", GRPC, "address"),
    ("grpc", "uid", GRPC, "uid"),
    ("grpc", "gid", GRPC, "gid"),
    ("grpc", "max_recv_message_size", GRPC, "max_recv_message_size"),
    ("grpc", "max_send_message_size", GRPC, "max_send_message_size"),
    ("grpc", "tcp_address", (*PLUGINS, "io.containerd.server.v1.grpc-tcp"), "address"),
    ("grpc", "tcp_tls_ca", (*PLUGINS, "io.containerd.server.v1.grpc-tcp"), "tls_ca"),
    ("grpc", "tcp_tls_cert", (*PLUGINS, "io.containerd.server.v1.grpc-tcp"), "tls_cert"),
    ("grpc", "tcp_tls_key", (*PLUGINS, "io.containerd.server.v1.grpc-tcp"), "tls_key"),
    (
        "grpc",
        "tcp_tls_common_name",
        (*PLUGINS, "io.containerd.server.v1.grpc-tcp"),
        "tls_common_name",
    ),
    ("ttrpc", "address", (*PLUGINS, "io.containerd.server.v1.ttrpc"), "address"),
    ("ttrpc", "uid", (*PLUGINS, "io.containerd.server.v1.ttrpc"), "uid"),
    ("ttrpc", "gid", (*PLUGINS, "io.containerd.server.v1.ttrpc"), "gid"),
    ("debug", "address", (*PLUGINS, "io.containerd.server.v1.debug"), "address"),
    ("debug", "uid", (*PLUGINS, "io.containerd.server.v1.debug"), "uid"),
    ("debug", "gid", (*PLUGINS, "io.containerd.server.v1.debug"), "gid"),
    ("metrics", "address", METRICS, "address"),
    (
        "metrics",
        "grpc_histogram",
        (*PLUGINS, "io.containerd.metrics.v1.grpc-prometheus"),
        "grpc_histogram",
    ),
)

# Keys of containerd's transfer service that rule its pulls when the image
# section is silent. orlop has one engine, so they mean the same here.
_TRANSFER_KEYS = (
    "max_concurrent_downloads",
    "concurrent_layer_fetch_buffer",
    "max_concurrent_unpacks",
)


@dataclass(frozen=True, slots=True)
class Migrated:
    """A document of today's version, and how it came about.

    Attributes:
        version: what the document said it was; 1 when it said nothing.
    """

    document: Table
    changes: tuple[Change, ...]
    version: int

    def written_as(self, key: Key) -> Key:
        """The key under which the author of the document wrote ``key``."""
        for change in reversed(self.changes):
            length = len(change.new)
            if change.kind in ("moved", "copied") and key[:length] == change.new:
                key = change.old + key[length:]
        return key


def migrate(document: Mapping[str, object], steps: Sequence[Step] = ()) -> Migrated:
    """Bring a document of any version to ``CURRENT_VERSION``.

    Args:
        document: what the TOML parser made of it; stays as it is.
        steps: those of third parties' sections.

    Raises:
        InvalidArgument: the version is newer than ours or no version at all, or
            something that must be a table is none.
    """
    version = version_of(document)
    draft = Draft(copy.deepcopy(dict(document)))
    for number in range(version, CURRENT_VERSION):
        _STEPS[number - 1](draft)
        for step in steps:
            step(number, draft)
    draft.document["version"] = CURRENT_VERSION
    return Migrated(draft.document, tuple(draft.changes), version)


def adopt_transfer(document: Mapping[str, object]) -> Migrated:
    """Let the transfer service's pull settings count where the image section is silent.

    Args:
        document: of today's version; stays as it is.

    Raises:
        InvalidArgument: something that must be a table is none.
    """
    draft = Draft(copy.deepcopy(dict(document)))
    for name in _TRANSFER_KEYS:
        draft.copy((*TRANSFER, name), (*IMAGES, name))
    return Migrated(draft.document, tuple(draft.changes), CURRENT_VERSION)


def version_of(document: Mapping[str, object]) -> int:
    """The version that a document says it has; 1 if it says nothing, as in containerd.

    Raises:
        InvalidArgument: it is not one that we know.
    """
    version = document.get("version", 0)
    if not isinstance(version, int) or isinstance(version, bool):
        raise InvalidArgument(
            "version: expected a whole number",
            hint=f"the newest version is {CURRENT_VERSION}",
        )
    if not 0 <= version <= CURRENT_VERSION:
        raise InvalidArgument(
            f"version: expected a number from 1 to {CURRENT_VERSION}",
            hint="the document may be for a newer program",
        )
    return version or 1


def _v1_to_v2(draft: Draft) -> None:
    """Plugins get their full names."""
    for name in list(draft.table(PLUGINS) or ()):
        if "." not in name:
            draft.move((*PLUGINS, name), (*PLUGINS, _full_name(name)))
    for listing in ("disabled_plugins", "required_plugins"):
        names = draft.document.get(listing)
        if isinstance(names, list):
            draft.document[listing] = [
                _full_name(name) if isinstance(name, str) and "." not in name else name
                for name in names
            ]


def _full_name(name: str) -> str:
    if name in _SHORT_NAMES:
        return _PREFIX + _SHORT_NAMES[name]
    kind = "service" if name.endswith("-service") else "grpc"
    return f"{_PREFIX}{kind}.v1.{name}"


def _v2_to_v3(draft: Draft) -> None:
    """The CRI section splits into the images' part and the runtime's part."""
    for host in list(draft.table((*CRI, "registry", "configs")) or ()):
        draft.drop(
            (*CRI, "registry", "configs", host, "tls"),
            "containerd removed it; use hosts.toml, registry.ca_files or insecure_registries",
        )
    for key, reason in _OBSOLETE_IN_CRI:
        draft.drop((*CRI, *key), reason)
    runtimes = (*CRI, "containerd", "runtimes")
    for handler in list(draft.table(runtimes) or ()):
        for name in ("runtime_engine", "runtime_root"):
            draft.drop((*runtimes, handler, name), "containerd removed it")
        # The runtime needs its copy too: it asks for the same snapshotter by name.
        draft.copy(
            (*runtimes, handler, "snapshotter"),
            (*IMAGES, "runtime_platforms", handler, "snapshotter"),
        )
    for old, new in _IMAGE_KEYS:
        draft.move((*CRI, *old), (*IMAGES, *new))
    for name in list(draft.table(CRI) or ()):
        if name not in _STAY_IN_CRI:
            draft.move((*CRI, name), (*RUNTIME, name))
    _forget_empty(draft, CRI)


def _v3_to_v4(draft: Draft) -> None:
    """The daemon's own tables become plugins."""
    for table, name, plugin, new in _SERVER_KEYS:
        values = draft.table((table,))
        if values is not None and values.get(name) == "":
            draft.drop((table, name), "it is empty")
        draft.move((table, name), (*plugin, new))
    for name in ("grpc", "ttrpc", "metrics", "debug"):
        _forget_empty(draft, (name,))


def _forget_empty(draft: Draft, key: Key) -> None:
    parent = draft.table(key[:-1])
    if parent is not None and parent.get(key[-1]) == {}:
        del parent[key[-1]]


# ``_STEPS[n - 1]`` lifts a document from version n to n + 1.
_STEPS: tuple[Callable[[Draft], None], ...] = (_v1_to_v2, _v2_to_v3, _v3_to_v4)
