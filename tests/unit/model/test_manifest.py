"""Manifests and indexes (threats M04, M06 to M09, M13, M14, M17)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    LimitExceeded,
    ManifestAmbiguous,
    ManifestInvalid,
    NoMatchingPlatform,
    UnsupportedMediaType,
)
from orlop.model import mediatype
from orlop.model.digest import Digest
from orlop.model.limits import Limits
from orlop.model.manifest import Index, Manifest, parse, require_image, select
from orlop.model.platform import Platform

if TYPE_CHECKING:
    from orlop.model.descriptor import Descriptor

AMD64 = Platform("linux", "amd64")


def entry(name: str, media_type: str, **more: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(name.encode())), "size": 7, **more}


def image(**changes: object) -> dict[str, object]:
    """An OCI manifest; a change to ``...`` removes the field."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": entry("config", mediatype.OCI_CONFIG),
        "layers": [
            entry("layer 0", mediatype.OCI_LAYER_GZIP),
            entry("layer 1", mediatype.OCI_LAYER_ZSTD),
        ],
    }
    return {k: v for k, v in (document | changes).items() if v is not ...}


def docker(**changes: object) -> dict[str, object]:
    return (
        image(
            mediaType=mediatype.DOCKER_MANIFEST,
            config=entry("config", mediatype.DOCKER_CONFIG),
            layers=[entry("layer 0", mediatype.DOCKER_LAYER_GZIP)],
        )
        | changes
    )


def index(*manifests: dict[str, object], **changes: object) -> dict[str, object]:
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_INDEX,
        "manifests": list(manifests),
    }
    return {k: v for k, v in (document | changes).items() if v is not ...}


def child(name: str, platform: str = "", **more: object) -> dict[str, object]:
    if platform:
        system, architecture, *variant = platform.split("/")
        spec = {"os": system, "architecture": architecture}
        more["platform"] = spec | ({"variant": variant[0]} if variant else {})
    return entry(name, mediatype.OCI_MANIFEST) | more


def dumps(document: dict[str, object]) -> bytes:
    return json.dumps(document).encode()


def read(document: dict[str, object], media_type: str = "", **limits: int) -> Manifest | Index:
    return parse(dumps(document), media_type=media_type, limits=Limits(**limits))


def read_image(document: dict[str, object], media_type: str = "") -> Manifest:
    manifest = read(document, media_type)
    assert isinstance(manifest, Manifest)
    return manifest


def chosen(document: dict[str, object], wanted: Platform = AMD64) -> Digest:
    return chosen_entry(document, wanted).digest


def chosen_entry(document: dict[str, object], wanted: Platform) -> Descriptor:
    parsed = read(document)
    assert isinstance(parsed, Index)
    return select(parsed, wanted)


# What is read.


@pytest.mark.parametrize("given", ["", "application/json", mediatype.OCI_MANIFEST])
def test_oci_manifest(given: str) -> None:
    raw = dumps(image(annotations={"k": "v"}, subject=child("subject"), extra=1))
    manifest = parse(raw, media_type=given)
    assert isinstance(manifest, Manifest)
    assert manifest.raw == raw
    assert manifest.digest == Digest.of(raw)
    assert manifest.media_type == mediatype.OCI_MANIFEST
    assert manifest.config.digest == Digest.of(b"config")
    assert [layer.digest for layer in manifest.layers] == [
        Digest.of(b"layer 0"),
        Digest.of(b"layer 1"),
    ]
    assert manifest.annotations == {"k": "v"}
    require_image(manifest)


def test_docker_manifest() -> None:
    manifest = read_image(docker(), mediatype.DOCKER_MANIFEST)
    assert manifest.media_type == mediatype.DOCKER_MANIFEST
    require_image(manifest)


@pytest.mark.parametrize("given", [mediatype.OCI_INDEX, ""])
def test_oci_index(given: str) -> None:
    raw = dumps(index(child("a", "linux/amd64"), child("b"), annotations={"k": "v"}))
    parsed = parse(raw, media_type=given)
    assert isinstance(parsed, Index)
    assert parsed.raw == raw
    assert parsed.digest == Digest.of(raw)
    assert [m.platform for m in parsed.manifests] == [AMD64, None]
    assert parsed.annotations == {"k": "v"}


