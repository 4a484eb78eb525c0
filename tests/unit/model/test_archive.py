"""Documents of archives: what they mean, and how they are written."""

from __future__ import annotations

import json

import pytest

from orlop.errors import LimitExceeded, ManifestInvalid
from orlop.model import archive, mediatype
from orlop.model.archive import IMAGE_NAME, REF_NAME, DockerImage, Named
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.manifest import Index, Manifest, parse
from orlop.model.mediatype import Compression
from orlop.model.platform import Platform
from orlop.model.reference import Reference

BASE = Reference("docker.io", "team/app")
ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, None),
        ({IMAGE_NAME: "docker.io/library/busybox:1", REF_NAME: "1"}, "docker.io/library/busybox:1"),
        ({IMAGE_NAME: "No Name", REF_NAME: "v1"}, "docker.io/team/app:v1"),
        ({REF_NAME: "v1.2"}, "docker.io/team/app:v1.2"),
        ({REF_NAME: "registry.example/a:1"}, "registry.example/a:1"),
        ({REF_NAME: "busybox:1"}, "docker.io/library/busybox:1"),
        ({REF_NAME: "a b"}, None),
    ],
)
def test_names(annotations: dict[str, str], expected: str | None) -> None:
    found = archive.entry_name(annotations, BASE)
    assert (None if found is None else str(found)) == expected


def test_a_tag_without_a_repository_is_no_name() -> None:
    assert archive.entry_name({REF_NAME: "v1"}) is None


def test_docker_documents_come_back() -> None:
    images = [DockerImage("c.json", ("a", "b", "a"), ("app:1",)), DockerImage("d", ())]
    assert list(archive.parse_docker(archive.docker_document(images))) == images


def test_docker_documents_of_other_programs() -> None:
    raw = b'[{"Config":"c","RepoTags":null,"Layers":["l"],"LayerSources":{}}]'
    assert archive.parse_docker(raw) == (DockerImage("c", ("l",)),)


@pytest.mark.parametrize(
    "raw",
    [b"{}", b"[1]", b"[{}]", b'[{"config":"c"}]', b'[{"Config":1}]', b"[", b'[{"Config":"c",}]'],
)
def test_docker_documents_that_are_none(raw: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        archive.parse_docker(raw)


def test_too_many_images() -> None:
    raw = archive.docker_document([DockerImage("c", ())] * 3)
    with pytest.raises(LimitExceeded) as error:
        archive.parse_docker(raw, Limits(archive_images=2))
    assert error.value.limit == "archive_images"


def test_the_version_of_a_layout() -> None:
    archive.check_layout(archive.layout_document())
    for raw in (b"{}", b'{"imageLayoutVersion":"2"}', b"[]"):
        with pytest.raises(ManifestInvalid):
            archive.check_layout(raw, DEFAULTS)


def test_an_index_that_is_written() -> None:
    platform = Platform("linux", "arm", "v7")
    images = [
        Named(Descriptor(mediatype.OCI_MANIFEST, ONE, 10, platform=platform), BASE.with_tag("v1")),
        Named(Descriptor(mediatype.DOCKER_MANIFEST, TWO, 20), None),
    ]
    index = parse(archive.index_document(images), media_type="")
    assert isinstance(index, Index)
    first, second = index.manifests
    assert (first.digest, first.size, first.platform) == (ONE, 10, platform)
    assert archive.entry_name(first.annotations) == BASE.with_tag("v1")
    assert (second.digest, second.platform, second.annotations) == (TWO, None, {})


def test_a_manifest_for_a_docker_image() -> None:
    layers = [(ONE, 5, Compression.NONE), (TWO, 6, Compression.GZIP)]
    manifest = parse(archive.docker_manifest((Digest.of(b"c"), 1), layers), media_type="")
    assert isinstance(manifest, Manifest)
    assert manifest.media_type == mediatype.DOCKER_MANIFEST
    kinds = [mediatype.layer_compression(layer.media_type) for layer in manifest.layers]
    assert kinds == [Compression.NONE, Compression.GZIP]


def test_documents_are_the_same_each_time() -> None:
    first = archive.docker_document([DockerImage("c", ("l",), ("t",))])
    assert json.loads(first) == [{"Config": "c", "RepoTags": ["t"], "Layers": ["l"]}]
    assert first == archive.docker_document([DockerImage("c", ("l",), ("t",))])
