"""Images, names and the transaction that makes them visible."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidArgument, NotFound, OrlopError
from orlop.model import labels
from orlop.model.digest import Digest
from orlop.ports.metadata import BlobRecord, ImageName, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.metadata.store import MetadataStore
    from orlop.ports.metadata import Publication
    from orlop.testing.manual_clock import ManualClock
    from tests.unit.metadata.conftest import Samples

NS = "k8s.io"


async def test_a_published_image_is_found_in_every_way(
    store: MetadataStore, samples: Samples, clock: ManualClock
) -> None:
    publication = samples.publication("a", "z:1", "a:1")
    await store.publish(NS, publication)
    (image,) = await store.images(NS)
    assert image.record == replace(publication.record, created_at=clock.now())
    assert [name.name for name in image.names] == ["a:1", "z:1"]
    assert image.names[0].created_at == image.names[0].updated_at == clock.now()
    assert await store.images_by_name(NS, "a:1") == [image]
    assert await store.images_by_id(NS, samples.digest("a")) == [image]
    assert await store.images_by_id_prefix(NS, samples.digest("a").hex[:5], 2) == [image]


async def test_nothing_is_found_elsewhere(store: MetadataStore, samples: Samples) -> None:
    await store.publish(NS, samples.publication("a", "a:1"))
    assert await store.images("other") == []
    assert await store.images_by_name("other", "a:1") == []
    assert await store.images_by_name(NS, "a") == []
    assert await store.images_by_id("other", samples.digest("a")) == []
    assert await store.images_by_id(NS, samples.digest("b")) == []
    assert await store.images_by_id_prefix(NS, samples.digest("b").hex, 2) == []


async def test_prefixes(store: MetadataStore, samples: Samples) -> None:
    words = [f"word{number}" for number in range(40)]
    for number, word in enumerate(words):
        await store.publish(NS, samples.publication(word, word, directory=number + 1))
    ids = sorted(samples.digest(word).hex for word in words)
    for prefix in ("0", "a", "f", "ff", ids[3], ids[-1][:63]):
        found = await store.images_by_id_prefix(NS, prefix, 100)
        assert [image.record.id.hex for image in found] == [
            id_ for id_ in ids if id_.startswith(prefix)
        ]
    assert len(await store.images_by_id_prefix(NS, ids[0][0], 1)) == 1
    assert [image.record.id.hex for image in await store.images(NS)] == ids


@pytest.mark.parametrize("missing", ["config", "manifest", "chain", "parent", "name"])
async def test_an_incomplete_publication_leaves_nothing(
    store: MetadataStore, samples: Samples, missing: str
) -> None:
    whole = samples.publication("a", "a:1")
    broken: dict[str, Publication] = {
        "config": replace(whole, blobs=whole.blobs[1:]),
        "manifest": replace(whole, blobs=[whole.blobs[0], whole.blobs[2]]),
        "chain": replace(whole, snapshots=[]),
        "parent": replace(whole, snapshots=[replace(whole.snapshots[0], parent="nobody")]),
        "name": replace(whole, names=[samples.name("b:1", "b")]),
    }
    with pytest.raises(NotFound, match=r"no record|not committed"):
        await store.publish(NS, broken[missing])
    assert await store.namespaces() == []
    assert (await store.usage()).bytes == 0
    await store.publish(NS, whole)


async def test_an_active_snapshot_is_no_chain(store: MetadataStore, samples: Samples) -> None:
    whole = samples.publication("a", "a:1")
    active = [replace(whole.snapshots[0], kind="active")]
    with pytest.raises(NotFound, match="not committed"):
        await store.publish(NS, replace(whole, snapshots=active))


async def test_an_image_without_layers_needs_no_snapshot(
    store: MetadataStore, samples: Samples
) -> None:
    whole = samples.publication("a", "a:1")
    record = replace(whole.record, chain_id="", unpacked_bytes=0)
    await store.publish(NS, replace(whole, snapshots=[], record=record))
    assert len(await store.images(NS)) == 1


async def test_publishing_again_merges_labels_and_keeps_records(
    store: MetadataStore, samples: Samples, clock: ManualClock
) -> None:
    first = samples.publication("a", "a:1")
    await store.publish(NS, first)
    clock.advance(1)
    blob = replace(first.blobs[0], labels={"new": "label"})
    snapshot = replace(first.snapshots[0], labels={"more": "labels"}, directory=99)
    await store.publish(NS, replace(first, blobs=[blob, *first.blobs[1:]], snapshots=[snapshot]))
    kept = await store.blob(NS, samples.digest("a"))
    assert kept is not None
    assert (kept.created_at, kept.updated_at) == (1000, clock.now())
    assert kept.labels == {"new": "label"}
    tree = await store.snapshot(NS, "overlayfs", "a.chain")
    assert tree is not None
    assert (tree.directory, tree.labels) == (1, {"more": "labels"})
    (image,) = await store.images(NS)
    assert (image.names[0].created_at, image.names[0].updated_at) == (1000, clock.now())


async def test_a_blob_has_one_size(store: MetadataStore, samples: Samples) -> None:
    await store.put_blob("other", samples.blob("a", size=7))
    with pytest.raises(InvalidArgument, match="7 bytes, not 100"):
        await store.publish(NS, samples.publication("a", "a:1"))


async def test_a_name_moves(store: MetadataStore, samples: Samples) -> None:
    await store.publish(NS, samples.publication("old", "x:latest", "x:1"))
    await store.publish(NS, samples.publication("new", "x:latest", directory=2))
    found = {
        image.record.id: [name.name for name in image.names] for image in await store.images(NS)
    }
    assert found == {samples.digest("old"): ["x:1"], samples.digest("new"): ["x:latest"]}
    await store.put_name(NS, samples.name("x:1", "new"))
    (image,) = await store.images(NS)
    assert image.record.id == samples.digest("new")
    assert await store.images_by_id(NS, samples.digest("old")) == []  # garbage now


async def test_a_name_needs_an_image(store: MetadataStore, samples: Samples) -> None:
    with pytest.raises(NotFound, match="x:1"):
        await store.put_name(NS, samples.name("x:1", "a"))


async def test_the_record_goes_with_the_last_name(store: MetadataStore, samples: Samples) -> None:
    await store.publish(NS, samples.publication("a", "a:1", "a:2"))
    assert await store.remove_name(NS, "a:1")
    assert len(await store.images(NS)) == 1
    assert not await store.remove_name(NS, "a:1")
    assert await store.remove_name(NS, "a:2")
    assert await store.images(NS) == []
    assert (await store.inventory(NS)).records == ()
    assert len(await store.blobs(NS)) == 3  # files and their records are the collector's


async def test_removing_an_image_removes_all_its_names(
    store: MetadataStore, samples: Samples
) -> None:
    await store.publish(NS, samples.publication("a", "a:1", "a:2"))
    await store.publish(NS, samples.publication("b", "b:1", directory=2))
    assert await store.remove_image(NS, samples.digest("a"))
    assert not await store.remove_image(NS, samples.digest("a"))
    (image,) = await store.images(NS)
    assert image.record.id == samples.digest("b")
    assert await store.images_by_name(NS, "a:2") == []


class Torn(tuple[Digest, ...]):
    """Ids, of which the last cannot be read."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Digest]:
        yield from list(super().__iter__())[:-1]
        raise InvalidArgument("torn")


