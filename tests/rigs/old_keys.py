"""Every key of older documents: what it may hold, and what becomes of it.

``MOVED`` keys have a new place that orlop reads, ``KEPT`` ones are the runtime's at
a new place, ``STAYS`` ones are not touched, and ``DROPPED`` ones have no meaning any
more. Names of the operator's choice are ``h.example:5000`` and ``kata``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Fate = Literal["moved", "kept", "stays", "dropped"]
Key = tuple[str, ...]

CRI: Final = "io.containerd.grpc.v1.cri"
IMAGES: Final[Key] = ("plugins", "io.containerd.cri.v1.images")
RUNTIME: Final[Key] = ("plugins", "io.containerd.cri.v1.runtime")
HOST: Final = "h.example:5000"
_NAMES: Final = {"HOST": HOST, "URL": "https://a.example"}


@dataclass(frozen=True, slots=True)
class Old:
    """A key of a version-2 document.

    Attributes:
        key: where it is, from the top of the document.
        value: something that it can hold.
        fate: what becomes of it.
        new: where it is today; () if it is gone.
    """

    key: Key
    value: object
    fate: Fate
    new: Key = ()


def _cri(fate: Fate, new: Key, *keys: tuple[str, object]) -> tuple[Old, ...]:
    """Keys below the CRI section, which keep their names below ``new``."""
    found = []
    for dots, value in keys:
        names = tuple(_NAMES.get(name, name) for name in dots.split("/"))
        place = (*new, *names) if new else ()
        found.append(Old(("plugins", CRI, *names), value, fate, place))
    return tuple(found)


def _renamed(dots: str, value: object, *new: str) -> Old:
    return Old(("plugins", CRI, *dots.split("/")), value, "moved", (*IMAGES, *new))


IMAGE_KEYS: Final = (
    _renamed("sandbox_image", "registry.example/pause:3.9", "pinned_images", "sandbox"),
    _renamed("containerd/snapshotter", "native", "snapshotter"),
    _renamed(
        "containerd/disable_snapshot_annotations",
        False,
        "disable_snapshot_annotations",
    ),
    _renamed("containerd/discard_unpacked_layers", True, "discard_unpacked_layers"),
    *_cri(
        "moved",
        IMAGES,
        ("image_decryption/key_model", "node"),
        ("max_concurrent_downloads", 7),
        ("image_pull_progress_timeout", "2m0s"),
        ("image_pull_with_sync_fs", True),
        ("stats_collect_period", 20),
        ("use_local_image_pull", True),
        ("concurrent_layer_fetch_buffer", 1 << 20),
        ("registry/config_path", "/etc/containerd/certs.d"),
        ("registry/mirrors/HOST/endpoint", ["https://mirror.example"]),
        ("registry/configs/HOST/auth/username", "me"),
        ("registry/configs/HOST/auth/password", "secret"),
        ("registry/configs/HOST/auth/auth", "bWU6c2VjcmV0"),
        ("registry/configs/HOST/auth/identitytoken", "token"),
        ("registry/auths/URL/username", "me"),
        ("registry/headers/X-Meta-Source-Client", ["node"]),
    ),
)

DROPPED_KEYS: Final = _cri(
    "dropped",
    (),
    ("systemd_cgroup", True),
    ("containerd/default_runtime", {"runtime_type": "io.containerd.runc.v2"}),
    ("containerd/untrusted_workload_runtime", {"runtime_type": "io.containerd.kata.v2"}),
    ("containerd/runtimes/kata/runtime_engine", "/usr/bin/kata"),
    ("containerd/runtimes/kata/runtime_root", "/run/kata"),
    ("registry/configs/HOST/tls", {"ca_file": "/ca.pem", "insecure_skip_verify": True}),
)

STAYING_KEYS: Final = _cri(
    "stays",
    ("plugins", CRI),
    ("disable_tcp_service", False),
    ("stream_server_address", "127.0.0.1"),
    ("stream_server_port", "10010"),
    ("stream_idle_timeout", "4h0m0s"),
    ("enable_tls_streaming", True),
    ("x509_key_pair_streaming/tls_cert_file", "/cert.pem"),
)

RUNTIME_KEYS: Final = _cri(
    "kept",
    RUNTIME,
    ("cdi_spec_dirs", ["/etc/cdi", "/var/run/cdi"]),
    ("cni/bin_dir", "/opt/cni/bin"),
    ("cni/conf_dir", "/etc/cni/net.d"),
    ("cni/conf_template", ""),
    ("cni/ip_pref", "ipv4"),
    ("cni/max_conf_num", 1),
    ("cni/setup_serially", True),
    ("containerd/default_runtime_name", "runc"),
    ("containerd/ignore_blockio_not_enabled_errors", True),
    ("containerd/ignore_rdt_not_enabled_errors", True),
    ("containerd/no_pivot", True),
    ("containerd/runtimes/kata/runtime_type", "io.containerd.kata.v2"),
    ("containerd/runtimes/kata/runtime_path", "/usr/bin/shim"),
    ("containerd/runtimes/kata/snapshotter", "nydus"),
    ("containerd/runtimes/kata/base_runtime_spec", "/spec.json"),
    ("containerd/runtimes/kata/cni_conf_dir", "/cni"),
    ("containerd/runtimes/kata/cni_max_conf_num", 2),
    ("containerd/runtimes/kata/container_annotations", ["io.kata.*"]),
    ("containerd/runtimes/kata/pod_annotations", ["io.kata.*"]),
    ("containerd/runtimes/kata/privileged_without_host_devices", True),
    ("containerd/runtimes/kata/sandbox_mode", "podsandbox"),
    ("containerd/runtimes/kata/sandboxer", "podsandbox"),
    ("containerd/runtimes/kata/options/SystemdCgroup", True),
    ("device_ownership_from_security_context", True),
    ("disable_apparmor", True),
    ("disable_cgroup", True),
    ("disable_hugetlb_controller", True),
    ("disable_proc_mount", True),
    ("drain_exec_sync_io_timeout", "5s"),
    ("enable_cdi", True),
    ("enable_selinux", True),
    ("enable_unprivileged_icmp", True),
    ("enable_unprivileged_ports", True),
    ("ignore_deprecation_warnings", ["a"]),
    ("ignore_image_defined_volumes", True),
    ("max_container_log_line_size", 1 << 14),
    ("netns_mounts_under_state_dir", True),
    ("restrict_oom_score_adj", True),
    ("selinux_category_range", 1024),
    ("tolerate_missing_hugetlb_controller", True),
    ("unset_seccomp_profile", "unconfined"),
)


def _server(table: str, name: str, value: object, plugin: str, new: str, fate: Fate) -> Old:
    return Old((table, name), value, fate, ("plugins", f"io.containerd.{plugin}", new))


SERVER_KEYS: Final = (
    _server("grpc", "address", "/run/x.sock", "server.v1.grpc", "address", "moved"),
    _server("grpc", "uid", 1, "server.v1.grpc", "uid", "moved"),
    _server("grpc", "gid", 2, "server.v1.grpc", "gid", "moved"),
    *(
        _server(
            "grpc",
            f"max_{name}_message_size",
            1 << 24,
            "server.v1.grpc",
            f"max_{name}_message_size",
            "moved",
        )
        for name in ("recv", "send")
    ),
    *(
        _server("grpc", f"tcp_{name}", f"/{name}", "server.v1.grpc-tcp", name, "kept")
        for name in ("address", "tls_ca", "tls_cert", "tls_key", "tls_common_name")
    ),
    *(
        _server(table, name, value, f"server.v1.{table}", name, "kept")
        for table in ("ttrpc", "debug")
        for name, value in (("address", "/run/y.sock"), ("uid", 3), ("gid", 4))
    ),
    _server("metrics", "address", "127.0.0.1:1338", "server.v1.metrics", "address", "moved"),
    _server(
        "metrics", "grpc_histogram", True, "metrics.v1.grpc-prometheus", "grpc_histogram", "kept"
    ),
)

TOP_KEYS: Final = tuple(
    Old(key, value, "stays", key)
    for key, value in (
        (("root",), "/srv/root"),
        (("state",), "/run/state"),
        (("temp",), "/tmp/x"),
        (("plugin_dir",), "/plugins"),
        (("oom_score",), -999),
        (("debug", "level"), "info"),
        (("debug", "format"), "json"),
        (("cgroup", "path"), "/x"),
        (("timeouts", "io.containerd.timeout.bolt.open"), "0s"),
        (("proxy_plugins", "stargz", "type"), "snapshot"),
        (("proxy_plugins", "stargz", "address"), "/run/stargz.sock"),
        (("stream_processors", "x", "accepts"), ["application/a"]),
        (("plugins", "io.containerd.gc.v1.scheduler", "pause_threshold"), 0.1),
        (("plugins", "io.containerd.metadata.v1.bolt", "content_sharing_policy"), "isolated"),
        (("plugins", "io.containerd.snapshotter.v1.overlayfs", "root_path"), "/o"),
        (("plugins", "io.containerd.snapshotter.v1.devmapper", "pool_name"), "p"),
        (("plugins", "io.containerd.service.v1.diff-service", "default"), ["walking"]),
        (("plugins", "io.containerd.internal.v1.opt", "path"), "/opt"),
        (("plugins", "io.containerd.internal.v1.restart", "interval"), "10s"),
        (("plugins", "io.containerd.monitor.v1.cgroups", "no_prometheus"), True),
        (("plugins", "io.containerd.runtime.v1.linux", "shim"), "containerd-shim"),
        (("plugins", "io.containerd.runtime.v2.task", "platforms"), ["linux/amd64"]),
        (("plugins", "io.containerd.service.v1.tasks-service", "rdt_config_file"), ""),
    )
)

OLD_KEYS: Final = (
    *IMAGE_KEYS,
    *DROPPED_KEYS,
    *STAYING_KEYS,
    *RUNTIME_KEYS,
    *SERVER_KEYS,
    *TOP_KEYS,
)
"""All of them."""


def document(keys: list[Old], version: int = 2) -> dict[str, object]:
    """A document that holds these keys."""
    whole: dict[str, object] = {"version": version}
    for old in keys:
        table = whole
        for name in old.key[:-1]:
            child = table.setdefault(name, {})
            assert isinstance(child, dict)
            table = child
        table[old.key[-1]] = old.value
    return whole


def at(whole: object, key: Key) -> object:
    """What stands at ``key``; None if nothing does."""
    for name in key:
        whole = whole.get(name) if isinstance(whole, dict) else None
    return whole
