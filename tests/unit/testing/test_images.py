"""The image builder, judged by json, hashlib and the model."""

import hashlib
import json

import pytest

from orlop.model import manifest as model_manifest
from orlop.model import mediatype
from orlop.model.digest import Digest
from orlop.model.image import check_pair, parse_config
from orlop.model.mediatype import Compression
from orlop.model.platform import Platform
from orlop.testing import layers
from orlop.testing.images import Json, Layer, Media, build_image, build_index, build_layer

FIRST = [layers.directory("etc"), layers.file("etc/hostname", b"one\n")]
SECOND = [layers.whiteout("etc/hostname")]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("media", ["oci", "docker"])
@pytest.mark.parametrize("compression", list(Compression))
def test_documents_name_the_blobs(media: Media, compression: Compression) -> None:
    image = build_image([FIRST, SECOND], media=media, compression=compression)
    document = json.loads(image.manifest)
    assert document["mediaType"] == image.media_type
    for descriptor in [document["config"], *document["layers"]]:
        blob = image.blobs[Digest.parse(descriptor["digest"])]
        assert descriptor["digest"] == sha256(blob)
        assert descriptor["size"] == len(blob)
    config = json.loads(image.config)
    assert config["rootfs"]["diff_ids"] == [sha256(layer.tar) for layer in image.layers]
    assert str(image.id) == document["config"]["digest"] == sha256(image.config)
    assert str(image.digest) == sha256(image.manifest)
    types = {mediatype.layer_compression(layer["mediaType"]) for layer in document["layers"]}
    assert types == {compression}


@pytest.mark.parametrize("media", ["oci", "docker"])
def test_the_model_accepts_them(media: Media) -> None:
    image = build_image([FIRST, SECOND], media=media, annotations={"a": "b"})
    parsed = model_manifest.parse(image.manifest, media_type=image.media_type)
    assert isinstance(parsed, model_manifest.Manifest)
    assert parsed.annotations == {"a": "b"}
    config = parse_config(image.config)
    check_pair(parsed, config)
    assert config.diff_ids == image.diff_ids
    index = build_index([image], media=media)
    assert isinstance(
        model_manifest.parse(index.raw, media_type=index.media_type), model_manifest.Index
    )


def test_chain_ids() -> None:
    image = build_image([FIRST, SECOND])
    first, second = (str(diff_id) for diff_id in image.diff_ids)
    assert [str(one) for one in image.chain] == [first, sha256(f"{first} {second}".encode())]


def test_nothing_depends_on_the_moment() -> None:
    assert build_image([FIRST, SECOND]) == build_image([FIRST, SECOND])


def test_config_overrides() -> None:
    changes: dict[str, Json] = {
        "author": "somebody",
        "created": None,
        "config": {"User": "1000:1000", "Cmd": None},
    }
    document = json.loads(build_image([FIRST], config=changes).config)
    assert document["author"] == "somebody"
    assert "created" not in document
    assert document["config"] == {"Env": ["PATH=/usr/bin:/bin"], "User": "1000:1000"}
    wrong: dict[str, Json] = {"rootfs": {"type": "layers", "diff_ids": []}, "config": "no object"}
    document = json.loads(build_image([FIRST], config=wrong).config)
    assert document["rootfs"]["diff_ids"] == []
    assert document["config"] == "no object"


def test_finished_layers_and_archives_stand_as_they_are() -> None:
    archive = layers.tar_bytes(FIRST)
    broken = Layer(tar=archive, blob=b"no gzip at all", compression=Compression.GZIP)
    image = build_image([archive, broken, build_layer(FIRST, Compression.ZSTD)])
    assert [layer.compression for layer in image.layers] == [
        Compression.GZIP,
        Compression.GZIP,
        Compression.ZSTD,
    ]
    assert len(set(image.diff_ids)) == 1
    assert image.blobs[Digest.of(b"no gzip at all")] == b"no gzip at all"


def test_members_reach_the_blob() -> None:
    assert build_layer(FIRST, members=2).blob != build_layer(FIRST).blob
    assert build_layer(FIRST, members=2).diff_id == build_layer(FIRST).diff_id


def test_an_image_without_layers() -> None:
    image = build_image()
    assert image.chain == ()
    assert list(image.blobs.values()) == [image.config]


def test_an_index_selects_by_platform() -> None:
    images = [build_image([FIRST], platform=name) for name in ("linux/amd64", "linux/arm64/v8")]
    index = build_index(images, annotations={"a": "b"})
    parsed = model_manifest.parse(index.raw, media_type=index.media_type)
    assert isinstance(parsed, model_manifest.Index)
    for image in images:
        assert model_manifest.select(parsed, image.platform).digest == image.digest
    assert set(index.manifests) == {image.digest for image in images}
    assert index.manifests[images[1].digest] == (images[1].media_type, images[1].manifest)
    assert set(index.blobs) == {*images[0].blobs, *images[1].blobs}
    assert index.descriptor.digest == Digest.of(index.raw)


def test_platform_fields_reach_the_documents() -> None:
    image = build_image([FIRST], platform="linux/arm/v7")
    document = json.loads(image.config)
    assert (document["os"], document["architecture"], document["variant"]) == ("linux", "arm", "v7")
    assert image.descriptor.platform == Platform.parse("linux/arm/v7")


def test_an_index_over_an_index_holds_everything_below() -> None:
    image = build_image([FIRST])
    inner = build_index([image])
    outer = build_index([inner])
    assert set(outer.manifests) == {image.digest, inner.digest}
    assert set(outer.blobs) == set(image.blobs)
