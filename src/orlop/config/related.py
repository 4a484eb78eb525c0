"""Sections beside the image service's own that rule how images are kept and pulled.

As in ``orlop.config.schema``: the names of the fields are the keys of the
documents, in containerd's words and with its defaults, and each key is explained
here once.
"""

# No "from __future__ import annotations": the types below are read at run time.
from typing import Annotated, Literal

from msgspec import Meta, Struct

from orlop.config import values
from orlop.config.annotate import element, key
from orlop.config.durations import Duration

_MAX_COUNT = 1 << 20
_MAX_BYTES = 1 << 40


class OverlayfsConfig(Struct, frozen=True, kw_only=True):
    """The default snapshotter: ``[plugins."io.containerd.snapshotter.v1.overlayfs"]``."""

    root_path: Annotated[
        str,
        key(
            'Directory of the snapshots; "" is a directory below root.',
            values.absolute_path_or_none,
        ),
    ] = ""
    upperdir_label: Annotated[
        bool,
        key("Label each snapshot with the directory that holds its changes."),
    ] = False
    sync_remove: Annotated[
        bool,
        key(
            "A removal waits until the disk has it. The files of a snapshot are deleted before "
            "its removal is acknowledged in either case."
        ),
    ] = False
    slow_chown: Annotated[
        bool,
        key("Accepted and without effect: owners are never changed after unpacking."),
    ] = False
    mount_options: Annotated[
        tuple[Annotated[str, element(values.mount_option)], ...],
        key("Options for every overlay mount, beside those that orlop sets."),
    ] = ()


class NativeConfig(Struct, frozen=True, kw_only=True):
    """The snapshotter that copies: ``[plugins."io.containerd.snapshotter.v1.native"]``."""

    root_path: Annotated[
        str,
        key(
            'Directory of the snapshots; "" is a directory below root.',
            values.absolute_path_or_none,
        ),
    ] = ""


class MetadataConfig(Struct, frozen=True, kw_only=True):
    """The database: ``[plugins."io.containerd.metadata.v1.bolt"]``."""

    content_sharing_policy: Annotated[
        Literal["shared", "isolated"],
        key(
            "Whether content that one namespace has pulled serves the others too (shared), or "
            "each of them must show that it may have it (isolated)."
        ),
    ] = "shared"
    no_sync: Annotated[
        bool,
        key("Do not wait until the database is on disk; a power failure may lose what was done."),
    ] = False


class UnpackConfig(Struct, frozen=True, kw_only=True):
    """Where images of one platform are unpacked: an entry of ``unpack_config``."""

    platform: Annotated[
        str, key('Platform, as os/arch[/variant]; "" is this machine\'s.', values.platform)
    ] = ""
    snapshotter: Annotated[
        str, key('Snapshotter to unpack into; "" is the default one.', values.identifier)
    ] = ""
    differ: Annotated[
        str, key("Accepted and without effect: there is one way to unpack.", values.identifier)
    ] = ""
    config_type: Annotated[
        str, key("Accepted and without effect: the type of the image's configuration decides.")
    ] = ""
    layer_types: Annotated[
        tuple[str, ...],
        key("Accepted and without effect: the media type of a layer decides."),
    ] = ()
    optional: Annotated[
        bool, key("Start also when the snapshotter of this entry is not there.")
    ] = False


