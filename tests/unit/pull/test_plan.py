"""What is missing, and what a pull makes visible."""

from __future__ import annotations

import pytest

from orlop.errors import UnsupportedMediaType
from orlop.model import labels
from orlop.model import manifest as manifests
from orlop.model.descriptor import Descriptor
from orlop.model.image import parse_config
from orlop.model.manifest import Index, Manifest
from orlop.model.mediatype import OCI_LAYER_GZIP, Compression
from orlop.model.reference import Reference, from_user
from orlop.ports.metadata import Publication, Usage
from orlop.pull.plan import Documents, Outcome, Plan, make, names_of, publication
from orlop.testing.images import BuiltImage, build_image, build_index, build_layer
from orlop.testing.layers import file

SAME = build_layer([file("same")])
IMAGE = build_image(
    [SAME, [file("b")], SAME], config={"config": {"User": "7:8"}}, compression=Compression.ZSTD
)
INDEX = build_index([build_image(platform="linux/arm64"), IMAGE])
REFERENCE = from_user("registry.example/team/app:v1")


def documents(image: BuiltImage = IMAGE, *, by_index: bool = False) -> Documents:
    manifest = manifests.parse(image.manifest, media_type=image.media_type)
    assert isinstance(manifest, Manifest)
    indexes: tuple[Index, ...] = ()
    target = image.descriptor
    if by_index:
        index = manifests.parse(INDEX.raw, media_type=INDEX.media_type)
        assert isinstance(index, Index)
        indexes, target = (index,), INDEX.descriptor
    return Documents(target, indexes, manifest, parse_config(image.config))


def plan(
    image: BuiltImage = IMAGE,
    *,
    blobs: set[int] | None = None,
    snapshots: set[int] | None = None,
    by_index: bool = False,
) -> Plan:
    """A plan with the layers of these positions present."""
    return make(
        documents(image, by_index=by_index),
        snapshotter="overlayfs",
        present_blobs={image.layers[at].digest for at in blobs or ()},
        present_snapshots={str(image.chain[at]) for at in snapshots or ()},
    )


def test_nothing_is_there() -> None:
    found = plan()
    assert [layer.position for layer in found.layers] == [0, 1, 2]
    assert [layer.parent for layer in found.layers] == ["", *map(str, IMAGE.chain[:2])]
    assert [layer.chain_id for layer in found.layers] == [str(one) for one in IMAGE.chain]
    assert [layer.diff_id for layer in found.layers] == list(IMAGE.diff_ids)
    assert [layer.compression for layer in found.layers] == [
        Compression.GZIP,
        Compression.ZSTD,
        Compression.GZIP,
    ]
    assert all(layer.fetch and layer.unpack for layer in found.layers)
    assert not found.complete
    assert found.chain_id == str(IMAGE.chain[-1])
    # The repeated layer travels once.
    assert found.fetch_bytes == len(SAME.blob) + len(IMAGE.layers[1].blob)


def test_everything_is_there() -> None:
    found = plan(blobs={0, 1}, snapshots={0, 1, 2})
    assert found.complete
    assert found.fetch_bytes == 0


def test_blobs_without_snapshots_and_the_other_way_round() -> None:
    found = plan(blobs={0})
    assert [(layer.fetch, layer.unpack) for layer in found.layers] == [
        (False, True),
        (True, True),
        (False, True),
    ]
    found = plan(snapshots={0, 1, 2})
    assert not found.complete
    assert not any(layer.unpack for layer in found.layers)


def test_a_snapshot_without_its_parents_does_not_count() -> None:
    found = plan(snapshots={0, 2})
    assert [layer.unpack for layer in found.layers] == [False, True, True]


def test_an_image_without_layers() -> None:
    found = plan(build_image())
    assert found.complete
    assert (found.layers, found.chain_id, found.fetch_bytes) == ((), "", 0)


