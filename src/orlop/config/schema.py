"""What can be configured: frozen values, each with its default and its explanation.

The names of the fields are the keys of the documents, in containerd's words.
The explanation of each key stands here once; the commented default document and
the reference page are made from it. A key whose explanation begins with
"orlop:" is not known to containerd.

Nothing here reads anything. Values that come from a document have been checked
by ``orlop.config.decode``; ``decode.check`` does the same for hand-made ones.
"""

# No "from __future__ import annotations": the types below are read at run time.
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from orlop.config import decode, values
from orlop.config.annotate import element, key
from orlop.config.draft import CURRENT_VERSION
from orlop.config.durations import Duration
from orlop.config.keys import GRPC, IMAGES, METRICS, PLUGINS
from orlop.config.limits import LimitsConfig
from orlop.config.related import StreamProcessor

T = TypeVar("T", bound=Struct)

_MAX_COUNT = 1 << 20
_MAX_SECONDS = 366 * 24 * 3600
_MAX_BYTES = 1 << 40
_MAX_ID = (1 << 32) - 2  # the last one means "no change" to chown(2)

Host: TypeAlias = Annotated[str, element(values.host)]
RegistryHost: TypeAlias = Annotated[str, element(values.registry_host)]
Name: TypeAlias = Annotated[str, element(values.not_empty)]


class RuntimePlatform(Struct, frozen=True, kw_only=True):
    """What one runtime handler wants instead of the defaults."""

    platform: Annotated[
        str, key('Platform to pull, as os/arch[/variant]; "" is this machine\'s.', values.platform)
    ] = ""
    snapshotter: Annotated[
        str, key('Snapshotter to unpack into; "" is the default one.', values.identifier)
    ] = ""


class Mirror(Struct, frozen=True, kw_only=True):
    """Endpoints that stand in for one registry (deprecated: use hosts.toml)."""

    endpoint: Annotated[
        tuple[Annotated[str, element(values.registry_url)], ...],
        key("URLs to try, in order, before the registry itself."),
    ] = ()


class RegistryAuth(Struct, frozen=True, kw_only=True):
    """Credentials for one registry; never shown."""

    username: Annotated[str, key("User name.")] = ""
    password: Annotated[str, key("Password.")] = ""
    auth: Annotated[str, key('Base64 of "username:password".')] = ""
    identitytoken: Annotated[str, key("OAuth2 refresh token.")] = ""

    def __repr__(self) -> str:
        return "RegistryAuth(...)"


class RegistryHostConfig(Struct, frozen=True, kw_only=True):
    """Settings of one registry."""

    auth: Annotated[RegistryAuth, key("Credentials (deprecated: clients send them).")] = (
        RegistryAuth()
    )


class RegistryConfig(Struct, frozen=True, kw_only=True):
    """How to reach registries."""

    config_path: Annotated[
        str,
        key(
            "Directories with HOST/hosts.toml files, with colons between them; "
            '"" is /etc/containerd/certs.d:/etc/docker/certs.d. Excludes registry.mirrors.',
            values.search_path,
        ),
    ] = ""
    mirrors: Annotated[
        Mapping[RegistryHost, Mirror],
        key('Mirrors by registry host, "*" for all (deprecated: use hosts.toml).'),
    ] = {}
    configs: Annotated[
        Mapping[RegistryHost, RegistryHostConfig],
        key("Settings by registry host (deprecated: clients send credentials)."),
    ] = {}
    auths: Annotated[
        Mapping[Annotated[str, element(values.auth_url)], RegistryAuth],
        key("Credentials by registry URL (deprecated: clients send them)."),
    ] = {}
    headers: Annotated[
        Mapping[
            Annotated[str, element(values.header_name)],
            tuple[Annotated[str, element(values.header_value)], ...],
        ],
        key("HTTP headers to send with every request to a registry."),
    ] = {}
    insecure_registries: Annotated[
        tuple[Host, ...],
        key("orlop: Registries (host or host:port) that may be asked over plain HTTP."),
    ] = ()
    ca_files: Annotated[
        Mapping[Host, Annotated[str, element(values.absolute_path)]],
        key("orlop: PEM files with the certificate authorities to trust, by registry host."),
    ] = {}

    def auth_for(self, host: str) -> RegistryAuth | None:
        """Configured credentials for ``host``: of ``configs``, else of ``auths``; None if none."""
        settings = self.configs.get(host)
        if settings is not None and settings.auth != RegistryAuth():
            return settings.auth
        for name, auth in self.auths.items():
            if values.auth_host(name) == host:
                return auth
        return None

    def __repr__(self) -> str:
        # Headers can carry tokens, and the URLs of auths passwords.
        return f"RegistryConfig(config_path={self.config_path!r}, ...)"