def test_docker_manifest_list() -> None:
    parsed = read(index(mediaType=mediatype.DOCKER_MANIFEST_LIST), mediatype.DOCKER_MANIFEST_LIST)
    assert isinstance(parsed, Index)
    assert parsed.media_type == mediatype.DOCKER_MANIFEST_LIST


def test_the_digest_is_of_the_algorithm_that_was_asked_for() -> None:
    raw = dumps(image())
    assert parse(raw, media_type="", algorithm="sha512").digest == Digest.of(raw, "sha512")


@pytest.mark.parametrize(
    ("document", "given", "kind"),
    [
        (image(mediaType=...), "", mediatype.OCI_MANIFEST),
        (image(mediaType=...), mediatype.OCI_MANIFEST, mediatype.OCI_MANIFEST),
        (docker(mediaType=None), mediatype.DOCKER_MANIFEST, mediatype.DOCKER_MANIFEST),
        (index(mediaType=...), "", mediatype.OCI_INDEX),
        (index(mediaType=...), mediatype.DOCKER_MANIFEST_LIST, mediatype.DOCKER_MANIFEST_LIST),
        (docker(), "text/plain", mediatype.DOCKER_MANIFEST),
        (image(mediaType=..., schemaVersion=...), "", mediatype.OCI_MANIFEST),
    ],
)
def test_a_missing_media_type_is_inferred(
    document: dict[str, object], given: str, kind: str
) -> None:
    assert read(document, given).media_type == kind


@pytest.mark.parametrize("layers", [[], None])
def test_an_image_may_have_no_layers(layers: object) -> None:
    assert read_image(image(layers=layers)).layers == ()


def test_the_same_layer_may_occur_twice() -> None:
    layer = entry("empty", mediatype.OCI_LAYER_GZIP)
    assert len(read_image(image(layers=[layer, layer])).layers) == 2


# Which kind a document is: threat M04.


@pytest.mark.parametrize(
    ("document", "given"),
    [
        pytest.param(image(manifests=[]), "", id="manifests in a manifest"),
        pytest.param(image(manifests=None), "", id="even null"),
        pytest.param(index(layers=[]), "", id="layers in an index"),
        pytest.param(index(config=entry("c", "x/y")), "", id="config in an index"),
        pytest.param(image(mediaType=mediatype.OCI_INDEX), "", id="manifest says index"),
        pytest.param(index(mediaType=mediatype.OCI_MANIFEST), "", id="index says manifest"),
        pytest.param(image(mediaType=...), mediatype.OCI_INDEX, id="manifest came as index"),
        pytest.param(index(mediaType=...), mediatype.OCI_MANIFEST, id="index came as manifest"),
        pytest.param(image(), mediatype.DOCKER_MANIFEST, id="OCI came as Docker"),
        pytest.param(docker(), mediatype.OCI_MANIFEST, id="Docker came as OCI"),
    ],
)
def test_ambiguous_documents(document: dict[str, object], given: str) -> None:
    with pytest.raises(ManifestAmbiguous):
        read(document, given)


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        (image(layers=...), "neither manifests nor layers"),
        ({}, "neither manifests nor layers"),
        (image(config=...), r"manifest\.config is missing"),
        (image(config=None), r"manifest\.config is missing"),
        (image(config=[]), r"manifest\.config is no object"),
        (image(layers={}), r"manifest\.layers is no list"),
        (image(layers=[entry("x", "a/b", size=-1)]), r"manifest\.layers\[0\]\.size is -1"),
        (image(schemaVersion=3), "schemaVersion is 3, not 2"),
        (image(schemaVersion=1), "schemaVersion is 1, not 2"),
        (image(schemaVersion="2"), "schemaVersion is no whole number"),
        (image(mediaType=5), r"manifest\.mediaType is no string"),
        (image(annotations={"k": 1}), "no string"),
        (image(Layers=[]), "'Layers' where only 'layers'"),
        (image(MANIFESTS=[]), "'MANIFESTS' where only 'manifests'"),
        (index(child("a", size=0)), r"manifests\[0\]\.size is 0"),
        (image(config=entry("c", mediatype.OCI_CONFIG, size=0)), r"config\.size is 0"),
    ],
)
def test_invalid_documents(document: dict[str, object], cause: str) -> None:
    with pytest.raises(ManifestInvalid, match=cause):
        read(document)


