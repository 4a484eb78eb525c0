from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Error(_message.Message):
    __slots__ = ("code", "reference", "message", "hint", "limit", "status")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    code: str
    reference: str
    message: str
    hint: str
    limit: str
    status: int
    def __init__(self, code: _Optional[str] = ..., reference: _Optional[str] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ..., limit: _Optional[str] = ..., status: _Optional[int] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("media_type", "digest", "size")
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    media_type: str
    digest: str
    size: int
    def __init__(self, media_type: _Optional[str] = ..., digest: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class ImageName(_message.Message):
    __slots__ = ("name", "target", "image_id", "labels", "created_at", "updated_at")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    target: Target
    image_id: str
    labels: _containers.ScalarMap[str, str]
    created_at: int
    updated_at: int
    def __init__(self, name: _Optional[str] = ..., target: _Optional[_Union[Target, _Mapping]] = ..., image_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., created_at: _Optional[int] = ..., updated_at: _Optional[int] = ...) -> None: ...

class ImageRecord(_message.Message):
    __slots__ = ("id", "manifest", "platform", "snapshotter", "chain_id", "user", "content_bytes", "unpacked_bytes", "synced", "created_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTTER_FIELD_NUMBER: _ClassVar[int]
    CHAIN_ID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    CONTENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNPACKED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    manifest: str
    platform: str
    snapshotter: str
    chain_id: str
    user: str
    content_bytes: int
    unpacked_bytes: int
    synced: bool
    created_at: int
    def __init__(self, id: _Optional[str] = ..., manifest: _Optional[str] = ..., platform: _Optional[str] = ..., snapshotter: _Optional[str] = ..., chain_id: _Optional[str] = ..., user: _Optional[str] = ..., content_bytes: _Optional[int] = ..., unpacked_bytes: _Optional[int] = ..., synced: _Optional[bool] = ..., created_at: _Optional[int] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("record", "names", "pinned")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    record: ImageRecord
    names: _containers.RepeatedCompositeFieldContainer[ImageName]
    pinned: bool
    def __init__(self, record: _Optional[_Union[ImageRecord, _Mapping]] = ..., names: _Optional[_Iterable[_Union[ImageName, _Mapping]]] = ..., pinned: _Optional[bool] = ...) -> None: ...

class Credentials(_message.Message):
    __slots__ = ("username", "password", "identity_token", "registry_token", "server_address")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SERVER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    username: str
    password: str
    identity_token: str
    registry_token: str
    server_address: str
    def __init__(self, username: _Optional[str] = ..., password: _Optional[str] = ..., identity_token: _Optional[str] = ..., registry_token: _Optional[str] = ..., server_address: _Optional[str] = ...) -> None: ...

class PullOptions(_message.Message):
    __slots__ = ("platform", "snapshotter", "runtime_handler", "namespace", "credentials")
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTTER_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_HANDLER_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    platform: str
    snapshotter: str
    runtime_handler: str
    namespace: str
    credentials: Credentials
    def __init__(self, platform: _Optional[str] = ..., snapshotter: _Optional[str] = ..., runtime_handler: _Optional[str] = ..., namespace: _Optional[str] = ..., credentials: _Optional[_Union[Credentials, _Mapping]] = ...) -> None: ...

class PullRequest(_message.Message):
    __slots__ = ("reference", "options")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    reference: str
    options: PullOptions
    def __init__(self, reference: _Optional[str] = ..., options: _Optional[_Union[PullOptions, _Mapping]] = ...) -> None: ...

class LayerProgress(_message.Message):
    __slots__ = ("digest", "size", "phase", "downloaded", "unpacked")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    DOWNLOADED_FIELD_NUMBER: _ClassVar[int]
    UNPACKED_FIELD_NUMBER: _ClassVar[int]
    digest: str
    size: int
    phase: str
    downloaded: int
    unpacked: int
    def __init__(self, digest: _Optional[str] = ..., size: _Optional[int] = ..., phase: _Optional[str] = ..., downloaded: _Optional[int] = ..., unpacked: _Optional[int] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("activity", "start", "end", "layer", "bytes", "host", "writing", "moments", "totals")
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    WRITING_FIELD_NUMBER: _ClassVar[int]
    MOMENTS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    activity: str
    start: float
    end: float
    layer: str
    bytes: int
    host: str
    writing: float
    moments: _containers.RepeatedScalarFieldContainer[float]
    totals: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, activity: _Optional[str] = ..., start: _Optional[float] = ..., end: _Optional[float] = ..., layer: _Optional[str] = ..., bytes: _Optional[int] = ..., host: _Optional[str] = ..., writing: _Optional[float] = ..., moments: _Optional[_Iterable[float]] = ..., totals: _Optional[_Iterable[int]] = ...) -> None: ...

class PullProgress(_message.Message):
    __slots__ = ("reference", "platform", "phase", "elapsed", "layers", "resolved", "error", "spans")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    reference: str
    platform: str
    phase: str
    elapsed: float
    layers: _containers.RepeatedCompositeFieldContainer[LayerProgress]
    resolved: str
    error: str
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    def __init__(self, reference: _Optional[str] = ..., platform: _Optional[str] = ..., phase: _Optional[str] = ..., elapsed: _Optional[float] = ..., layers: _Optional[_Iterable[_Union[LayerProgress, _Mapping]]] = ..., resolved: _Optional[str] = ..., error: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ...) -> None: ...

class PullResponse(_message.Message):
    __slots__ = ("progress", "image", "error")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    progress: PullProgress
    image: Image
    error: Error
    def __init__(self, progress: _Optional[_Union[PullProgress, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class ImportOptions(_message.Message):
    __slots__ = ("name", "base_name", "platforms", "all_platforms", "snapshotter", "namespace")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BASE_NAME_FIELD_NUMBER: _ClassVar[int]
    PLATFORMS_FIELD_NUMBER: _ClassVar[int]
    ALL_PLATFORMS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTTER_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    name: str
    base_name: str
    platforms: _containers.RepeatedScalarFieldContainer[str]
    all_platforms: bool
    snapshotter: str
    namespace: str
    def __init__(self, name: _Optional[str] = ..., base_name: _Optional[str] = ..., platforms: _Optional[_Iterable[str]] = ..., all_platforms: _Optional[bool] = ..., snapshotter: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class ImportRequest(_message.Message):
    __slots__ = ("options", "data")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    options: ImportOptions
    data: bytes
    def __init__(self, options: _Optional[_Union[ImportOptions, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ImportResponse(_message.Message):
    __slots__ = ("progress", "image", "error")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    progress: PullProgress
    image: Image
    error: Error
    def __init__(self, progress: _Optional[_Union[PullProgress, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class ExportRequest(_message.Message):
    __slots__ = ("texts", "format", "platforms", "all_platforms", "namespace")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    PLATFORMS_FIELD_NUMBER: _ClassVar[int]
    ALL_PLATFORMS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    format: str
    platforms: _containers.RepeatedScalarFieldContainer[str]
    all_platforms: bool
    namespace: str
    def __init__(self, texts: _Optional[_Iterable[str]] = ..., format: _Optional[str] = ..., platforms: _Optional[_Iterable[str]] = ..., all_platforms: _Optional[bool] = ..., namespace: _Optional[str] = ...) -> None: ...

class ExportResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class FindRequest(_message.Message):
    __slots__ = ("text", "namespace")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    text: str
    namespace: str
    def __init__(self, text: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class FindResponse(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: Image
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("filter", "namespace")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    filter: str
    namespace: str
    def __init__(self, filter: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("images",)
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[Image]
    def __init__(self, images: _Optional[_Iterable[_Union[Image, _Mapping]]] = ...) -> None: ...

class DetailRequest(_message.Message):
    __slots__ = ("text", "namespace")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    text: str
    namespace: str
    def __init__(self, text: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class DetailResponse(_message.Message):
    __slots__ = ("image", "manifest", "manifest_media_type", "config")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    image: Image
    manifest: bytes
    manifest_media_type: str
    config: bytes
    def __init__(self, image: _Optional[_Union[Image, _Mapping]] = ..., manifest: _Optional[bytes] = ..., manifest_media_type: _Optional[str] = ..., config: _Optional[bytes] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("text", "namespace")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    text: str
    namespace: str
    def __init__(self, text: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class RemoveResponse(_message.Message):
    __slots__ = ("removed",)
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    removed: bool
    def __init__(self, removed: _Optional[bool] = ...) -> None: ...

class MountRequest(_message.Message):
    __slots__ = ("text", "target", "writable", "namespace", "layer")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    text: str
    target: bytes
    writable: bool
    namespace: str
    layer: bytes
    def __init__(self, text: _Optional[str] = ..., target: _Optional[bytes] = ..., writable: _Optional[bool] = ..., namespace: _Optional[str] = ..., layer: _Optional[bytes] = ...) -> None: ...

class MountResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnmountRequest(_message.Message):
    __slots__ = ("target",)
    TARGET_FIELD_NUMBER: _ClassVar[int]
    target: bytes
    def __init__(self, target: _Optional[bytes] = ...) -> None: ...

class UnmountResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FilesystemsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FilesystemUsage(_message.Message):
    __slots__ = ("mountpoint", "timestamp", "bytes", "inodes")
    MOUNTPOINT_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    INODES_FIELD_NUMBER: _ClassVar[int]
    mountpoint: bytes
    timestamp: int
    bytes: int
    inodes: int
    def __init__(self, mountpoint: _Optional[bytes] = ..., timestamp: _Optional[int] = ..., bytes: _Optional[int] = ..., inodes: _Optional[int] = ...) -> None: ...

class FilesystemsResponse(_message.Message):
    __slots__ = ("filesystems",)
    FILESYSTEMS_FIELD_NUMBER: _ClassVar[int]
    filesystems: _containers.RepeatedCompositeFieldContainer[FilesystemUsage]
    def __init__(self, filesystems: _Optional[_Iterable[_Union[FilesystemUsage, _Mapping]]] = ...) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("text", "repair", "quick", "max_rate")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    QUICK_FIELD_NUMBER: _ClassVar[int]
    MAX_RATE_FIELD_NUMBER: _ClassVar[int]
    text: str
    repair: bool
    quick: bool
    max_rate: int
    def __init__(self, text: _Optional[str] = ..., repair: _Optional[bool] = ..., quick: _Optional[bool] = ..., max_rate: _Optional[int] = ...) -> None: ...

class CheckReport(_message.Message):
    __slots__ = ("image_id", "names", "problems", "repaired", "unrepaired")
    IMAGE_ID_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    REPAIRED_FIELD_NUMBER: _ClassVar[int]
    UNREPAIRED_FIELD_NUMBER: _ClassVar[int]
    image_id: str
    names: _containers.RepeatedScalarFieldContainer[str]
    problems: _containers.RepeatedScalarFieldContainer[str]
    repaired: bool
    unrepaired: str
    def __init__(self, image_id: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., problems: _Optional[_Iterable[str]] = ..., repaired: _Optional[bool] = ..., unrepaired: _Optional[str] = ...) -> None: ...

class CollectRequest(_message.Message):
    __slots__ = ("dry_run",)
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    def __init__(self, dry_run: _Optional[bool] = ...) -> None: ...

class CollectResponse(_message.Message):
    __slots__ = ("images", "blobs", "snapshots", "bytes")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    images: int
    blobs: int
    snapshots: int
    bytes: int
    def __init__(self, images: _Optional[int] = ..., blobs: _Optional[int] = ..., snapshots: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class WhyRequest(_message.Message):
    __slots__ = ("text", "namespace")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    text: str
    namespace: str
    def __init__(self, text: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class WhyResponse(_message.Message):
    __slots__ = ("explanations",)
    EXPLANATIONS_FIELD_NUMBER: _ClassVar[int]
    explanations: _containers.RepeatedCompositeFieldContainer[Explanation]
    def __init__(self, explanations: _Optional[_Iterable[_Union[Explanation, _Mapping]]] = ...) -> None: ...

class Link(_message.Message):
    __slots__ = ("by", "kind", "id")
    BY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    by: str
    kind: str
    id: str
    def __init__(self, by: _Optional[str] = ..., kind: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class Chain(_message.Message):
    __slots__ = ("keeper", "id", "detail", "expires_at", "links")
    KEEPER_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    keeper: str
    id: str
    detail: str
    expires_at: int
    links: _containers.RepeatedCompositeFieldContainer[Link]
    def __init__(self, keeper: _Optional[str] = ..., id: _Optional[str] = ..., detail: _Optional[str] = ..., expires_at: _Optional[int] = ..., links: _Optional[_Iterable[_Union[Link, _Mapping]]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("namespace", "kind", "id", "bytes", "chains")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CHAINS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    kind: str
    id: str
    bytes: int
    chains: _containers.RepeatedCompositeFieldContainer[Chain]
    def __init__(self, namespace: _Optional[str] = ..., kind: _Optional[str] = ..., id: _Optional[str] = ..., bytes: _Optional[int] = ..., chains: _Optional[_Iterable[_Union[Chain, _Mapping]]] = ...) -> None: ...

class DiskUsageRequest(_message.Message):
    __slots__ = ("namespace",)
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    def __init__(self, namespace: _Optional[str] = ...) -> None: ...

class ImageUsage(_message.Message):
    __slots__ = ("id", "names", "snapshotters", "bytes", "unique_bytes")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTTERS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    id: str
    names: _containers.RepeatedScalarFieldContainer[str]
    snapshotters: _containers.RepeatedScalarFieldContainer[str]
    bytes: int
    unique_bytes: int
    def __init__(self, id: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., snapshotters: _Optional[_Iterable[str]] = ..., bytes: _Optional[int] = ..., unique_bytes: _Optional[int] = ...) -> None: ...

class DiskUsageResponse(_message.Message):
    __slots__ = ("namespace", "images", "image_bytes", "kept_bytes", "garbage_bytes", "elsewhere_bytes", "trash_bytes")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    KEPT_BYTES_FIELD_NUMBER: _ClassVar[int]
    GARBAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ELSEWHERE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRASH_BYTES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    images: _containers.RepeatedCompositeFieldContainer[ImageUsage]
    image_bytes: int
    kept_bytes: int
    garbage_bytes: int
    elsewhere_bytes: int
    trash_bytes: int
    def __init__(self, namespace: _Optional[str] = ..., images: _Optional[_Iterable[_Union[ImageUsage, _Mapping]]] = ..., image_bytes: _Optional[int] = ..., kept_bytes: _Optional[int] = ..., garbage_bytes: _Optional[int] = ..., elsewhere_bytes: _Optional[int] = ..., trash_bytes: _Optional[int] = ...) -> None: ...

class Resource(_message.Message):
    __slots__ = ("kind", "id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    kind: str
    id: str
    def __init__(self, kind: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("id", "labels", "created_at", "expires_at", "resources")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    id: str
    labels: _containers.ScalarMap[str, str]
    created_at: int
    expires_at: int
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    def __init__(self, id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., created_at: _Optional[int] = ..., expires_at: _Optional[int] = ..., resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ...) -> None: ...

class LeasesRequest(_message.Message):
    __slots__ = ("namespace",)
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    def __init__(self, namespace: _Optional[str] = ...) -> None: ...

class LeasesResponse(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    def __init__(self, leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ...) -> None: ...

class AddLeaseRequest(_message.Message):
    __slots__ = ("texts", "id", "seconds", "flat", "namespace")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    FLAT_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    id: str
    seconds: float
    flat: bool
    namespace: str
    def __init__(self, texts: _Optional[_Iterable[str]] = ..., id: _Optional[str] = ..., seconds: _Optional[float] = ..., flat: _Optional[bool] = ..., namespace: _Optional[str] = ...) -> None: ...

class RemoveLeaseRequest(_message.Message):
    __slots__ = ("id", "namespace")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    id: str
    namespace: str
    def __init__(self, id: _Optional[str] = ..., namespace: _Optional[str] = ...) -> None: ...

class RemoveLeaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PullsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PullsResponse(_message.Message):
    __slots__ = ("pulls",)
    PULLS_FIELD_NUMBER: _ClassVar[int]
    pulls: _containers.RepeatedCompositeFieldContainer[PullProgress]
    def __init__(self, pulls: _Optional[_Iterable[_Union[PullProgress, _Mapping]]] = ...) -> None: ...

class VersionRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VersionResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: str
    def __init__(self, version: _Optional[str] = ...) -> None: ...

class ListPluginsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Plugin(_message.Message):
    __slots__ = ("type", "id", "state", "reason", "requires", "exports")
    class ExportsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUIRES_FIELD_NUMBER: _ClassVar[int]
    EXPORTS_FIELD_NUMBER: _ClassVar[int]
    type: str
    id: str
    state: str
    reason: str
    requires: _containers.RepeatedScalarFieldContainer[str]
    exports: _containers.ScalarMap[str, str]
    def __init__(self, type: _Optional[str] = ..., id: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., requires: _Optional[_Iterable[str]] = ..., exports: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListPluginsResponse(_message.Message):
    __slots__ = ("plugins",)
    PLUGINS_FIELD_NUMBER: _ClassVar[int]
    plugins: _containers.RepeatedCompositeFieldContainer[Plugin]
    def __init__(self, plugins: _Optional[_Iterable[_Union[Plugin, _Mapping]]] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadResponse(_message.Message):
    __slots__ = ("applied", "restart", "warnings")
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    RESTART_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    applied: _containers.RepeatedScalarFieldContainer[str]
    restart: _containers.RepeatedScalarFieldContainer[str]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, applied: _Optional[_Iterable[str]] = ..., restart: _Optional[_Iterable[str]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...
