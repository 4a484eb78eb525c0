"""Archives of images: what their documents say, and how they are written. Pure.

Two forms. An *OCI layout* has ``index.json``, whose entries are images, and blobs
below ``blobs/``. A *Docker archive* has ``manifest.json``, a list of images, each
with the names of its config and of its layers. Docker and containerd write both
documents into one archive; it is read as a layout then.

Sources: OCI image specification, image-layout.md and annotations.md; the output of
``docker save``; POSIX.1-2017 ``pax`` for the headers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidReference, ManifestInvalid
from orlop.model import mediatype
from orlop.model.document import decode, decode_list
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.mediatype import Compression
from orlop.model.quote import quote
from orlop.model.reference import Reference, from_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.platform import Platform

LAYOUT_FILE: Final = "oci-layout"
INDEX_FILE: Final = "index.json"
DOCKER_FILE: Final = "manifest.json"
LAYOUT_VERSION: Final = "1.0.0"

IMAGE_NAME: Final = "io.containerd.image.name"
"""Annotation of an entry of the index: the image's whole name."""

REF_NAME: Final = "org.opencontainers.image.ref.name"
"""Ditto: a tag, or a whole name; the specification leaves it to the tools."""

_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DOCKER_LAYER: Final = {
    Compression.NONE: mediatype.DOCKER_LAYER,
    Compression.GZIP: mediatype.DOCKER_LAYER_GZIP,
    Compression.ZSTD: mediatype.DOCKER_LAYER_ZSTD,
}


@dataclass(frozen=True, slots=True)
class DockerImage:
    """An image of a Docker archive.

    Attributes:
        config: name of the member with the config.
        layers: names of the members with the layers, lowest first.
        tags: its names, as written.
    """

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...] = ()


def blob_path(digest: Digest) -> str:
    """Where a blob is in a layout."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


# --- reading ------------------------------------------------------------------------------


def check_layout(raw: bytes, limits: Limits = DEFAULTS) -> None:
    """Make sure that the file ``oci-layout`` is of a version that is understood.

    Raises:
        ManifestInvalid: it is not.
    """
    version = decode(raw, LAYOUT_FILE, limits).text("imageLayoutVersion")
    if version != LAYOUT_VERSION:
        raise ManifestInvalid(
            f"{LAYOUT_FILE} is of version {quote(version)}, {LAYOUT_VERSION} is understood"
        )


def parse_docker(raw: bytes, limits: Limits = DEFAULTS) -> tuple[DockerImage, ...]:
    """Read ``manifest.json`` of a Docker archive.

    Raises:
        ManifestInvalid: it is none, or an image has no config.
        LimitExceeded: it lists too many images or layers.
    """
    nodes = decode_list(
        raw, DOCKER_FILE, limits, most=limits.archive_images, limit="archive_images"
    )
    images = []
    for node in nodes:
        node.expect("Config", "RepoTags", "Layers")
        config = node.text("Config")
        if not config:
            raise ManifestInvalid(f"{node.path}.Config is missing")
        images.append(DockerImage(config, node.texts("Layers"), node.texts("RepoTags")))
    return tuple(images)


def entry_name(annotations: Mapping[str, str], base: Reference | None = None) -> Reference | None:
    """The name that a layout gives to an image; None when it gives none.

    A whole name is taken as it is. A mere tag names an image of the repository
    ``base``, and nothing without one. What is no name is none.
    """
    whole = _reference(annotations.get(IMAGE_NAME, ""))
    if whole is not None:
        return whole
    text = annotations.get(REF_NAME, "")
    if _TAG.fullmatch(text):
        return None if base is None else Reference(base.domain, base.path, text)
    return _reference(text)


def tag_names(tags: Sequence[str]) -> tuple[Reference, ...]:
    """The names that a Docker archive gives to an image.

    Raises:
        InvalidReference: one of them is no name.
    """
    return tuple(from_user(tag) for tag in tags)


def _reference(text: str) -> Reference | None:
    try:
        return from_user(text) if text else None
    except InvalidReference:
        return None  # tools write all kinds of text there


def docker_manifest(
    config: tuple[Digest, int], layers: Sequence[tuple[Digest, int, Compression]]
) -> bytes:
    """A manifest for an image of a Docker archive, which has none.

    Args:
        config: digest and size.
        layers: digest, size and compression of each, lowest first.
    """
    return _document(
        {
            "schemaVersion": 2,
            "mediaType": mediatype.DOCKER_MANIFEST,
            "config": _named(mediatype.DOCKER_CONFIG, *config),
            "layers": [
                _named(_DOCKER_LAYER[compression], digest, size)
                for digest, size, compression in layers
            ],
        }
    )


# --- writing ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Named:
    """An image on its way into a layout: what it is, and a name, or None."""

    descriptor: Descriptor
    name: Reference | None


def layout_document() -> bytes:
    """The file ``oci-layout``."""
    return _document({"imageLayoutVersion": LAYOUT_VERSION})


def index_document(images: Sequence[Named], *, media_type: str = mediatype.OCI_INDEX) -> bytes:
    """An index of these images, in this order."""
    return _document(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [_entry(image) for image in images],
        }
    )


def docker_document(images: Sequence[DockerImage]) -> bytes:
    """The file ``manifest.json`` of a Docker archive."""
    return _document(
        [
            {"Config": image.config, "RepoTags": list(image.tags), "Layers": list(image.layers)}
            for image in images
        ]
    )


def _entry(image: Named) -> dict[str, object]:
    entry: dict[str, object] = {
        **_named(image.descriptor.media_type, image.descriptor.digest, image.descriptor.size),
    }
    if image.descriptor.platform is not None:
        entry["platform"] = _platform(image.descriptor.platform)
    if image.name is not None:
        # Readers that choose by ``ref.name`` compare with the whole name or with the tag.
        entry["annotations"] = {IMAGE_NAME: str(image.name), REF_NAME: str(image.name)}
    return entry


def _platform(platform: Platform) -> dict[str, object]:
    found: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        found["variant"] = platform.variant
    if platform.os_version:
        found["os.version"] = platform.os_version
    if platform.os_features:
        found["os.features"] = list(platform.os_features)
    return found


def _named(media_type: str, digest: Digest, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(digest), "size": size}


def _document(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