class TransferConfig(Struct, frozen=True, kw_only=True):
    """containerd's transfer service: ``[plugins."io.containerd.transfer.v1.local"]``."""

    max_concurrent_downloads: Annotated[
        int,
        Meta(ge=-_MAX_COUNT, le=_MAX_COUNT),
        key("Counts where the images section does not set the key of this name."),
    ] = 3
    concurrent_layer_fetch_buffer: Annotated[
        int,
        Meta(ge=0, le=_MAX_BYTES),
        key("Counts where the images section does not set the key of this name."),
    ] = 0
    max_concurrent_uploaded_layers: Annotated[
        int,
        Meta(ge=-_MAX_COUNT, le=_MAX_COUNT),
        key("Accepted and without effect: orlop does not push."),
    ] = 3
    max_concurrent_unpacks: Annotated[
        int,
        Meta(ge=0, le=_MAX_COUNT),
        key(
            "Counts, if it is written, where the images section does not set the key of this name."
        ),
    ] = 1
    check_platform_supported: Annotated[
        bool,
        key("Refuse pulls for platforms that no entry of unpack_config is for."),
    ] = False
    config_path: Annotated[
        str,
        key(
            "Accepted and without effect: registry.config_path of the images section counts.",
            values.search_path,
        ),
    ] = ""
    unpack_config: Annotated[
        tuple[UnpackConfig, ...],
        key(
            "Which snapshotter images are unpacked into, by platform, where neither the pull nor "
            "its runtime handler says it."
        ),
    ] = ()


class SchedulerConfig(Struct, frozen=True, kw_only=True):
    """When garbage is collected: ``[plugins."io.containerd.gc.v1.scheduler"]``."""

    pause_threshold: Annotated[
        float,
        Meta(ge=0, le=0.5),
        key("Share of the time that collections may take, from 0 to 0.5."),
    ] = 0.02
    deletion_threshold: Annotated[
        int,
        Meta(ge=0, le=_MAX_COUNT),
        key("Deletions after which a collection is due at once, whatever its share; 0 is off."),
    ] = 0
    mutation_threshold: Annotated[
        int,
        Meta(ge=0, le=_MAX_COUNT),
        key("Changes of the database that make a collection due like a deletion; 0 is off."),
    ] = 100
    schedule_delay: Annotated[
        Duration,
        key("From the moment when a collection is due until it starts.", values.not_negative),
    ] = Duration.parse("0ms")
    startup_delay: Annotated[
        Duration,
        key(
            "From the start of the daemon until the first collection; 0 is none for the start.",
            values.not_negative,
        ),
    ] = Duration.parse("100ms")
    ingest_expiry: Annotated[
        Duration,
        key(
            "orlop: A partial download that nobody continues for so long is deleted; 0 is never.",
            values.not_negative,
        ),
    ] = Duration.parse("24h")


class VerifierConfig(Struct, frozen=True, kw_only=True):
    """Programs that judge images: ``[plugins."io.containerd.image-verifier.v1.bindir"]``."""

    bin_dir: Annotated[
        str,
        key("Directory with the programs that are asked before each pull.", values.absolute_path),
    ] = "/opt/containerd/image-verifier/bin"
    max_verifiers: Annotated[
        int,
        Meta(ge=-1, le=_MAX_COUNT),
        key("Programs that are asked at most, in the order of their names; -1 is no limit."),
    ] = 10
    per_verifier_timeout: Annotated[
        Duration,
        key("A program that takes longer refuses the image.", values.positive),
    ] = Duration.parse("10s")


class DiffConfig(Struct, frozen=True, kw_only=True):
    """How layers are applied: ``[plugins."io.containerd.service.v1.diff-service"]``."""

    default: Annotated[
        tuple[Annotated[str, element(values.identifier)], ...],
        key("Accepted and without effect: there is one way to unpack."),
    ] = ("walking",)
    sync_fs: Annotated[
        bool,
        key("The same as image_pull_with_sync_fs of the images section: either asks for it."),
    ] = False


class StreamProcessor(Struct, frozen=True, kw_only=True):
    """A program that turns layers of one media type into another: ``[stream_processors.ID]``."""

    accepts: Annotated[
        tuple[Annotated[str, element(values.not_empty)], ...],
        key("Media types that the program reads."),
    ] = ()
    returns: Annotated[str, key("Media type that the program writes.")] = ""
    path: Annotated[str, key("The program, as a path or a name to look for in PATH.")] = ""
    args: Annotated[tuple[str, ...], key("Arguments of the program.")] = ()
    env: Annotated[
        tuple[Annotated[str, element(values.environment)], ...],
        key("Environment of the program, as NAME=VALUE; it gets no other."),
    ] = ()
