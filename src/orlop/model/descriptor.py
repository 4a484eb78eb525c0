"""Descriptors: what a document says about a blob that it points at.

A descriptor is a claim. Whoever fetches the blob compares its bytes.

Specification: OCI image specification, descriptor.md.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from orlop.errors import ManifestInvalid
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.model.document import Node

_MAX_SIZE: Final = (1 << 53) - 1  # the largest whole number that every JSON reader keeps exact


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob's kind, name and length.

    Attributes:
        media_type: what the blob is, as the document claims.
        digest: what its bytes hash to.
        size: length in bytes, 0 to 2^53-1.
        platform: for manifests listed in an index; None when not told.
        annotations: free text from the image's author; never trusted.
        urls: other places to fetch it from; ignored unless configured.
        data: the blob itself, when it was embedded and agrees with digest and size.
        artifact_type: kind of artifact; "" for images.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    urls: tuple[str, ...] = ()
    data: bytes | None = field(default=None, repr=False)
    artifact_type: str = ""


def from_node(node: Node, limits: Limits = DEFAULTS) -> Descriptor:
    """Read a descriptor out of a document.

    Embedded data that is too long or does not agree with digest and size is dropped:
    the blob is then fetched like any other.

    Raises:
        ManifestInvalid: a required field is missing, or a field breaks its rules.
        UnsupportedMediaType: the digest's algorithm is not supported.
    """
    node.expect(
        *("mediaType", "digest", "size", "platform", "annotations", "urls", "data"),
        "artifactType",
    )
    media_type = node.text("mediaType")
    if not media_type:
        raise ManifestInvalid(f"{node.path}.mediaType is missing")
    digest = node.digest("digest")
    size = node.integer("size")
    if not 0 <= size <= _MAX_SIZE:
        raise ManifestInvalid(f"{node.path}.size is {size}, outside 0 to 2^53-1")
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=size,
        platform=_platform(node.node("platform")),
        annotations=node.text_map("annotations"),
        urls=node.texts("urls"),
        data=_embedded(node.text("data"), digest, size, limits.data_bytes),
        artifact_type=node.text("artifactType"),
    )


def _platform(node: Node | None) -> Platform | None:
    if node is None:
        return None
    node.expect("os", "architecture", "variant", "os.version", "os.features")
    return Platform(
        os=node.text("os"),
        architecture=node.text("architecture"),
        variant=node.text("variant"),
        os_version=node.text("os.version"),
        os_features=node.texts("os.features"),
    ).normalised()


def _embedded(text: str, digest: Digest, size: int, limit: int) -> bytes | None:
    """Decode ``data``; None unless it is exactly the blob."""
    if not text or size > limit:
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None  # as good as absent, see from_node
    if len(data) != size or Digest.of(data, digest.algorithm) != digest:
        return None
    return data


def encode(descriptor: Descriptor) -> bytes:
    """A descriptor as JSON, for a program that is told of it; embedded data is left out."""
    platform = descriptor.platform
    document: dict[str, object] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
        "urls": descriptor.urls,
        "annotations": dict(descriptor.annotations),
        "platform": platform
        and {
            "architecture": platform.architecture,
            "os": platform.os,
            "os.version": platform.os_version,
            "os.features": platform.os_features,
            "variant": platform.variant,
        },
        "artifactType": descriptor.artifact_type,
    }
    required = ("mediaType", "digest", "size")
    return msgspec.json.encode(
        {key: value for key, value in document.items() if value or key in required}
    )