def test_layers_that_cannot_be_unpacked() -> None:
    strange = IMAGE.manifest.replace(OCI_LAYER_GZIP.encode(), b"application/x-strange+squashfs")
    manifest = manifests.parse(strange, media_type=IMAGE.media_type)
    assert isinstance(manifest, Manifest)
    found = documents()
    with pytest.raises(UnsupportedMediaType):
        make(
            Documents(found.target, (), manifest, found.config),
            snapshotter="overlayfs",
            present_blobs=set(),
            present_snapshots=set(),
        )


DIGEST = IMAGE.digest
NAME = "registry.example/team/app"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"{NAME}:v1", (f"{NAME}:v1", f"{NAME}@{DIGEST}", str(IMAGE.id))),
        (f"{NAME}", (f"{NAME}:latest", f"{NAME}@{DIGEST}", str(IMAGE.id))),
        (f"{NAME}@{DIGEST}", (f"{NAME}@{DIGEST}", str(IMAGE.id))),
        (f"{NAME}:v1@{DIGEST}", (f"{NAME}@{DIGEST}", str(IMAGE.id))),
        ("app", ("docker.io/library/app:latest", f"docker.io/library/app@{DIGEST}", str(IMAGE.id))),
    ],
)
def test_names(text: str, names: tuple[str, ...]) -> None:
    assert names_of(from_user(text), IMAGE.descriptor, IMAGE.id) == names


def test_names_with_an_index() -> None:
    """The digest in the name is that of what the registry was asked for."""
    assert names_of(REFERENCE, INDEX.descriptor, IMAGE.id)[1] == f"{NAME}@{INDEX.digest}"


def published(of: Plan, outcome: Outcome, reference: Reference = REFERENCE) -> Publication:
    return publication(of, outcome, reference=reference, present_bytes=1000, synced=True, now=1_700)


def outcome(of: Plan) -> Outcome:
    missing = [layer for layer in of.layers if layer.unpack]
    return Outcome(
        {layer.chain_id: 40 + layer.position for layer in missing},
        {layer.chain_id: Usage(100 + layer.position, 3) for layer in missing},
    )


def test_the_record() -> None:
    of = plan(snapshots={0})
    record = published(of, outcome(of)).record
    assert (record.id, record.manifest) == (IMAGE.id, IMAGE.digest)
    assert (record.platform, record.user, record.synced) == ("linux/amd64", "7:8", True)
    assert (record.snapshotter, record.chain_id) == ("overlayfs", str(IMAGE.chain[-1]))
    assert record.unpacked_bytes == 1000 + 101 + 102
    assert record.content_bytes == sum(
        map(len, (IMAGE.manifest, IMAGE.config, SAME.blob, IMAGE.layers[1].blob))
    )
    assert record.created_at == 1_700


def test_the_snapshots() -> None:
    of = plan(snapshots={0})
    first, second = published(of, outcome(of)).snapshots
    assert (first.key, first.parent) == (str(IMAGE.chain[1]), str(IMAGE.chain[0]))
    assert (second.key, second.parent) == (str(IMAGE.chain[2]), str(IMAGE.chain[1]))
    assert (first.directory, first.bytes, first.inodes) == (41, 101, 3)
    assert {one.kind for one in (first, second)} == {"committed"}
    assert first.labels == {labels.SNAPSHOT_REF: str(IMAGE.chain[1])}