async def test_names_and_images_are_removed_together_or_not_at_all(
    store: MetadataStore, samples: Samples
) -> None:
    await store.publish(NS, samples.publication("a", "a:1", "a:2"))
    await store.publish(NS, samples.publication("b", "b:1", directory=2))
    before = await store.inventory(NS)
    ids = (samples.digest("a"), samples.digest("b"))
    with pytest.raises(InvalidArgument):
        await store.remove_together(NS, names=["a:1"], ids=Torn(ids))
    assert await store.inventory(NS) == before
    assert await store.remove_together(NS, names=["b:1", "b:2"], ids=[samples.digest("a")])
    after = await store.inventory(NS)
    assert (after.records, after.names, after.revision) == ((), (), before.revision + 1)
    assert not await store.remove_together(NS, names=["b:1"], ids=ids)


async def test_an_id_in_two_snapshotters_is_two_images(
    store: MetadataStore, samples: Samples, clock: ManualClock
) -> None:
    await store.publish(NS, samples.publication("a", "a:1"))
    clock.advance(1)
    await store.publish(NS, samples.elsewhere("a", "a:1"))
    for images in (
        await store.images(NS),
        await store.images_by_name(NS, "a:1"),
        await store.images_by_id(NS, samples.digest("a")),
        await store.images_by_id_prefix(NS, samples.digest("a").hex[:9], 1),
    ):
        assert [image.record.snapshotter for image in images] == ["native", "overlayfs"]
    assert await store.remove_image(NS, samples.digest("a"))
    assert await store.images(NS) == []
    assert (await store.inventory(NS)).records == ()


