"""Which test shows what a key of the configuration does.

The page of the configuration has a column that is made from this table, and a test
sees to it that every key of the image service and of the sections beside it is
here, and that the test it names exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PIPELINE: Final = "tests/unit/pull/test_pipeline.py"
_WITHOUT_EFFECT: Final = "tests/unit/config/test_sections.py::test_a_key_without_effect_is_accepted"
_TRANSFER: Final = "tests/unit/config/test_load.py::test_the_transfer_services_keys"

EFFECTS: Final[Mapping[str, Mapping[str, str]]] = {
    "io.containerd.cri.v1.images": {
        "max_concurrent_downloads": f"{_PIPELINE}::test_downloads_of_one_image",
        "max_total_downloads": f"{_PIPELINE}::test_downloads_of_all_images",
        "max_concurrent_unpacks": f"{_PIPELINE}::test_unpacks_of_all_images",
        "image_pull_progress_timeout": (
            "tests/integration/pull/test_faults.py::test_a_pull_that_gets_no_bytes"
        ),
        "image_pull_with_sync_fs": f"{_PIPELINE}::test_who_asks_whether_it_is_durable",
        "drain_timeout": "tests/system/test_service.py::test_sigterm_lets_a_pull_end",
        "pinned_images": "tests/unit/images/test_service.py::test_pinned",
        "use_local_image_pull": _WITHOUT_EFFECT,
        "isolation": (
            "tests/unit/unpack/test_jail.py::test_strict_reads_nothing_without_all_of_it"
        ),
    },
    "io.containerd.transfer.v1.local": {
        "max_concurrent_downloads": _TRANSFER,
        "concurrent_layer_fetch_buffer": _TRANSFER,
        "max_concurrent_unpacks": _TRANSFER,
        "max_concurrent_uploaded_layers": _WITHOUT_EFFECT,
        "check_platform_supported": _WITHOUT_EFFECT,
        "config_path": _WITHOUT_EFFECT,
        "unpack_config[].differ": _WITHOUT_EFFECT,
        "unpack_config[].config_type": _WITHOUT_EFFECT,
        "unpack_config[].layer_types": _WITHOUT_EFFECT,
    },
    "io.containerd.snapshotter.v1.overlayfs": {"slow_chown": _WITHOUT_EFFECT},
    "io.containerd.service.v1.diff-service": {
        "default": _WITHOUT_EFFECT,
        "sync_fs": _WITHOUT_EFFECT,
    },
}
"""The test, as ``FILE::FUNCTION``, by section and by key as the page writes it."""

PENDING: Final[Mapping[str, frozenset[str]]] = {
    "io.containerd.cri.v1.images": frozenset(
        {
            "snapshotter",
            "disable_snapshot_annotations",
            "discard_unpacked_layers",
            "concurrent_layer_fetch_buffer",
            "min_pull_rate",
            "stats_collect_period",
            "image_decryption.key_model",
            "runtime_platforms.NAME.platform",
            "runtime_platforms.NAME.snapshotter",
            "registry.config_path",
            "registry.mirrors.NAME.endpoint",
            "registry.configs.NAME.auth.username",
            "registry.configs.NAME.auth.password",
            "registry.configs.NAME.auth.auth",
            "registry.configs.NAME.auth.identitytoken",
            "registry.auths.NAME.username",
            "registry.auths.NAME.password",
            "registry.auths.NAME.auth",
            "registry.auths.NAME.identitytoken",
            "registry.headers",
            "registry.insecure_registries",
            "registry.ca_files",
        }
    ),
    "io.containerd.transfer.v1.local": frozenset(
        {
            "unpack_config[].platform",
            "unpack_config[].snapshotter",
            "unpack_config[].optional",
        }
    ),
    "io.containerd.snapshotter.v1.overlayfs": frozenset(
        {"root_path", "upperdir_label", "sync_remove", "mount_options"}
    ),
    "io.containerd.snapshotter.v1.native": frozenset({"root_path"}),
    "io.containerd.metadata.v1.bolt": frozenset({"content_sharing_policy", "no_sync"}),
    "io.containerd.gc.v1.scheduler": frozenset(
        {
            "pause_threshold",
            "deletion_threshold",
            "mutation_threshold",
            "schedule_delay",
            "startup_delay",
        }
    ),
    "io.containerd.image-verifier.v1.bindir": frozenset(
        {"bin_dir", "max_verifiers", "per_verifier_timeout"}
    ),
    "": frozenset(
        {
            "stream_processors.NAME.accepts",
            "stream_processors.NAME.returns",
            "stream_processors.NAME.path",
            "stream_processors.NAME.args",
            "stream_processors.NAME.env",
        }
    ),
}
"""Keys that no test shows yet; "" stands for the top of the document."""
