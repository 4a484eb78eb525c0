"""Where the keys of older documents are today: the steps of the built-in sections.

Pure. The rules are containerd's own moves, but each key moves for itself, whatever
else the document holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.config.keys import CRI, GRPC, IMAGES, METRICS, PLUGINS, RUNTIME, TRANSFER, Key

if TYPE_CHECKING:
    from orlop.config.draft import Draft

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

IMAGE_KEYS_OF_CRI: frozenset[Key] = frozenset(old for old, _ in _IMAGE_KEYS)
"""Image keys that older documents have in the CRI section, relative to it."""

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

# Of the daemon's own tables, which became plugins with version 4.
_TCP: Key = (*PLUGINS, "io.containerd.server.v1.grpc-tcp")
_TTRPC: Key = (*PLUGINS, "io.containerd.server.v1.ttrpc")
_DEBUG: Key = (*PLUGINS, "io.containerd.server.v1.debug")
_PROMETHEUS: Key = (*PLUGINS, "io.containerd.metrics.v1.grpc-prometheus")

GRPC_KEYS = ("address", "uid", "gid", "max_recv_message_size", "max_send_message_size")
"""What containerd knows of its socket."""

_TCP_KEYS = ("address", "tls_ca", "tls_cert", "tls_key", "tls_common_name")

# Keys of containerd's transfer service that rule its pulls when the image section
# is silent: name, default in the image section, default in the transfer service.
# orlop has one engine, so they mean the same here.
_TRANSFER_KEYS = (
    ("max_concurrent_downloads", 3, 3),
    ("concurrent_layer_fetch_buffer", 0, 0),
    ("max_concurrent_unpacks", 0, 1),
)


def lift_images(version: int, draft: Draft) -> None:
    """Version 3 split the CRI section; this is the image service's part of it."""
    if version != 2:
        return
    for host in list(draft.table((*CRI, "registry", "configs")) or ()):
        draft.drop(
            (*CRI, "registry", "configs", host, "tls"),
            "containerd removed it; use hosts.toml, registry.ca_files or insecure_registries",
        )
    for handler in list(draft.table((*CRI, "containerd", "runtimes")) or ()):
        # The runtime needs its copy too: it asks for the same snapshotter by name.
        draft.copy(
            (*CRI, "containerd", "runtimes", handler, "snapshotter"),
            (*IMAGES, "runtime_platforms", handler, "snapshotter"),
        )
    for old, new in _IMAGE_KEYS:
        draft.move((*CRI, *old), (*IMAGES, *new))


def lift_grpc(version: int, draft: Draft) -> None:
    """Version 4 made the socket a plugin."""
    if version == 3:
        for name in GRPC_KEYS:
            _lift_server_key(draft, ("grpc", name), (*GRPC, name))


def lift_metrics(version: int, draft: Draft) -> None:
    """Version 4 made the metrics a plugin."""
    if version == 3:
        _lift_server_key(draft, ("metrics", "address"), (*METRICS, "address"))


def lift_runtime(version: int, draft: Draft) -> None:
    """What is left when all sections have taken their keys; nothing of it is an image key."""
    if version == 2:
        _lift_cri(draft)
    if version == 3:
        _lift_servers(draft)


def adopt(draft: Draft) -> None:
    """Let what other sections say of images count where the image section is silent."""
    _adopt_transfer(draft)
    runtimes = (*RUNTIME, "containerd", "runtimes")
    for handler in list(draft.table(runtimes) or ()):
        # containerd's runtime tells its image service so when it starts.
        if (draft.table((*runtimes, handler)) or {}).get("snapshotter"):
            draft.copy(
                (*runtimes, handler, "snapshotter"),
                (*IMAGES, "runtime_platforms", handler, "snapshotter"),
            )


def _adopt_transfer(draft: Draft) -> None:
    """A dumped default in the image section says no more than nothing does."""
    tuned = draft.table(TRANSFER) or {}
    for name, default, transfers_default in _TRANSFER_KEYS:
        images = draft.table(IMAGES) or {}
        if images.get(name) == default and tuned.get(name, default) != transfers_default:
            del images[name]
        draft.copy((*TRANSFER, name), (*IMAGES, name))


def _lift_cri(draft: Draft) -> None:
    for key, reason in _OBSOLETE_IN_CRI:
        draft.drop((*CRI, *key), reason)
    draft.drop_empty((*CRI, "containerd"))
    runtimes = (*CRI, "containerd", "runtimes")
    for handler in list(draft.table(runtimes) or ()):
        for name in ("runtime_engine", "runtime_root"):
            draft.drop((*runtimes, handler, name), "containerd removed it")
    for name in list(draft.table(CRI) or ()):
        draft.keep((*CRI, name), (*(CRI if name in _STAY_IN_CRI else RUNTIME), name))
    draft.drop_empty(CRI)


def _lift_servers(draft: Draft) -> None:
    for name in _TCP_KEYS:
        _lift_server_key(draft, ("grpc", f"tcp_{name}"), (*_TCP, name), keep=True)
    for table, plugin in (("ttrpc", _TTRPC), ("debug", _DEBUG)):
        for name in ("address", "uid", "gid"):
            _lift_server_key(draft, (table, name), (*plugin, name), keep=True)
    histogram = "grpc_histogram"
    _lift_server_key(draft, ("metrics", histogram), (*_PROMETHEUS, histogram), keep=True)
    for table in ("grpc", "ttrpc", "metrics", "debug"):
        draft.drop_empty((table,))


def _lift_server_key(draft: Draft, old: Key, new: Key, *, keep: bool = False) -> None:
    if (draft.table(old[:-1]) or {}).get(old[-1]) == "":
        draft.drop(old, "it is empty")
    elif keep:
        draft.keep(old, new)
    else:
        draft.move(old, new)
