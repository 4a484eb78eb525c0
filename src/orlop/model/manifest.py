"""Manifests and indexes: from bytes to values, and from an index to one manifest.

The rules are stricter than the specifications ask, because several programs
read the same bytes and all must see the same image. Documents are fetched, and
checked against their descriptors, by others; nothing here follows a descriptor.

Specifications: OCI image specification (manifest.md, image-index.md), Docker's
image manifest version 2, schema 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orlop.errors import (
    LimitExceeded,
    ManifestAmbiguous,
    ManifestInvalid,
    NoMatchingPlatform,
    UnsupportedMediaType,
)
from orlop.model import mediatype
from orlop.model.descriptor import Descriptor, from_node
from orlop.model.digest import Digest
from orlop.model.document import decode
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.platform import rank
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orlop.model.document import Node
    from orlop.model.platform import Platform

_SCHEMA_VERSION: Final = 2
_REFERENCE_TYPE: Final = "vnd.docker.reference.type"
"""Annotation of entries that describe another entry of the same index (BuildKit)."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform, or an artifact.

    Attributes:
        raw: the bytes it was read from; ``digest`` is theirs.
        digest: what the manifest is called.
        media_type: what it is, also when the document did not say so.
        config: the image config, or whatever an artifact has there.
        layers: lowest first.
        annotations: free text from the image's author; never trusted.
        artifact_type: "" for images.
    """

    raw: bytes = field(repr=False)
    digest: Digest
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""


@dataclass(frozen=True, slots=True)
class Index:
    """Manifests, usually of one image for several platforms.

    Attributes are those of ``Manifest``; ``manifests`` are in the document's order.
    """

    raw: bytes = field(repr=False)
    digest: Digest
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""


def parse(
    raw: bytes, *, media_type: str, limits: Limits = DEFAULTS, algorithm: str = "sha256"
) -> Manifest | Index:
    """Read a manifest or an index.

    Args:
        raw: the whole document.
        media_type: what the descriptor, or the registry, calls it; "" if nobody said.
        limits: caps to respect.
        algorithm: of the digest that it is known by.

    Raises:
        ManifestInvalid: it breaks its specification.
        ManifestAmbiguous: it could be taken for two kinds, or is not of ``media_type``.
        UnsupportedMediaType: it is neither, or of Docker's schema 1.
        LimitExceeded: it is too long or lists too much.
    """
    _check_kind(media_type)
    if len(raw) > limits.manifest_bytes:
        raise LimitExceeded(
            f"manifest has {len(raw)} bytes, more than {limits.manifest_bytes}",
            limit="manifest_bytes",
        )
    node = decode(raw, "manifest", limits)
    node.expect(
        *("schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests"),
        *("annotations", "subject", "fsLayers"),
    )
    kind = _kind(node, media_type)
    digest = Digest.of(raw, algorithm)
    annotations = node.text_map("annotations")
    artifact_type = node.text("artifactType")
    if kind in mediatype.INDEX_TYPES:
        entries = node.nodes("manifests", most=limits.descriptors, limit="descriptors")
        manifests = tuple(from_node(entry, limits) for entry in entries)
        _check_index(manifests)
        return Index(raw, digest, kind, manifests, annotations, artifact_type)
    config_node = node.node("config")
    if config_node is None:
        raise ManifestInvalid("manifest.config is missing")
    config = from_node(config_node, limits)
    entries = node.nodes("layers", most=limits.layers, limit="layers")
    layers = tuple(from_node(entry, limits) for entry in entries)
    _check_manifest(config, layers)
    return Manifest(raw, digest, kind, config, layers, annotations, artifact_type)


def require_image(
    manifest: Manifest, check_layer: Callable[[str], object] = mediatype.layer_compression
) -> None:
    """Refuse what is a manifest, but not of an image that can be unpacked.

    Args:
        manifest: of whatever.
        check_layer: raises for the media type of a layer that cannot be unpacked.

    Raises:
        UnsupportedMediaType: an artifact, or a layer of a kind that is not known here.
    """
    config_type = manifest.config.media_type
    if manifest.artifact_type and manifest.artifact_type not in mediatype.CONFIG_TYPES:
        raise UnsupportedMediaType(
            f"an artifact of type {quote(manifest.artifact_type)} is no container image"
        )
    # Docker 1.10 pushed configs under the generic type.
    octets = manifest.media_type == mediatype.DOCKER_MANIFEST and (
        config_type == mediatype.OCTET_STREAM
    )
    if config_type not in mediatype.CONFIG_TYPES and not octets:
        raise UnsupportedMediaType(
            f"an artifact with a config of type {quote(config_type)} is no container image"
        )
    for layer in manifest.layers:
        check_layer(layer.media_type)


def select(index: Index, wanted: Platform) -> Descriptor:
    """Choose the manifest that suits a platform best; of equals, the first.

    The answer may be an index again. An entry without a platform is taken only when
    none with a platform fits; its config then has to be looked at.

    Raises:
        NoMatchingPlatform: there is none.
    """
    candidates = [entry for entry in index.manifests if leads_to_image(entry)]
    ranked: list[tuple[int, int]] = []
    for position, entry in enumerate(candidates):
        if entry.platform is not None:
            value = rank(wanted, entry.platform)
            if value is not None:
                ranked.append((value, position))
    if ranked:
        return candidates[min(ranked)[1]]
    for entry in candidates:
        if entry.platform is None:
            return entry
    offered = ", ".join(sorted({str(entry.platform) for entry in candidates}))
    raise NoMatchingPlatform(
        f"no manifest for platform {wanted} in index {index.digest}",
        hint=f"it offers {quote(offered)}" if offered else "it lists no image at all",
    )


def _check_kind(media_type: str) -> None:
    known = mediatype.INDEX_TYPES | mediatype.MANIFEST_TYPES | mediatype.UNSPECIFIC_TYPES
    if media_type in mediatype.SCHEMA1_TYPES:
        raise _schema1()
    if media_type not in known:
        raise UnsupportedMediaType(f"media type {quote(media_type)} is no manifest or index")


def _schema1() -> UnsupportedMediaType:
    return UnsupportedMediaType(
        "Docker image manifest schema 1 is not supported", hint=mediatype.SCHEMA1_HINT
    )


def _kind(node: Node, media_type: str) -> str:
    """Find out what the document is, from its shape, its own word and the given word.

    All that say something must say the same (CVE-2021-41190).
    """
    own = node.text("mediaType")
    version = node.integer("schemaVersion") if node.has("schemaVersion") else _SCHEMA_VERSION
    if own in mediatype.SCHEMA1_TYPES or (version == 1 and not own) or "fsLayers" in node.fields:
        raise _schema1()
    if version != _SCHEMA_VERSION:
        raise ManifestInvalid(f"manifest.schemaVersion is {version}, not {_SCHEMA_VERSION}")
    if own in mediatype.UNSPECIFIC_TYPES - {""}:
        raise UnsupportedMediaType(f"media type {quote(own)} is no manifest or index")
    _check_kind(own)
    is_index = "manifests" in node.fields
    if is_index and ("layers" in node.fields or "config" in node.fields):
        raise ManifestAmbiguous("manifest has both manifests and layers or config")
    if not is_index and "layers" not in node.fields:
        raise ManifestInvalid("manifest has neither manifests nor layers")
    given = "" if media_type in mediatype.UNSPECIFIC_TYPES else media_type
    if own and given and own != given:
        raise ManifestAmbiguous(f"manifest calls itself {quote(own)}, but came as {quote(given)}")
    kind = own or given or (mediatype.OCI_INDEX if is_index else mediatype.OCI_MANIFEST)
    expected = mediatype.INDEX_TYPES if is_index else mediatype.MANIFEST_TYPES
    if kind not in expected:
        shape = "an index" if is_index else "a manifest"
        raise ManifestAmbiguous(f"manifest of type {quote(kind)} has the form of {shape}")
    return kind


def _check_index(manifests: Sequence[Descriptor]) -> None:
    for position, entry in enumerate(manifests):
        if entry.size == 0:
            raise ManifestInvalid(f"manifest.manifests[{position}].size is 0")
    _check_consistent(manifests)


def _check_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> None:
    if config.size == 0:
        raise ManifestInvalid("manifest.config.size is 0")
    if config.media_type in mediatype.LAYER_TYPES:
        raise ManifestInvalid(f"manifest.config has the media type {config.media_type} of a layer")
    for position, layer in enumerate(layers):
        if layer.media_type in mediatype.CONFIG_TYPES:
            raise ManifestInvalid(
                f"manifest.layers[{position}] has the media type {layer.media_type} of a config"
            )
        if layer.digest == config.digest and layer.media_type in mediatype.LAYER_TYPES:
            raise ManifestInvalid(f"manifest.layers[{position}] is the config, {config.digest}")
    _check_consistent((config, *layers))


def _check_consistent(descriptors: Iterable[Descriptor]) -> None:
    """The same bytes have one length and are one thing."""
    seen: dict[Digest, Descriptor] = {}
    for entry in descriptors:
        first = seen.setdefault(entry.digest, entry)
        if first.size != entry.size:
            raise ManifestInvalid(f"manifest gives {entry.digest} two sizes")
        if first.media_type != entry.media_type:
            raise ManifestInvalid(f"manifest gives {entry.digest} two media types")


def leads_to_image(entry: Descriptor) -> bool:
    """Tell whether an entry of an index can lead to an image: signatures and the like cannot."""
    kinds = mediatype.MANIFEST_TYPES | mediatype.INDEX_TYPES
    is_artifact = entry.artifact_type and entry.artifact_type not in mediatype.CONFIG_TYPES
    return (
        entry.media_type in kinds and not is_artifact and _REFERENCE_TYPE not in entry.annotations
    )