@pytest.mark.parametrize(
    ("document", "given"),
    [
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, mediatype.DOCKER_SCHEMA1_SIGNED),
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, mediatype.DOCKER_SCHEMA1),
        ({"schemaVersion": 1, "fsLayers": []}, "application/json"),
        ({"schemaVersion": 1, "name": "library/app"}, ""),
        (image(mediaType=mediatype.DOCKER_SCHEMA1), ""),
        (image(fsLayers=[]), ""),
    ],
)
def test_schema_1_is_refused_by_name(document: dict[str, object], given: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="schema 1") as caught:
        read(document, given)
    assert "push the image again" in caught.value.hint


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.artifact.manifest.v1+json",
        "application/vnd.oci.image.config.v1+json",
        "text/html",
    ],
)
def test_other_kinds_are_unsupported(media_type: str) -> None:
    with pytest.raises(UnsupportedMediaType, match="is no manifest or index"):
        read(image(mediaType=...), media_type)
    with pytest.raises(UnsupportedMediaType, match="is no manifest or index"):
        read(image(mediaType=media_type))


@pytest.mark.parametrize("own", ["application/json", "application/octet-stream"])
def test_a_document_must_know_what_it_is(own: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        read(image(mediaType=own))


# How much a document may hold: threats M06 and M07.


def test_the_length_is_checked_before_anything_is_read() -> None:
    raw = dumps(image())
    parse(raw, media_type="", limits=Limits(manifest_bytes=len(raw)))
    with pytest.raises(LimitExceeded) as caught:
        parse(raw + b"{", media_type="", limits=Limits(manifest_bytes=len(raw)))
    assert caught.value.limit == "manifest_bytes"


def test_layers_are_counted() -> None:
    layer = entry("layer", mediatype.OCI_LAYER)
    assert len(read_image(image(layers=[layer] * 500)).layers) == 500
    with pytest.raises(LimitExceeded, match="501 entries, more than 500") as caught:
        read(image(layers=[layer] * 501))
    assert caught.value.limit == "layers"


def test_manifests_are_counted() -> None:
    read(index(*[child("a")] * 2048))
    with pytest.raises(LimitExceeded) as caught:
        read(index(*[child("a")] * 2049))
    assert caught.value.limit == "descriptors"


# One digest is one thing: threat M17.


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        (
            image(layers=[entry("config", mediatype.OCI_LAYER)]),
            r"layers\[0\] is the config",
        ),
        (
            image(layers=[entry("x", mediatype.OCI_CONFIG)]),
            r"layers\[0\] has the media type .* of a config",
        ),
        (
            image(config=entry("c", mediatype.OCI_LAYER)),
            "config has the media type .* of a layer",
        ),
        (
            image(layers=[entry("x", mediatype.OCI_LAYER), entry("x", mediatype.OCI_LAYER_GZIP)]),
            "two media types",
        ),
        (
            image(
                layers=[entry("x", mediatype.OCI_LAYER), entry("x", mediatype.OCI_LAYER, size=8)]
            ),
            "two sizes",
        ),
        (index(child("a", "linux/amd64"), child("a", "linux/arm64", size=8)), "two sizes"),
        (
            index(child("a"), child("a", mediaType=mediatype.OCI_INDEX)),
            "two media types",
        ),
    ],
)
def test_contradictions(document: dict[str, object], cause: str) -> None:
    with pytest.raises(ManifestInvalid, match=cause):
        read(document)


# What is no image: threats M13 and M14.


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        (
            image(config=entry("c", "application/vnd.cncf.helm.config.v1+json")),
            "artifact with a config of type 'application/vnd.cncf.helm",
        ),
        (
            image(
                config=entry("{}", mediatype.OCI_EMPTY),
                layers=[entry("{}", mediatype.OCI_EMPTY)],
                artifactType="application/vnd.example.sbom",
            ),
            "artifact of type 'application/vnd.example.sbom'",
        ),
        (image(artifactType="application/x"), "artifact of type 'application/x'"),
        (image(config=entry("c", "application/vnd.wasm.config.v0+json")), "config of type"),
        (image(config=entry("c", mediatype.OCTET_STREAM)), "config of type"),
        (image(layers=[entry("l", "application/vnd.erofs.layer.v1")]), "no file system layer"),
        (image(layers=[entry("l", f"{mediatype.OCI_LAYER_GZIP}+encrypted")]), "encrypted"),
    ],
)
def test_artifacts_parse_but_are_no_images(document: dict[str, object], cause: str) -> None:
    manifest = read_image(document)
    with pytest.raises(UnsupportedMediaType, match=cause):
        require_image(manifest)


