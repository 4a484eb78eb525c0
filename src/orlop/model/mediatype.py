"""Media types of images, and what they say about a document or a layer.

Names and meanings: OCI image specification (media-types.md) and Docker's image
manifest version 2, schema 2. What the bytes really are is found out elsewhere.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from orlop.errors import UnsupportedMediaType
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_NONDISTRIBUTABLE_LAYER: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_NONDISTRIBUTABLE_LAYER_GZIP: Final = (
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
)
OCI_NONDISTRIBUTABLE_LAYER_ZSTD: Final = (
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
)
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"

DOCKER_MANIFEST_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD: Final = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_FOREIGN_LAYER: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_FOREIGN_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

OCTET_STREAM: Final = "application/octet-stream"

INDEX_TYPES: Final = frozenset({OCI_INDEX, DOCKER_MANIFEST_LIST})
MANIFEST_TYPES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
SCHEMA1_TYPES: Final = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
UNSPECIFIC_TYPES: Final = frozenset({"", "application/json", OCTET_STREAM, "text/plain"})
"""What servers say about a document when they do not know what it is."""

ACCEPT: Final = f"{OCI_INDEX}, {DOCKER_MANIFEST_LIST}, {OCI_MANIFEST}, {DOCKER_MANIFEST}"
"""Value of the Accept header field when a manifest or an index is asked for."""

SCHEMA1_HINT: Final = "build or push the image again with a current tool"


class Compression(enum.Enum):
    """How a layer's tar stream is packed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


_LAYERS: Final[Mapping[str, Compression]] = MappingProxyType(
    {
        OCI_LAYER: Compression.NONE,
        OCI_LAYER_GZIP: Compression.GZIP,
        OCI_LAYER_ZSTD: Compression.ZSTD,
        OCI_NONDISTRIBUTABLE_LAYER: Compression.NONE,
        OCI_NONDISTRIBUTABLE_LAYER_GZIP: Compression.GZIP,
        OCI_NONDISTRIBUTABLE_LAYER_ZSTD: Compression.ZSTD,
        DOCKER_LAYER: Compression.NONE,
        DOCKER_LAYER_GZIP: Compression.GZIP,
        DOCKER_LAYER_ZSTD: Compression.ZSTD,
        DOCKER_FOREIGN_LAYER: Compression.NONE,
        DOCKER_FOREIGN_LAYER_GZIP: Compression.GZIP,
    }
)

LAYER_TYPES: Final = frozenset(_LAYERS)
NONDISTRIBUTABLE_TYPES: Final = frozenset(
    {
        OCI_NONDISTRIBUTABLE_LAYER,
        OCI_NONDISTRIBUTABLE_LAYER_GZIP,
        OCI_NONDISTRIBUTABLE_LAYER_ZSTD,
        DOCKER_FOREIGN_LAYER,
        DOCKER_FOREIGN_LAYER_GZIP,
    }
)
"""Layers that a registry may lack, because their licence forbids it to have them."""


def essence(content_type: str) -> str:
    """Return the media type of a Content-Type field, without parameters (RFC 9110, 8.3.1)."""
    return content_type.partition(";")[0].strip().lower()


def is_encrypted(media_type: str) -> bool:
    """True for a layer that must be decrypted first; the suffix is that of ocicrypt."""
    return media_type.endswith("+encrypted")


def layer_compression(media_type: str) -> Compression:
    """Tell how a layer of this media type is compressed.

    Raises:
        UnsupportedMediaType: it is no layer of an image, or one that cannot be unpacked here.
    """
    compression = _LAYERS.get(media_type)
    if compression is not None:
        return compression
    if is_encrypted(media_type):
        raise UnsupportedMediaType(
            f"layer is encrypted (media type {quote(media_type)}), and nothing here decrypts it",
            hint="name a program that decrypts it under [stream_processors] in the configuration",
        )
    raise UnsupportedMediaType(f"media type {quote(media_type)} is no file system layer")
