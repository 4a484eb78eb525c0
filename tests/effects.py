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
_TRANSPORT: Final = "tests/unit/registry/test_transport.py"
_WITHOUT_EFFECT: Final = "tests/unit/config/test_sections.py::test_a_key_without_effect_is_accepted"
_KEYS: Final = "tests/integration/pull/test_keys.py"
_MANIFESTS: Final = "tests/integration/pull/test_manifests.py"
_SECTIONS: Final = "tests/integration/pull/test_sections.py"
_RUNTIMES: Final = "tests/integration/cri/test_runtimes.py"
_WHERE: Final = "tests/unit/images/test_runtimes.py::test_where_a_pull_unpacks"
_COLLECTING: Final = "tests/integration/images/test_collecting.py"
_VERIFIERS: Final = "tests/integration/pull/test_verifiers.py"
_PROCESSORS: Final = "tests/integration/pull/test_processors.py"
_CHAIN: Final = f"{_PROCESSORS}::test_a_chain_of_two_and_what_they_are_told"
_OLD_DOCUMENT: Final = "tests/system/test_hosts.py::test_a_document_of_containerd_1"
_REGISTRY: Final = "tests/integration/pull/test_registry_keys.py"
_HOSTS: Final = "tests/integration/registry/test_hosts.py"
_LIMITS: Final = "tests/integration/pull/test_limits.py::test_an_image_beyond_it"
_TRANSFER: Final = "tests/unit/config/test_load.py::test_the_transfer_services_keys"