def test_images_may_carry_their_config_type_as_artifact_type() -> None:
    require_image(read_image(image(artifactType=mediatype.OCI_CONFIG)))


def test_old_docker_configs_have_a_generic_type() -> None:
    require_image(read_image(docker(config=entry("c", mediatype.OCTET_STREAM))))


# Which entry of an index is taken: threat M09.


@pytest.mark.parametrize(
    ("platforms", "wanted", "position"),
    [
        (["linux/arm64", "linux/amd64"], "linux/amd64", 1),
        (["linux/amd64", "linux/amd64"], "linux/amd64", 0),
        (["linux/386", "linux/amd64"], "linux/amd64", 1),
        (["linux/386", "linux/arm64"], "linux/amd64", 0),
        (["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], "linux/amd64/v2", 1),
        (["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], "linux/arm/v7", 1),
        (["linux/arm64/v8"], "linux/arm64", 0),
        (["windows/amd64", "Linux/x86_64"], "linux/amd64", 1),
        (["unknown/unknown", "linux/amd64"], "linux/amd64", 1),
    ],
)
def test_select_takes_the_best_then_the_first(
    platforms: list[str], wanted: str, position: int
) -> None:
    document = index(*(child(str(n), platform) for n, platform in enumerate(platforms)))
    assert chosen(document, Platform.parse(wanted)) == Digest.of(str(position).encode())


def test_select_takes_an_entry_without_platform_last() -> None:
    assert chosen(index(child("none"), child("386", "linux/386"))) == Digest.of(b"386")
    assert chosen(index(child("arm", "linux/arm64"), child("none"))) == Digest.of(b"none")


def test_select_may_answer_an_index() -> None:
    nested = child("nested", mediaType=mediatype.OCI_INDEX)
    assert chosen_entry(index(nested), AMD64).media_type == mediatype.OCI_INDEX


@pytest.mark.parametrize(
    "other",
    [
        child("attestation", "unknown/unknown"),
        child(
            "attestation",
            "linux/amd64",
            annotations={"vnd.docker.reference.type": "attestation-manifest"},
        ),
        child("artifact", "linux/amd64", artifactType="application/x"),
        child("schema 1", "linux/amd64", mediaType=mediatype.DOCKER_SCHEMA1),
        child("blob", mediaType="application/octet-stream"),
        entry(
            "x",
            mediatype.OCI_MANIFEST,
            platform={"os": "linux", "architecture": "amd64", "os.features": ["x"]},
        ),
    ],
)
def test_select_never_takes_what_is_no_image_for_the_machine(other: dict[str, object]) -> None:
    assert chosen(index(other, child("image", "linux/amd64"))) == Digest.of(b"image")
    with pytest.raises(NoMatchingPlatform):
        chosen(index(other))


def test_the_message_tells_what_there_is() -> None:
    offered = index(child("a", "linux/s390x"), child("b", "windows/amd64"))
    with pytest.raises(NoMatchingPlatform, match="no manifest for platform linux/amd64") as caught:
        chosen(offered)
    assert caught.value.hint == "it offers 'linux/s390x, windows/amd64'"


@pytest.mark.parametrize("manifests", [[], None])
def test_an_empty_index_says_so(manifests: object) -> None:
    with pytest.raises(NoMatchingPlatform) as caught:
        chosen(index(manifests=manifests))
    assert caught.value.hint == "it lists no image at all"


def test_documents_can_be_in_sets_and_keep_their_bytes_out_of_messages() -> None:
    manifest = read_image(image())
    assert len({manifest, read_image(image())}) == 1
    assert "schemaVersion" not in repr(manifest)
