"""Marks of damage: whom they hide, and when they go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.model.labels import SNAPSHOT_MANIFEST
from orlop.ports.metadata import Damage

if TYPE_CHECKING:
    from orlop.metadata.store import MetadataStore
    from tests.unit.metadata.conftest import Samples

NAMESPACE = "k8s.io"
NONE = Damage()


async def published(store: MetadataStore, samples: Samples) -> None:
    """Two images, of which one stands on the other's snapshot."""
    await store.publish(NAMESPACE, samples.publication("base"))
    upper = samples.snapshot("upper", 2, parent="base.chain")
    image = samples.publication("app")
    record = replace(image.record, chain_id="upper")
    await store.publish(NAMESPACE, replace(image, snapshots=[upper], record=record))


async def test_a_tree_hides_what_stands_on_it(store: MetadataStore, samples: Samples) -> None:
    await published(store, samples)
    base = await store.snapshot(NAMESPACE, "overlayfs", "base.chain")
    assert base is not None

    await store.note_damage(Damage(trees=frozenset({("overlayfs", 2)})), NONE)
    assert {id_ for id_, _ in await store.damaged_images(NAMESPACE)} == {
        str(samples.publication("app").record.id)
    }
    await store.note_damage(Damage(trees=frozenset({("overlayfs", base.directory)})), NONE)
    assert len(await store.damaged_images(NAMESPACE)) == 2
    assert await store.damaged_images("elsewhere") == frozenset()

    await store.note_damage(NONE, await store.damage())
    assert await store.damage() == NONE
    assert await store.damaged_images(NAMESPACE) == frozenset()


async def test_documents_hide_an_image_and_layers_do_not(
    store: MetadataStore, samples: Samples
) -> None:
    await published(store, samples)
    image = samples.publication("base")
    for digest, hidden in ((image.record.id, 1), (image.record.manifest, 1)):
        await store.note_damage(Damage(blobs=frozenset({digest})), NONE)
        assert len(await store.damaged_images(NAMESPACE)) == hidden
        await store.note_damage(NONE, await store.damage())
    await store.put_blob(NAMESPACE, samples.blob("layer"))
    await store.note_damage(Damage(blobs=frozenset({samples.digest("layer")})), NONE)
    assert await store.damaged_images(NAMESPACE) == frozenset()


async def test_a_mark_goes_with_the_record(store: MetadataStore, samples: Samples) -> None:
    await published(store, samples)
    await store.put_blob(NAMESPACE, samples.blob("layer"))
    marked = Damage(frozenset({samples.digest("layer")}), frozenset({("overlayfs", 2)}))
    unknown = Damage(frozenset({samples.digest("unknown")}), frozenset({("overlayfs", 77)}))

    await store.note_damage(marked, NONE)
    await store.note_damage(unknown, NONE)
    assert await store.damage() == marked

    await store.remove_blob(NAMESPACE, samples.digest("layer"))
    await store.remove_snapshot(NAMESPACE, "overlayfs", "upper")
    assert await store.damage() == NONE


async def test_a_tree_that_was_made_again(store: MetadataStore, samples: Samples) -> None:
    await published(store, samples)
    old = await store.snapshot(NAMESPACE, "overlayfs", "base.chain")
    assert old is not None
    await store.publish("other", replace(samples.publication("base"), snapshots=[old]))
    await store.note_damage(Damage(trees=frozenset({("overlayfs", old.directory)})), NONE)
    before = await store.usage()

    new = replace(old, directory=50, bytes=old.bytes + 7, labels={"made": "again"})
    await store.publish(NAMESPACE, replace(samples.publication("base"), snapshots=[new]))

    for namespace in (NAMESPACE, "other"):
        found = await store.snapshot(namespace, "overlayfs", "base.chain")
        assert found is not None
        assert (found.directory, found.labels["made"]) == (50, "again")
    assert await store.damage() == NONE
    assert await store.directories("overlayfs") == {2, 50}
    assert (await store.usage()).bytes == before.bytes + 7


async def test_bytes_that_are_new_are_sound(store: MetadataStore, samples: Samples) -> None:
    await published(store, samples)
    image = samples.publication("base")
    await store.note_damage(Damage(blobs=frozenset({image.record.id})), NONE)

    await store.publish(NAMESPACE, image)
    assert await store.damage() != NONE
    await store.publish(NAMESPACE, replace(image, written=[image.record.id]))
    assert await store.damage() == NONE


async def test_a_tree_that_is_sound_stays(store: MetadataStore, samples: Samples) -> None:
    await published(store, samples)
    old = await store.snapshot(NAMESPACE, "overlayfs", "base.chain")
    assert old is not None
    new = replace(old, directory=50, labels={SNAPSHOT_MANIFEST: "of the other tree"})

    await store.publish(NAMESPACE, replace(samples.publication("base"), snapshots=[new]))

    found = await store.snapshot(NAMESPACE, "overlayfs", "base.chain")
    assert found is not None
    assert (found.directory, SNAPSHOT_MANIFEST in found.labels) == (old.directory, False)
