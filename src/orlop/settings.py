"""Values of the configuration become settings of the rooms that heed them.

The rooms know nothing of documents, and the configuration nothing of rooms: this is the
only place where both are named. Pure, but for the machine's own platform.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.config.related import VerifierConfig
from orlop.config.schema import ImageConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.config.related import SchedulerConfig, StreamProcessor, TransferConfig
    from orlop.gc.schedule import ScheduleSettings
    from orlop.images.settings import ServiceSettings
    from orlop.pull.pipeline import PullSettings
    from orlop.pull.processing import Processing
    from orlop.pull.verifiers import VerifierSettings
    from orlop.registry.settings import RegistrySettings


def pull_settings(config: ImageConfig) -> PullSettings:
    """What the images section says of pulls."""
    from orlop.pull.pipeline import PullSettings

    return PullSettings(
        progress_timeout=config.image_pull_progress_timeout.seconds,
        concurrent_downloads=config.max_concurrent_downloads,
        total_downloads=config.max_total_downloads,
        concurrent_unpacks=config.max_concurrent_unpacks,
        keep_layers=not config.discard_unpacked_layers,
        annotate_snapshots=not config.disable_snapshot_annotations,
        require_access=config.require_layer_access,
        min_rate=config.min_pull_rate,
        max_rate=config.max_download_rate,
        part_bytes=config.concurrent_layer_fetch_buffer,
        limits=config.limits.limits,
    )


def client_settings(config: ImageConfig, environment: Mapping[str, str]) -> RegistrySettings:
    """What the registry client is told; the environment names the proxies."""
    from orlop.registry.configure import registry_settings
    from orlop.registry.health import longest_silence
    from orlop.registry.proxy import from_environment

    return replace(
        registry_settings(config.registry),
        silence=longest_silence(config.image_pull_progress_timeout.seconds),
        connections_per_host=config.max_connections_per_host,
        connections=config.max_connections,
        proxies=from_environment(environment),
    )


def processing_settings(
    processors: Mapping[str, StreamProcessor], config: ImageConfig
) -> Processing:
    """The programs that layers may go through."""
    from orlop.pull import processing

    return processing.Processing(
        tuple(
            processing.StreamProcessor(
                id=name,
                accepts=one.accepts,
                returns=one.returns,
                path=one.path,
                args=one.args,
                env=one.env,
            )
            for name, one in sorted(processors.items())
        ),
        decrypt=config.image_decryption.key_model == "node",
    )


def verifier_settings(section: VerifierConfig) -> VerifierSettings:
    """Where image verifiers are; a directory that somebody chose has to be there."""
    from orlop.pull.verifiers import VerifierSettings

    return VerifierSettings(
        bin_dir=section.bin_dir,
        required=section.bin_dir != VerifierConfig().bin_dir,
        max_verifiers=section.max_verifiers,
        per_verifier_timeout=section.per_verifier_timeout.seconds,
    )


def schedule_settings(section: SchedulerConfig) -> ScheduleSettings:
    """When garbage is collected."""
    from orlop.gc.schedule import ScheduleSettings

    return ScheduleSettings(
        pause_threshold=section.pause_threshold,
        deletion_threshold=section.deletion_threshold,
        mutation_threshold=section.mutation_threshold,
        schedule_delay=section.schedule_delay.seconds,
        startup_delay=section.startup_delay.seconds,
    )


def service_settings(
    config: ImageConfig, transfer: TransferConfig, *, content_root: str = ""
) -> ServiceSettings:
    """What the image service itself is told."""
    from orlop.images.settings import Runtime, ServiceSettings, Unpack
    from orlop.model.platform import from_machine

    return ServiceSettings(
        platform=from_machine(os.uname().machine),
        snapshotter=config.snapshotter,
        pinned=tuple(config.pinned_images.values()),
        unpack=tuple(
            Unpack(
                entry.platform,
                # What the images section says goes before what the transfer section says.
                entry.snapshotter if config.snapshotter == ImageConfig().snapshotter else "",
                entry.optional,
            )
            for entry in transfer.unpack_config
        ),
        check_platforms=transfer.check_platform_supported,
        content_root=content_root,
        stats_seconds=config.stats_collect_period,
        runtimes={
            handler: Runtime(runtime.platform, runtime.snapshotter)
            for handler, runtime in config.runtime_platforms.items()
        },
    )