class ImageDecryption(Struct, frozen=True, kw_only=True):
    """Encrypted images."""

    key_model: Annotated[
        Literal["", "node"], key('Where keys are looked for: "node", or "" for nowhere.')
    ] = "node"


class ImageConfig(Struct, frozen=True, kw_only=True):
    """The image service: ``[plugins."io.containerd.cri.v1.images"]``."""

    snapshotter: Annotated[
        str,
        key("Snapshotter that images are unpacked into.", values.required_identifier),
    ] = "overlayfs"
    disable_snapshot_annotations: Annotated[
        bool,
        key("Do not tell snapshotters which image a layer belongs to."),
    ] = True
    discard_unpacked_layers: Annotated[
        bool,
        key("Delete compressed layers once they are unpacked; saves space, forbids repair."),
    ] = False
    max_concurrent_downloads: Annotated[
        int,
        Meta(ge=-_MAX_COUNT, le=_MAX_COUNT),
        key("Layers of one image that are downloaded at the same time; 0 or less is no limit."),
    ] = 3
    max_total_downloads: Annotated[
        int,
        Meta(ge=0, le=_MAX_COUNT),
        key(
            "orlop: Layers that are downloaded at the same time for all images together; "
            "0 is no limit."
        ),
    ] = 12
    max_concurrent_unpacks: Annotated[
        int,
        Meta(ge=0, le=_MAX_COUNT),
        key(
            "orlop: Layers that are unpacked at the same time, each in a process of its own; "
            "0 is as many as are being downloaded. "
            'Also read from [plugins."io.containerd.transfer.v1.local"].'
        ),
    ] = 0
    concurrent_layer_fetch_buffer: Annotated[
        int,
        Meta(ge=0, le=_MAX_BYTES),
        key("Size in bytes of the parts that one layer is fetched in, in parallel; <512 is off."),
    ] = 0
    image_pull_progress_timeout: Annotated[
        Duration,
        key(
            'A pull that waits for bytes and gets none for so long is cancelled; "0s" is never.',
            values.not_negative,
        ),
    ] = Duration.parse("5m0s")
    require_layer_access: Annotated[
        bool,
        key(
            "orlop: A repository that names what another one has brought has to send some of "
            "its bytes first, once; false: whoever knows a digest may have it."
        ),
    ] = True
    min_pull_rate: Annotated[
        int,
        Meta(ge=0, le=_MAX_BYTES),
        key(
            "orlop: A pull that receives fewer bytes per second than this while it waits for "
            "bytes, on average over image_pull_progress_timeout, is cancelled; 0 is off."
        ),
    ] = 0
    max_download_rate: Annotated[
        int,
        Meta(ge=0, le=_MAX_BYTES),
        key("orlop: Bytes per second that all downloads together may take; 0 is no limit."),
    ] = 0
    max_connections_per_host: Annotated[
        int,
        Meta(ge=1, le=_MAX_COUNT),
        key("orlop: Requests to one registry host at the same time; more have to wait."),
    ] = 32
    max_connections: Annotated[
        int,
        Meta(ge=0, le=_MAX_COUNT),
        key("orlop: Requests to all hosts together at the same time; 0 is no limit."),
    ] = 0
    image_pull_with_sync_fs: Annotated[
        bool,
        key(
            "Make an image durable before its pull succeeds. containerd's default is false: "
            "a power failure may then leave empty files in images that are listed."
        ),
    ] = True
    scrub_interval: Annotated[
        Duration,
        key(
            "orlop: How long after a start, and after one another, all images are read and "
            'verified in the background; "0s" is never.',
            values.not_negative,
        ),
    ] = Duration.parse("0s")
    scrub_rate: Annotated[
        int,
        Meta(ge=0, le=_MAX_BYTES),
        key("orlop: Bytes per second that this may read; 0 is no limit."),
    ] = 20_000_000
    drain_timeout: Annotated[
        Duration,
        key(
            "orlop: How long running pulls may go on when the daemon is told to stop.",
            values.not_negative,
        ),
    ] = Duration.parse("30s")
    stats_collect_period: Annotated[
        int,
        Meta(ge=1, le=_MAX_SECONDS),
        key("Seconds for which usage statistics may be reported again unchanged."),
    ] = 10
    use_local_image_pull: Annotated[
        bool,
        key("Accepted and without effect: there is one way to pull, and all keys work with it."),
    ] = False
    isolation: Annotated[
        Literal["available", "required"],
        key(
            "orlop: What a process that unpacks a layer is kept in: all that the kernel offers, "
            'with a warning where something is lacking; or "required", nothing less than all.'
        ),
    ] = "available"
    ignore_chown_errors: Annotated[
        bool,
        key(
            "orlop: Without root, files of users and groups that the user has no ids for become "
            "root's; otherwise such an image is refused."
        ),
    ] = False
    limits: Annotated[
        LimitsConfig, key("orlop: What registries and images may ask for; beyond it, no pull.")
    ] = LimitsConfig()
    pinned_images: Annotated[
        Mapping[Name, Annotated[str, element(values.image_reference)]],
        key('Images that kubelet must not collect, each under a name of your choice; "" is none.'),
    ] = msgspec.field(default_factory=lambda: {"sandbox": "registry.k8s.io/pause:3.10.2"})
    image_decryption: Annotated[ImageDecryption, key("Encrypted images.")] = ImageDecryption()
    runtime_platforms: Annotated[
        Mapping[Name, RuntimePlatform],
        key("Platform and snapshotter by runtime handler."),
    ] = {}
    registry: Annotated[RegistryConfig, key("How to reach registries.")] = RegistryConfig()