async def test_an_image_is_removed_from_one_snapshotter(
    store: MetadataStore, samples: Samples
) -> None:
    """Its config does not refer to the other snapshot any more."""
    await store.publish(NS, samples.publication("a", "a:1"))
    await store.publish(NS, samples.elsewhere("a", "a:1"))
    assert not await store.remove_image(NS, samples.digest("a"), "erofs")
    assert await store.remove_image(NS, samples.digest("a"), "native")
    (image,) = await store.images_by_name(NS, "a:1")
    assert image.record.snapshotter == "overlayfs"
    config = await store.blob(NS, samples.digest("a"))
    assert config is not None
    assert config.labels == {labels.gc_ref_snapshot("overlayfs"): "a.chain"}
    assert await store.remove_image(NS, samples.digest("a"), "overlayfs")
    assert await store.images_by_name(NS, "a:1") == []


@pytest.mark.parametrize("how", ["image", "name"])
async def test_an_index_for_two_platforms(store: MetadataStore, samples: Samples, how: str) -> None:
    """Both images have its name; what goes with one of them is not referred to any more."""
    for directory, word in enumerate(("amd64", "arm64"), start=1):
        publication = samples.publication(word, directory=directory)
        own = ImageName(f"{word}:1", samples.index, samples.digest(word))
        shared = ImageName("app:1", samples.index, samples.digest(word))
        manifest = str(samples.digest(f"{word}.manifest"))
        nested = BlobRecord(
            samples.digest(f"{word}.index"), 5, {labels.gc_ref_manifest(0): manifest}
        )
        index = BlobRecord(
            samples.index.digest, 3, {labels.gc_ref_manifest(directory): str(nested.digest)}
        )
        await store.publish(
            NS,
            replace(publication, blobs=[*publication.blobs, nested, index], names=[own, shared]),
        )
    both = await store.images_by_name(NS, "app:1")
    assert {image.record.id for image in both} == {samples.digest("amd64"), samples.digest("arm64")}
    if how == "image":
        assert await store.remove_image(NS, samples.digest("amd64"))
    else:
        assert await store.remove_name(NS, "app:1")
        assert len(await store.images(NS)) == 2
        assert await store.remove_name(NS, "amd64:1")
    (left,) = await store.images(NS)
    assert left.record.id == samples.digest("arm64")
    kept = await store.blob(NS, samples.index.digest)
    assert kept is not None
    assert kept.labels == {labels.gc_ref_manifest(2): str(samples.digest("arm64.index"))}


async def test_the_list_follows_every_change(store: MetadataStore, samples: Samples) -> None:
    async def listed() -> dict[str, list[str]]:
        return {
            image.record.chain_id: [name.name for name in image.names]
            for image in await store.images(NS)
        }

    assert await listed() == {}
    await store.publish(NS, samples.publication("a", "a:1"))
    assert await listed() == {"a.chain": ["a:1"]}
    await store.put_name(NS, samples.name("a:2", "a"))
    assert await listed() == {"a.chain": ["a:1", "a:2"]}
    await store.publish(NS, samples.publication("b", "a:2", directory=2))
    assert await listed() == {"a.chain": ["a:1"], "b.chain": ["a:2"]}
    await store.remove_name(NS, "a:1")
    assert await listed() == {"b.chain": ["a:2"]}
    await store.remove_image(NS, samples.digest("b"))
    assert await listed() == {}
    (await store.images(NS)).append("a caller's list is its own")  # type: ignore[arg-type]
    assert await listed() == {}


@pytest.mark.parametrize("text", ["\ud800", "x" * 5000])
async def test_labels_and_names_that_cannot_be_stored(
    store: MetadataStore, samples: Samples, text: str
) -> None:
    await store.publish(NS, samples.publication("a", "a:1"))
    with pytest.raises(OrlopError):
        await store.put_name(NS, replace(samples.name("a:2", "a"), labels={"key": text}))
    with pytest.raises(InvalidArgument):
        await store.put_name(NS, samples.name("\ud800", "a"))
    assert len((await store.images(NS))[0].names) == 1


async def test_an_index_forgets_an_image_whatever_names_it_has_by_then(
    store: MetadataStore, samples: Samples
) -> None:
    """One platform was pulled by the index, and by its own digest afterwards."""
    for at, word in enumerate(("amd64", "arm64")):
        publication = samples.publication(word, directory=at + 1)
        label = {labels.gc_ref_manifest(at): str(publication.record.manifest)}
        index = BlobRecord(samples.index.digest, 3, label)
        own = ImageName(f"{word}:1", samples.index, samples.digest(word))
        await store.publish(
            NS, replace(publication, blobs=[*publication.blobs, index], names=[own])
        )
    record = (await store.images_by_id(NS, samples.digest("amd64")))[0].record
    target = Target("manifest", record.manifest, 1)
    await store.put_name(NS, ImageName("amd64:1", target, record.id))
    await store.remove_name(NS, "amd64:1")
    kept = await store.blob(NS, samples.index.digest)
    assert kept is not None
    assert list(kept.labels) == [labels.gc_ref_manifest(1)]