def test_the_blobs_and_what_they_refer_to() -> None:
    of = plan(by_index=True)
    blobs = {blob.digest: blob for blob in published(of, outcome(of)).blobs}
    assert set(blobs) == {
        INDEX.digest,
        IMAGE.digest,
        IMAGE.id,
        SAME.digest,
        IMAGE.layers[1].digest,
    }
    source = {labels.distribution_source("registry.example"): "team/app"}
    assert all(source.items() <= blob.labels.items() for blob in blobs.values())
    assert blobs[INDEX.digest].size == len(INDEX.raw)
    # Only the platform that was pulled keeps its manifest.
    assert blobs[INDEX.digest].labels == source | {labels.gc_ref_manifest(1): str(IMAGE.digest)}
    assert blobs[IMAGE.digest].labels == source | {
        labels.GC_REF_CONFIG: str(IMAGE.id),
        labels.gc_ref_layer(0): str(SAME.digest),
        labels.gc_ref_layer(1): str(IMAGE.layers[1].digest),
        labels.gc_ref_layer(2): str(SAME.digest),
    }
    assert blobs[IMAGE.id].labels == source | {
        labels.gc_ref_snapshot("overlayfs"): str(IMAGE.chain[-1])
    }
    assert blobs[SAME.digest].labels == source | {labels.UNCOMPRESSED: str(SAME.diff_id)}
    for blob in blobs.values():
        labels.validate(blob.labels)


def test_the_names() -> None:
    of = plan(by_index=True)
    names = published(of, outcome(of)).names
    assert [name.name for name in names] == [
        f"{NAME}:v1",
        f"{NAME}@{INDEX.digest}",
        str(IMAGE.id),
    ]
    for name in names:
        assert (name.target.digest, name.target.size) == (INDEX.digest, len(INDEX.raw))
        assert name.image_id == IMAGE.id
        assert name.labels == {labels.CRI_IMAGE: labels.CRI_IMAGE_MANAGED}


def test_what_an_image_without_layers_publishes() -> None:
    of = plan(build_image())
    found = published(of, Outcome())
    assert found.snapshots == []
    assert (found.record.chain_id, found.record.unpacked_bytes) == ("", 1000)
    config = next(blob for blob in found.blobs if blob.digest == found.record.id)
    assert not [key for key in config.labels if "snapshot" in key]


def test_the_documents_by_digest() -> None:
    found = documents(by_index=True).raw()
    assert found == {
        INDEX.digest: INDEX.raw,
        IMAGE.digest: IMAGE.manifest,
        IMAGE.id: IMAGE.config,
    }
    assert isinstance(documents().target, Descriptor)


def test_layers_that_are_not_kept() -> None:
    """They are fetched to be unpacked only, and neither counted nor referred to."""
    found = make(
        documents(),
        snapshotter="overlayfs",
        present_blobs={IMAGE.layers[1].digest},
        present_snapshots={str(IMAGE.chain[0])},
        keep_layers=False,
    )
    assert [(layer.fetch, layer.unpack) for layer in found.layers] == [
        (False, False),
        (False, True),
        (True, True),
    ]
    usage = {layer.chain_id: Usage(1, 1) for layer in found.layers if layer.unpack}
    outcome = Outcome({chain_id: at for at, chain_id in enumerate(usage)}, usage)
    published = publication(
        found, outcome, reference=REFERENCE, present_bytes=0, synced=True, now=1
    )
    assert {blob.digest for blob in published.blobs} == {IMAGE.digest, IMAGE.id}
    manifest = next(blob for blob in published.blobs if blob.digest == IMAGE.digest)
    assert not any(key.startswith(labels.gc_ref_layer(0)[:-1]) for key in manifest.labels)
    assert published.record.content_bytes == len(IMAGE.manifest) + len(IMAGE.config)


def test_annotations_fit_into_labels() -> None:
    image = build_image([[file("f")]] * 70)
    found = plan(image)
    usage = {layer.chain_id: Usage(1, 1) for layer in found.layers}
    outcome = Outcome({chain_id: at for at, chain_id in enumerate(usage)}, usage)
    published = publication(
        found,
        outcome,
        reference=REFERENCE,
        present_bytes=0,
        synced=True,
        annotated=True,
        now=1,
    )
    lowest = published.snapshots[0].labels
    labels.validate(lowest)
    told = lowest[labels.SNAPSHOT_IMAGE_LAYERS].split(",")
    assert told == [str(layer.digest) for layer in image.layers[: len(told)]]
    assert 50 < len(told) < 70
    assert lowest[labels.SNAPSHOT_IMAGE_REF] == str(REFERENCE)