EFFECTS: Final[Mapping[str, Mapping[str, str]]] = {
    "io.containerd.cri.v1.images": {
        "max_concurrent_downloads": f"{_PIPELINE}::test_downloads_of_one_image",
        "max_total_downloads": f"{_PIPELINE}::test_downloads_of_all_images",
        "max_concurrent_unpacks": f"{_PIPELINE}::test_unpacks_of_all_images",
        "image_pull_progress_timeout": (
            "tests/integration/pull/test_faults.py::test_a_pull_that_gets_no_bytes"
        ),
        "concurrent_layer_fetch_buffer": f"{_PIPELINE}::test_a_large_layer_in_parts",
        "min_pull_rate": f"{_PIPELINE}::test_a_drip_is_too_slow",
        "require_layer_access": "tests/integration/pull/test_access.py::test_require_layer_access",
        "max_download_rate": f"{_PIPELINE}::test_a_limit_of_bytes_per_second_is_no_stall",
        "max_connections_per_host": (
            f"{_TRANSPORT}::test_a_host_answers_only_so_many_requests_at_once"
        ),
        "max_connections": (
            f"{_TRANSPORT}::test_all_hosts_together_answer_only_so_many_requests_at_once"
        ),
        "image_pull_with_sync_fs": f"{_KEYS}::test_image_pull_with_sync_fs",
        "disable_snapshot_annotations": f"{_KEYS}::test_disable_snapshot_annotations",
        "discard_unpacked_layers": f"{_KEYS}::test_blobs_of_layers_go",
        "stats_collect_period": f"{_KEYS}::test_stats_collect_period",
        "snapshotter": _WHERE,
        "runtime_platforms.NAME.platform": f"{_RUNTIMES}::test_one_index_for_two_platforms",
        "runtime_platforms.NAME.snapshotter": (
            f"{_RUNTIMES}::test_one_reference_for_two_snapshotters"
        ),
        "scrub_interval": f"{_MANIFESTS}::test_the_scrubber_finds_damage",
        "scrub_rate": f"{_MANIFESTS}::test_the_scrubber_keeps_to_its_rate",
        "drain_timeout": "tests/system/test_service.py::test_sigterm_lets_a_pull_end",
        "pinned_images": f"{_KEYS}::test_the_configuration_counts_for_images_that_are_there",
        "use_local_image_pull": _WITHOUT_EFFECT,
        "image_decryption.key_model": f"{_PROCESSORS}::test_no_keys_are_allowed",
        "registry.config_path": f"{_HOSTS}::test_a_mirror_serves_the_whole_image",
        "registry.mirrors.NAME.endpoint": _OLD_DOCUMENT,
        "registry.configs.NAME.auth.username": f"{_REGISTRY}::test_configured_passwords",
        "registry.configs.NAME.auth.password": f"{_REGISTRY}::test_configured_passwords",
        "registry.configs.NAME.auth.auth": f"{_REGISTRY}::test_configured_passwords",
        "registry.configs.NAME.auth.identitytoken": f"{_REGISTRY}::test_configured_identity_tokens",
        "registry.auths.NAME.username": f"{_REGISTRY}::test_configured_passwords",
        "registry.auths.NAME.password": f"{_REGISTRY}::test_configured_passwords",
        "registry.auths.NAME.auth": f"{_REGISTRY}::test_configured_passwords",
        "registry.auths.NAME.identitytoken": f"{_REGISTRY}::test_configured_identity_tokens",
        "registry.headers": f"{_REGISTRY}::test_headers",
        "registry.insecure_registries": f"{_REGISTRY}::test_ca_files_and_insecure_registries",
        "registry.ca_files": f"{_REGISTRY}::test_ca_files_and_insecure_registries",
        "limits.manifest_bytes": _LIMITS,
        "limits.config_bytes": _LIMITS,
        "limits.layers": _LIMITS,
        "limits.layer_bytes": _LIMITS,
        "limits.layer_ratio": _LIMITS,
        "limits.layer_ratio_floor": _LIMITS,
        "limits.layer_entries": _LIMITS,
        "limits.zstd_window_bytes": _LIMITS,
        "limits.worker_memory_bytes": _LIMITS,
        "ignore_chown_errors": "tests/system/test_rootless.py::test_without_ids_root_owns_all",
        "isolation": (
            "tests/unit/unpack/test_jail.py::test_strict_reads_nothing_without_all_of_it"
        ),
    },
    "io.containerd.transfer.v1.local": {
        "max_concurrent_downloads": _TRANSFER,
        "concurrent_layer_fetch_buffer": _TRANSFER,
        "max_concurrent_unpacks": _TRANSFER,
        "max_concurrent_uploaded_layers": _WITHOUT_EFFECT,
        "check_platform_supported": f"{_SECTIONS}::test_check_platform_supported",
        "unpack_config[].platform": f"{_SECTIONS}::test_unpack_config",
        "unpack_config[].snapshotter": f"{_SECTIONS}::test_unpack_config",
        "unpack_config[].optional": _WHERE,
        "config_path": _WITHOUT_EFFECT,
        "unpack_config[].differ": _WITHOUT_EFFECT,
        "unpack_config[].config_type": _WITHOUT_EFFECT,
        "unpack_config[].layer_types": _WITHOUT_EFFECT,
    },
    "io.containerd.snapshotter.v1.overlayfs": {
        "root_path": f"{_SECTIONS}::test_root_path_on_another_file_system",
        "upperdir_label": f"{_SECTIONS}::test_upperdir_label",
        "sync_remove": f"{_SECTIONS}::test_sync_remove",
        "mount_options": f"{_SECTIONS}::test_mount_options",
        "slow_chown": _WITHOUT_EFFECT,
    },
    "io.containerd.snapshotter.v1.native": {
        "root_path": f"{_SECTIONS}::test_root_path_on_another_file_system",
    },
    "io.containerd.metadata.v1.bolt": {
        "content_sharing_policy": f"{_SECTIONS}::test_isolated_content",
        "no_sync": f"{_SECTIONS}::test_no_sync",
    },
    "io.containerd.gc.v1.scheduler": {
        "pause_threshold": f"{_COLLECTING}::test_the_share_of_the_time",
        "deletion_threshold": f"{_COLLECTING}::test_many_deletions_do_not_wait",
        "mutation_threshold": f"{_COLLECTING}::test_many_changes",
        "schedule_delay": f"{_COLLECTING}::test_the_delay",
        "startup_delay": f"{_COLLECTING}::test_the_delay_after_the_start",
        "ingest_expiry": f"{_COLLECTING}::test_partial_downloads_expire",
    },
    "io.containerd.image-verifier.v1.bindir": {
        "bin_dir": f"{_VERIFIERS}::test_a_refused_image_leaves_no_trace",
        "max_verifiers": f"{_VERIFIERS}::test_the_limits_are_configured",
        "per_verifier_timeout": f"{_VERIFIERS}::test_the_limits_are_configured",
    },
    "": {
        "stream_processors.NAME.accepts": _CHAIN,
        "stream_processors.NAME.returns": _CHAIN,
        "stream_processors.NAME.path": _CHAIN,
        "stream_processors.NAME.args": _CHAIN,
        "stream_processors.NAME.env": _CHAIN,
    },
    "io.containerd.service.v1.diff-service": {
        "default": _WITHOUT_EFFECT,
        "sync_fs": f"{_SECTIONS}::test_diff_service_sync_fs",
    },
}
"""The test, as ``FILE::FUNCTION``, by section and by key as the page writes it."""