class GrpcConfig(Struct, frozen=True, kw_only=True):
    """The socket: ``[plugins."io.containerd.server.v1.grpc"]``."""

    address: Annotated[str, key("Socket that the daemon serves on.", values.socket_address)] = (
        "unix:///run/orlop/orlop.sock"
    )
    uid: Annotated[
        int,
        Meta(ge=0, le=_MAX_ID),
        key("User who owns the socket and may use it; 0 is the daemon's own."),
    ] = 0
    gid: Annotated[
        int,
        Meta(ge=0, le=_MAX_ID),
        key(
            "Group whose members may use the socket, with all rights of the daemon; 0 is none."
            " They also need a way to it: not the state directory, which is private."
        ),
    ] = 0

    @property
    def socket_path(self) -> str:
        """The path alone, without the scheme."""
        return self.address.removeprefix("unix://")


class MetricsConfig(Struct, frozen=True, kw_only=True):
    """Metrics: ``[plugins."io.containerd.server.v1.metrics"]``."""

    address: Annotated[
        str,
        key(
            'Loopback address (host:port) that serves metrics to Prometheus; "" is off.',
            values.loopback_address,
        ),
    ] = ""


class Config(Struct, frozen=True, kw_only=True):
    """Everything that orlop reads from a document.

    Attributes:
        grpc: the section of the socket.
        images: the section of the image service.
        metrics: the section of the metrics.
        sections: all other known sections that the document has, by the plugin's
            full name; ``section`` is the way to ask for one.
        plugins: all plugin tables as they are in the document; nobody has checked
            those that are no sections.
    """

    version: Annotated[
        int,
        Meta(ge=1, le=CURRENT_VERSION),
        key("Version of the document's format, counted as containerd does."),
    ] = CURRENT_VERSION
    root: Annotated[
        str,
        key("Directory of all that must last: content, snapshots, metadata.", values.absolute_path),
    ] = "/var/lib/orlop"
    state: Annotated[
        str,
        key("Directory of all that ends with the machine's run.", values.absolute_path),
    ] = "/run/orlop"
    disabled_plugins: Annotated[
        tuple[Annotated[str, element(values.plugin_name)], ...],
        key("Plugins that are not started, by full name."),
    ] = ()
    required_plugins: Annotated[
        tuple[Annotated[str, element(values.plugin_name)], ...],
        key("Plugins without which the daemon does not start, by full name."),
    ] = ()
    imports: Annotated[
        tuple[Annotated[str, element(values.path_pattern)], ...],
        key(
            "Further documents (paths or patterns, relative to this one) that are laid over it, "
            "in order."
        ),
    ] = ()
    stream_processors: Annotated[
        Mapping[Name, StreamProcessor],
        key("Programs that turn layers of one media type into another, by name."),
    ] = {}
    grpc: GrpcConfig = GrpcConfig()
    images: ImageConfig = ImageConfig()
    metrics: MetricsConfig = MetricsConfig()
    sections: Mapping[str, Struct] = {}
    plugins: Mapping[str, object] = {}

    def section(self, name: str, kind: type[T]) -> T:
        """The settings of one plugin, defaults included.

        Args:
            name: the plugin's full name, such as ``io.containerd.gc.v1.scheduler``.
            kind: the schema of its section.

        Raises:
            InvalidArgument: the document has a table for it that nobody announced
                when it was read, and a value in it is wrong or a key unknown.
        """
        typed = {GRPC[1]: self.grpc, IMAGES[1]: self.images, METRICS[1]: self.metrics}
        value = typed.get(name) or self.sections.get(name)
        if isinstance(value, kind):
            return value
        return decode.section(kind, self.plugins.get(name, {}), key=(*PLUGINS, name))
