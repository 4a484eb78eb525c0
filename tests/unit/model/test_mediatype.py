"""Media types: which are known, and how layers are packed."""

from __future__ import annotations

import pytest

from orlop.errors import UnsupportedMediaType
from orlop.model import mediatype
from orlop.model.mediatype import Compression, essence, layer_compression


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        ("application/vnd.oci.image.layer.v1.tar", Compression.NONE),
        ("application/vnd.oci.image.layer.v1.tar+gzip", Compression.GZIP),
        ("application/vnd.oci.image.layer.v1.tar+zstd", Compression.ZSTD),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", Compression.NONE),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Compression.GZIP),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Compression.ZSTD),
        ("application/vnd.docker.image.rootfs.diff.tar", Compression.NONE),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression.GZIP),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", Compression.ZSTD),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", Compression.NONE),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression.GZIP),
    ],
)
def test_layer_compression(media_type: str, compression: Compression) -> None:
    assert layer_compression(media_type) is compression
    assert media_type in mediatype.LAYER_TYPES


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "application/octet-stream",
        "application/vnd.erofs.layer.v1",  # M14
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",  # M13
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+xz",
        "APPLICATION/VND.OCI.IMAGE.LAYER.V1.TAR",
    ],
)
def test_other_types_are_no_layers(media_type: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="no file system layer"):
        layer_compression(media_type)


def test_encrypted_layers_are_named_as_such() -> None:
    with pytest.raises(UnsupportedMediaType, match="encrypted") as caught:
        layer_compression("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
    assert caught.value.hint


def test_nondistributable_types_are_layers() -> None:
    assert mediatype.NONDISTRIBUTABLE_TYPES < mediatype.LAYER_TYPES


def test_kinds_do_not_overlap() -> None:
    kinds = (
        mediatype.INDEX_TYPES,
        mediatype.MANIFEST_TYPES,
        mediatype.CONFIG_TYPES,
        mediatype.LAYER_TYPES,
        mediatype.SCHEMA1_TYPES,
        mediatype.UNSPECIFIC_TYPES,
    )
    assert len(frozenset().union(*kinds)) == sum(len(kind) for kind in kinds)


def test_accept_asks_for_all_that_can_be_read_and_nothing_else() -> None:
    asked = mediatype.ACCEPT.split(", ")
    assert len(asked) == len(set(asked))
    assert set(asked) == mediatype.INDEX_TYPES | mediatype.MANIFEST_TYPES


@pytest.mark.parametrize(
    "field",
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.index.v1+json; charset=utf-8",
        "Application/Vnd.OCI.Image.Index.V1+JSON ;charset=utf-8",
        "  application/vnd.oci.image.index.v1+json  ",
    ],
)
def test_essence(field: str) -> None:
    assert essence(field) == mediatype.OCI_INDEX
