"""Blobs, snapshots, leases and sums."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    SnapshotInUse,
    Unavailable,
)
from orlop.ports.metadata import Garbage, Lease, Resource, Usage

if TYPE_CHECKING:
    from orlop.metadata.store import MetadataStore
    from orlop.testing.manual_clock import ManualClock
    from tests.unit.metadata.conftest import Samples

NS = "k8s.io"
FS = "overlayfs"


# --- blobs ------------------------------------------------------------------------------------


async def test_blobs(store: MetadataStore, samples: Samples, clock: ManualClock) -> None:
    digests = [samples.digest(word) for word in "abc"]
    for word in "ab":
        await store.put_blob(NS, samples.blob(word, kind=word))
    found = await store.blobs(NS)
    assert [blob.digest for blob in found] == sorted(digests[:2], key=str)
    assert await store.known_blobs(NS, digests) == {
        digest: await store.blob(NS, digest) for digest in digests[:2]
    }
    assert await store.blob(NS, digests[2]) is None
    await store.put_blob("other", samples.blob("c"))
    assert await store.blob_digests() == set(map(str, digests))
    clock.advance(1)
    await store.put_blob(NS, samples.blob("a", more="labels"))
    merged = await store.blob(NS, digests[0])
    assert merged is not None
    assert merged.labels == {"kind": "a", "more": "labels"}
    assert (merged.created_at, merged.updated_at) == (1000, clock.now())


async def test_removing_a_blob_tells_when_it_was_the_last(
    store: MetadataStore, samples: Samples
) -> None:
    for namespace in (NS, "other"):
        await store.put_blob(namespace, samples.blob("a"))
    assert not await store.remove_blob(NS, samples.digest("a"))
    assert await store.remove_blob("other", samples.digest("a"))
    assert await store.namespaces() == []


async def test_a_long_label_is_refused(store: MetadataStore, samples: Samples) -> None:
    with pytest.raises(InvalidArgument, match="4096"):
        await store.put_blob(NS, samples.blob("a", key="x" * 4094))
    assert await store.blobs(NS) == []


# --- snapshots --------------------------------------------------------------------------------


async def test_a_chain_is_topmost_first(store: MetadataStore, samples: Samples) -> None:
    parent = ""
    for number in range(1, 6):
        await store.add_snapshot(NS, samples.snapshot(f"s{number}", number, parent=parent))
        parent = f"s{number}"
    chain = await store.chain(NS, FS, "s4")
    assert [one.key for one in chain] == ["s4", "s3", "s2", "s1"]
    assert await store.directories(FS) == {1, 2, 3, 4, 5}
    assert [one.key for one in await store.snapshots(NS)] == ["s1", "s2", "s3", "s4", "s5"]
    assert await store.snapshots(NS, "native") == []
    assert await store.directories("native") == set()


async def test_snapshots_with_a_label(store: MetadataStore, samples: Samples) -> None:
    """A value that looks like the key is none."""
    for directory, labels in enumerate(({"a.b": "1"}, {"a.b": ""}, {"a": '"a.b":'}, {}), 1):
        one = replace(samples.snapshot(f"s{directory}", directory), labels=labels)
        await store.add_snapshot(NS, one)
    assert [one.key for one in await store.snapshots(NS, FS, "a.b")] == ["s1", "s2"]
    assert [one.key for one in await store.snapshots(NS, label="a")] == ["s3"]
    assert not await store.snapshots(NS, "native", "a.b")
    assert len(await store.snapshots(NS)) == 4


async def test_what_snapshots_refuse(store: MetadataStore, samples: Samples) -> None:
    await store.add_snapshot(NS, samples.snapshot("a", 1))
    await store.add_snapshot(NS, samples.snapshot("b", 2, parent="a", kind="active"))
    with pytest.raises(AlreadyExists, match="a: the key is taken"):
        await store.add_snapshot(NS, samples.snapshot("a", 3))
    with pytest.raises(NotFound, match="nobody"):
        await store.add_snapshot(NS, samples.snapshot("c", 3, parent="nobody"))
    with pytest.raises(SnapshotInUse, match="a is the parent of b"):
        await store.remove_snapshot(NS, FS, "a")
    for key in ("nobody", ""):
        with pytest.raises(NotFound):
            await store.remove_snapshot(NS, FS, key)
        with pytest.raises(NotFound):
            await store.chain(NS, FS, key)
        with pytest.raises(NotFound):
            await store.label_snapshot(NS, FS, key, {})
    with pytest.raises(AlreadyExists):
        await store.commit_snapshot(NS, FS, "b", samples.snapshot("a", 2))
    with pytest.raises(NotFound, match="not active"):
        await store.commit_snapshot(NS, FS, "a", samples.snapshot("d", 1))
    assert await store.directories(FS) == {1, 2}


async def test_commit_replaces(store: MetadataStore, samples: Samples) -> None:
    await store.add_snapshot(
        NS, replace(samples.snapshot("w", 7, kind="active"), bytes=0, inodes=0)
    )
    await store.commit_snapshot(NS, FS, "w", samples.snapshot("done", 7))
    (record,) = await store.snapshots(NS)
    assert (record.key, record.kind, record.directory) == ("done", "committed", 7)
    assert await store.usage() == Usage(bytes=7000, inodes=7)


async def test_removing_and_labelling(
    store: MetadataStore, samples: Samples, clock: ManualClock
) -> None:
    await store.add_snapshot(NS, replace(samples.snapshot("a", 1), labels={"old": "1"}))
    clock.advance(1)
    labelled = await store.label_snapshot(NS, FS, "a", {"new": "2"})
    assert labelled.labels == {"new": "2"}
    assert (labelled.created_at, labelled.updated_at) == (1000, clock.now())
    assert await store.remove_snapshot(NS, FS, "a") == labelled
    assert await store.snapshot(NS, FS, "a") is None


# --- leases -----------------------------------------------------------------------------------


async def test_leases(store: MetadataStore) -> None:
    lease = await store.create_lease(NS, Lease("one", {"l": "1"}, expires_at=5))
    assert lease == Lease("one", {"l": "1"}, 1000, 5)
    assert await store.leases(NS) == [lease]
    with pytest.raises(AlreadyExists):
        await store.create_lease(NS, Lease("one"))
    resources = [Resource("content", "sha256:a"), Resource("snapshots", "overlayfs/k")]
    for resource in (*resources, resources[0]):
        await store.add_resource(NS, "one", resource)
    await store.create_lease(NS, Lease("two"))
    assert await store.resources(NS, "one") == resources
    assert await store.resources(NS, "two") == []
    await store.delete_lease(NS, "one")
    await store.create_lease(NS, Lease("one"))
    assert await store.resources(NS, "one") == []


async def test_leases_that_are_not_there(store: MetadataStore) -> None:
    for use in (
        store.delete_lease(NS, "x"),
        store.resources(NS, "x"),
        store.add_resource(NS, "x", Resource("content", "y")),
    ):
        with pytest.raises(NotFound, match="lease x"):
            await use


# --- sums, garbage ----------------------------------------------------------------------------


async def test_usage_counts_each_file_once(store: MetadataStore, samples: Samples) -> None:
    assert await store.usage() == Usage(bytes=0, inodes=0)
    for namespace in (NS, "other"):
        await store.publish(namespace, samples.publication("a", "a:1"))
    assert await store.usage() == Usage(bytes=300 + 1000, inodes=3 + 1)
    await store.remove_blob(NS, samples.digest("a.layer"))
    assert await store.usage() == Usage(bytes=1300, inodes=4)
    await store.remove_blob("other", samples.digest("a.layer"))
    assert await store.usage() == Usage(bytes=1200, inodes=3)


async def test_a_sweep_tells_what_may_be_deleted(store: MetadataStore, samples: Samples) -> None:
    await store.publish(NS, samples.publication("a", "a:1"))
    await store.publish(NS, samples.publication("b", "b:1", directory=2))
    await store.put_blob("other", samples.blob("a.layer"))
    await store.create_lease(NS, Lease("old"))
    await store.remove_image(NS, samples.digest("a"))
    inventory = await store.inventory(NS)
    assert [record.chain_id for record in inventory.records] == ["b.chain"]
    garbage = Garbage(
        records=[],
        blobs=[samples.digest("a"), samples.digest("a.layer"), samples.digest("gone")],
        snapshots=[(FS, "a.chain"), (FS, "gone")],
        leases=["old", "gone"],
        revision=inventory.revision,
    )
    swept = await store.sweep(NS, garbage)
    assert swept.blobs == (samples.digest("a"),)  # the other namespace has the layer
    assert swept.directories == ((FS, 1),)
    assert swept.bytes == 100 + 1000
    assert swept.directory_bytes == 1000
    assert await store.leases(NS) == []
    assert [one.key for one in await store.snapshots(NS)] == ["b.chain"]


async def test_a_sweep_may_name_a_parent_before_its_child(
    store: MetadataStore, samples: Samples
) -> None:
    await store.add_snapshot(NS, samples.snapshot("a", 1))
    await store.add_snapshot(NS, samples.snapshot("b", 2, parent="a"))
    now = (await store.inventory(NS)).revision
    with pytest.raises(SnapshotInUse, match="a is the parent of b"):
        await store.sweep(NS, Garbage([], [], [(FS, "a")], [], revision=now))
    assert len(await store.snapshots(NS)) == 2
    swept = await store.sweep(NS, Garbage([], [], [(FS, "a"), (FS, "b")], [], revision=now))
    assert set(swept.directories) == {(FS, 1), (FS, 2)}
    assert await store.usage() == Usage(bytes=0, inodes=0)


async def test_a_sweep_goes_by_its_own_inventory(store: MetadataStore, samples: Samples) -> None:
    old = await store.inventory(NS)
    await store.put_blob(NS, samples.blob("a"))
    new = await store.inventory(NS)  # somebody else's look does not make the old one valid
    with pytest.raises(Unavailable, match="changed"):
        await store.sweep(NS, Garbage([], [], [], [], revision=old.revision))
    await store.put_blob("other", samples.blob("a"))  # not this namespace's business
    await store.sweep(NS, Garbage([], [], [], [], revision=new.revision))


async def test_a_sweep_removes_names(store: MetadataStore, samples: Samples) -> None:
    await store.publish(NS, samples.publication("a", "a:1"))
    now = (await store.inventory(NS)).revision
    await store.sweep(NS, Garbage([], [], [], [], names=["a:1", "gone"], revision=now))
    left = await store.inventory(NS)
    assert (left.names, left.records) == ((), ())


async def test_many_at_once(store: MetadataStore, samples: Samples) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            word = f"w{number}"
            publication = samples.publication(word, word, directory=number + 1)
            tasks.create_task(store.publish(NS, publication))
            tasks.create_task(store.images(NS))
    assert len(await store.images(NS)) == 50


# --- who watches -------------------------------------------------------------------------------


async def test_watchers_are_told_of_changes(store: MetadataStore, samples: Samples) -> None:
    told: list[bool] = []

    def watcher(*, deletion: bool) -> None:
        told.append(deletion)

    with store.watched(watcher):
        await store.publish(NS, samples.publication("a", "one", "two"))
        await store.put_blob(NS, samples.blob("b"))
        await store.create_lease(NS, Lease("l"))
        await store.images(NS)
        assert told == [False, False, False]
        told.clear()
        await store.remove_name(NS, "one")
        await store.remove_image(NS, samples.digest("a"))
        await store.remove_blob(NS, samples.digest("b"))
        await store.delete_lease(NS, "l")
        await store.remove_snapshot(NS, FS, "a.chain")
        assert told == [True] * 5
        told.clear()
        now = (await store.inventory(NS)).revision
        await store.sweep(NS, Garbage([], [samples.digest("a.layer")], [], [], revision=now))
        assert told == []  # by whoever collects garbage
        with pytest.raises(NotFound):
            await store.delete_lease(NS, "l")
        assert told == [True]
    await store.put_blob(NS, samples.blob("b"))
    assert told == [True]
