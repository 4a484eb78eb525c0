"""Whole images, made in memory for tests: layers, config, manifest, index.

Documents come out the same for the same arguments: no clock, no random names,
fixed order of keys. What the caller passes as ``config`` is merged into the
document unchecked, so that wrong images can be made too. This module never
touches the network or the file system; registries and layouts take what it
makes from ``BuiltImage.blobs``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orlop.model import mediatype
from orlop.model.chain import chain_ids
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import Compression
from orlop.model.platform import Platform
from orlop.testing.layers import Entry, compress, tar_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Media = Literal["oci", "docker"]
"""Whose media types the documents carry."""

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

_CREATED = "2024-01-01T00:00:00Z"
_INDEX = {"oci": mediatype.OCI_INDEX, "docker": mediatype.DOCKER_MANIFEST_LIST}
_MANIFEST = {"oci": mediatype.OCI_MANIFEST, "docker": mediatype.DOCKER_MANIFEST}
_CONFIG = {"oci": mediatype.OCI_CONFIG, "docker": mediatype.DOCKER_CONFIG}
_LAYER = {
    ("oci", Compression.NONE): mediatype.OCI_LAYER,
    ("oci", Compression.GZIP): mediatype.OCI_LAYER_GZIP,
    ("oci", Compression.ZSTD): mediatype.OCI_LAYER_ZSTD,
    ("docker", Compression.NONE): mediatype.DOCKER_LAYER,
    ("docker", Compression.GZIP): mediatype.DOCKER_LAYER_GZIP,
    ("docker", Compression.ZSTD): mediatype.DOCKER_LAYER_ZSTD,
}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: the archive, and the blob that carries it.

    ``blob`` need not be what ``tar`` compresses to: that is how wrong layers are made.
    """

    tar: bytes
    blob: bytes
    compression: Compression

    @property
    def diff_id(self) -> Digest:
        """Digest of the uncompressed archive."""
        return Digest.of(self.tar)

    @property
    def digest(self) -> Digest:
        """Digest of the blob."""
        return Digest.of(self.blob)


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image for one platform.

    Attributes:
        config: the config document, as bytes; its digest is the image id.
        blobs: config and layers, by digest. The manifest is not among them.
        chain: chain ids, lowest layer first.
    """

    manifest: bytes
    media_type: str
    config: bytes
    platform: Platform
    layers: tuple[Layer, ...]
    blobs: Mapping[Digest, bytes]
    diff_ids: tuple[Digest, ...]
    chain: tuple[Digest, ...]

    @property
    def digest(self) -> Digest:
        """Digest of the manifest."""
        return Digest.of(self.manifest)

    @property
    def id(self) -> Digest:
        """Digest of the config: the image id."""
        return Digest.of(self.config)

    @property
    def descriptor(self) -> Descriptor:
        """Names the manifest, as an index does."""
        return Descriptor(
            media_type=self.media_type,
            digest=self.digest,
            size=len(self.manifest),
            platform=self.platform,
        )


@dataclass(frozen=True, slots=True)
class BuiltIndex:
    """An index over images (or over other indexes).

    ``manifests`` holds every document below the index, by digest, with its
    media type; ``blobs`` all their configs and layers.
    """

    raw: bytes
    media_type: str
    manifests: Mapping[Digest, tuple[str, bytes]]
    blobs: Mapping[Digest, bytes]

    @property
    def digest(self) -> Digest:
        """Digest of the index."""
        return Digest.of(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        """Names the index."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.raw))


def build_layer(
    content: bytes | Sequence[Entry | bytes],
    compression: Compression = Compression.GZIP,
    *,
    members: int = 1,
) -> Layer:
    """A layer from entries, or from an archive that is there already."""
    tar = content if isinstance(content, bytes) else tar_bytes(content)
    return Layer(tar, compress(tar, compression, members=members), compression)


def build_image(
    layers: Sequence[bytes | Layer | Sequence[Entry | bytes]] = (),
    *,
    compression: Compression = Compression.GZIP,
    config: Mapping[str, Json] | None = None,
    platform: str = "linux/amd64",
    media: Media = "oci",
    annotations: Mapping[str, str] | None = None,
) -> BuiltImage:
    """An image of these layers, lowest first.

    Args:
        layers: archives, entries for one, or finished layers.
        compression: of those layers that are not finished.
        config: merged into the top level of the config document; in ``config`` (the
            part that describes processes) key by key. None removes a key.
        platform: ``os/architecture[/variant]``.
        media: whose media types to use.
        annotations: of the manifest.
    """
    built = tuple(
        item if isinstance(item, Layer) else build_layer(item, compression) for item in layers
    )
    wanted = Platform.parse(platform)
    diff_ids = tuple(layer.diff_id for layer in built)
    config_bytes = _document(_config(diff_ids, wanted, config or {}))
    blobs = {Digest.of(config_bytes): config_bytes} | {layer.digest: layer.blob for layer in built}
    manifest: dict[str, Json] = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST[media],
        "config": _named(_CONFIG[media], config_bytes),
        "layers": [_named(_LAYER[media, layer.compression], layer.blob) for layer in built],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    return BuiltImage(
        manifest=_document(manifest),
        media_type=_MANIFEST[media],
        config=config_bytes,
        platform=wanted,
        layers=built,
        blobs=blobs,
        diff_ids=diff_ids,
        chain=chain_ids(diff_ids),
    )


def build_index(
    members: Sequence[BuiltImage | BuiltIndex],
    *,
    media: Media = "oci",
    annotations: Mapping[str, str] | None = None,
) -> BuiltIndex:
    """An index of these images, in this order."""
    manifests: dict[Digest, tuple[str, bytes]] = {}
    blobs: dict[Digest, bytes] = {}
    entries: list[Json] = []
    for member in members:
        blobs |= member.blobs
        if isinstance(member, BuiltImage):
            raw = member.manifest
            entry = _named(member.media_type, raw)
            entry["platform"] = _platform(member.platform)
        else:
            raw = member.raw
            entry = _named(member.media_type, raw)
            manifests |= member.manifests
        manifests[member.digest] = (member.media_type, raw)
        entries.append(entry)
    document: dict[str, Json] = {
        "schemaVersion": 2,
        "mediaType": _INDEX[media],
        "manifests": entries,
    }
    if annotations:
        document["annotations"] = dict(annotations)
    return BuiltIndex(_document(document), _INDEX[media], manifests, blobs)


def _config(
    diff_ids: Sequence[Digest], platform: Platform, overrides: Mapping[str, Json]
) -> dict[str, Json]:
    process: dict[str, Json] = {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"]}
    document: dict[str, Json] = {
        "created": _CREATED,
        **_platform(platform),
        "config": process,
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id) for diff_id in diff_ids]},
        "history": [{"created": _CREATED, "created_by": "orlop.testing"} for _ in diff_ids],
    }
    for key, value in overrides.items():
        if key == "config" and isinstance(value, dict):
            document[key] = _merged(process, value)
        else:
            document[key] = value
    return {key: value for key, value in document.items() if value is not None}


def _merged(below: Mapping[str, Json], above: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in {**below, **above}.items() if value is not None}


def _platform(platform: Platform) -> dict[str, Json]:
    document: dict[str, Json] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        document["variant"] = platform.variant
    if platform.os_version:
        document["os.version"] = platform.os_version
    if platform.os_features:
        document["os.features"] = list(platform.os_features)
    return document


def _named(media_type: str, blob: bytes) -> dict[str, Json]:
    """A descriptor as JSON."""
    return {"mediaType": media_type, "digest": str(Digest.of(blob)), "size": len(blob)}


def _document(value: Mapping[str, Json]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
