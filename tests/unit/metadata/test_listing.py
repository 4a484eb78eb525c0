"""The list that is kept in memory: what the very next call sees."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import apsw

from orlop.metadata.listing import KEPT, Listings
from orlop.ports.metadata import Damage

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.metadata.store import MetadataStore
    from orlop.ports.metadata import ImageListing
    from tests.unit.metadata.conftest import Samples

NAMESPACE = "k8s.io"
NONE = Damage()


def names(listing: ImageListing) -> list[str]:
    return sorted(name.name for image in listing.images for name in image.names)


async def test_each_change_is_seen_by_the_next_call(store: MetadataStore, samples: Samples) -> None:
    assert names(await store.listing(NAMESPACE)) == []
    await store.publish(NAMESPACE, samples.publication("app", "app:1"))
    assert names(await store.listing(NAMESPACE)) == ["app:1"]
    await store.put_name(NAMESPACE, samples.name("app:2", "app"))
    assert names(await store.listing(NAMESPACE)) == ["app:1", "app:2"]
    await store.remove_name(NAMESPACE, "app:1")
    assert names(await store.listing(NAMESPACE)) == ["app:2"]
    await store.note_damage(Damage(blobs=frozenset({samples.digest("app")})), NONE)
    damaged = await store.listing(NAMESPACE)
    assert damaged.damaged == {(str(samples.digest("app")), "overlayfs")}
    await store.note_damage(NONE, await store.damage())
    assert (await store.listing(NAMESPACE)).damaged == frozenset()
    await store.remove_image(NAMESPACE, samples.digest("app"))
    assert names(await store.listing(NAMESPACE)) == []


async def test_it_stays_the_same_object_until_an_image_changes(
    store: MetadataStore, samples: Samples
) -> None:
    await store.publish(NAMESPACE, samples.publication("one", "one:1"))
    await store.publish(NAMESPACE, samples.publication("two", "two:1", directory=2))
    listing = await store.listing(NAMESPACE)
    await store.put_blob(NAMESPACE, samples.blob("unrelated"))
    await store.publish("other", samples.publication("three", "three:1", directory=3))
    assert await store.listing(NAMESPACE) is listing

    await store.put_name(NAMESPACE, samples.name("one:2", "one"))
    changed = await store.listing(NAMESPACE)
    kept = [image for image in changed.images if any(image is old for old in listing.images)]
    assert [image.record.id for image in kept] == [samples.digest("two")]


async def test_another_connection_is_seen(
    store: MetadataStore, samples: Samples, tmp_path: Path
) -> None:
    await store.publish(NAMESPACE, samples.publication("app", "app:1"))
    assert not (await store.listing(NAMESPACE)).damaged
    with closing(apsw.Connection(str(tmp_path / "db" / "meta.db"))) as other:
        row = ("blob", "", str(samples.digest("app")), 1)
        other.execute("INSERT INTO damage VALUES (?, ?, ?, ?)", row)
        assert len((await store.listing(NAMESPACE)).damaged) == 1


async def test_lists_of_a_few_namespaces_are_kept(store: MetadataStore, samples: Samples) -> None:
    spaces = [f"space{number}" for number in range(KEPT + 1)]
    for number, space in enumerate(spaces):
        app = samples.publication(f"app{number}", f"app:{number}", directory=number + 1)
        await store.publish(space, app)
    listings = Listings()

    async def read(space: str) -> ImageListing:
        return await store._database.read(lambda db: listings.read(db, space))

    first, second = await read(spaces[0]), await read(spaces[1])
    assert await read(spaces[0]) is first
    await read(spaces[2])
    assert await read(spaces[0]) is first
    assert await read(spaces[1]) is not second
    for number, space in enumerate(spaces * 2):
        assert names(await store.listing(space)) == [f"app:{number % len(spaces)}"]
