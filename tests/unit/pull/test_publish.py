"""The one step in which an image appears, and what becomes of it when it fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from orlop.errors import InvalidArgument, StoreFull, StoreIO, Unavailable
from orlop.linux.clock import SystemClock
from orlop.metadata.store import MetadataStore
from orlop.model import manifest as manifests
from orlop.model.image import parse_config
from orlop.model.manifest import Manifest
from orlop.model.reference import from_user
from orlop.ports.metadata import Usage
from orlop.pull.barrier import Barrier
from orlop.pull.pending import PendingBlob, PendingTree, TreeState
from orlop.pull.plan import Documents, make
from orlop.pull.publish import Finished, ImagePublisher
from orlop.pull.shared_lock import SharedLock
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import file
from orlop.testing.manual_clock import ManualClock
from orlop.testing.memory_store import MemoryStore
from tests.unit.pull.rig import Trees

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from orlop.ports.content import Ingest
    from orlop.ports.metadata import Metadata, Publication
    from orlop.testing.images import BuiltImage

SHARED = build_layer([file("shared")])
ONE = build_image([SHARED, [file("one")]])
OTHER = build_image([SHARED, [file("other")]])


class Disk(MemoryStore):
    """A blob store that may fail; says whether it was to sync."""

    failure: Exception | None = None
    synced: list[bool]

    def publish(self, ingests: Sequence[Ingest], *, synced: bool = False) -> None:
        self.synced.append(synced)
        if self.failure is not None:
            for ingest in ingests:
                ingest.close()
            raise self.failure
        super().publish(ingests, synced=synced)


class Records:
    """The database, which may fail before or after it has written."""

    def __init__(self, real: MetadataStore) -> None:
        self.real = real
        self.before: Exception | None = None
        self.after: Exception | None = None
        self.held: asyncio.Event | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    async def publish(self, namespace: str, publication: Publication) -> None:
        if self.held is not None:
            await self.held.wait()
        if self.before is not None:
            raise self.before
        await self.real.publish(namespace, publication)
        if self.after is not None:
            raise self.after


class Bench:
    """Everything that publishing needs, and finished pulls to publish."""

    def __init__(self, trees: Trees, disk: Disk, records: Records, *, sync: bool = True) -> None:
        self.trees, self.disk, self.records = trees, disk, records
        disk.synced = []
        self.syncs = 0
        self.publisher = ImagePublisher(
            store=disk,
            metadata=cast("Metadata", records),  # all but one method is the real one's
            barrier=Barrier(self._sync) if sync else None,
            places=SharedLock(),
            clock=ManualClock(),
        )
        self.blobs: dict[object, PendingBlob] = {}
        self.made: dict[str, PendingTree] = {}

    def _sync(self) -> None:
        self.syncs += 1

    def finished(self, image: BuiltImage) -> Finished:
        """A pull of ``image`` that has done all else; shares with the others."""
        manifest = manifests.parse(image.manifest, media_type=image.media_type)
        assert isinstance(manifest, Manifest)
        documents = Documents(image.descriptor, (), manifest, parse_config(image.config))
        plan = make(documents, snapshotter="plain", present_blobs=set(), present_snapshots=set())
        own = {**image.blobs, image.digest: image.manifest}
        for digest, data in own.items():
            if digest not in self.blobs:
                ingest = self.disk.ingest(str(digest))
                ingest.write(data)
                ingest.verify(digest, len(data))
                self.blobs[digest] = PendingBlob(f"blob {digest}")
                self.blobs[digest].opened(ingest)
        for layer in plan.layers:
            if layer.chain_id not in self.made:
                tree = PendingTree(self.trees.stage(()))
                tree.usage = Usage(10, 1)
                self.made[layer.chain_id] = tree
        return Finished(
            plan=plan,
            reference=from_user("registry.example/app:v1"),
            namespace="k8s.io",
            staging=self.trees,
            blobs=[self.blobs[digest] for digest in own],
            trees={layer.chain_id: self.made[layer.chain_id] for layer in plan.layers},
        )

    def states(self, image: BuiltImage) -> list[TreeState]:
        return [self.made[str(chain_id)].state for chain_id in image.chain]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    with Disk(SystemClock()) as disk:
        async with MetadataStore.open(str(tmp_path / "meta.db"), SystemClock()) as real:
            yield Bench(Trees(tmp_path / "trees"), disk, Records(real))


async def images(bench: Bench) -> int:
    return len(await bench.records.real.images("k8s.io"))


async def test_all_of_it(bench: Bench) -> None:
    await bench.publisher.wait_for_barrier()
    await bench.publisher.publish(bench.finished(ONE))
    assert bench.trees.names() == ["snapshots/1", "snapshots/2"]
    assert set(bench.disk.blobs) == {*ONE.blobs, ONE.digest}
    (found,) = await bench.records.real.images("k8s.io")
    assert (found.record.id, found.record.synced) == (ONE.id, True)
    assert found.record.unpacked_bytes == 20
    assert (bench.syncs, bench.disk.synced) == (1, [True])
    assert bench.states(ONE) == [TreeState.RECORDED] * 2


async def test_without_the_barrier(bench: Bench) -> None:
    bare = Bench(bench.trees, bench.disk, bench.records, sync=False)
    await bare.publisher.wait_for_barrier()
    await bare.publisher.publish(bare.finished(ONE))
    (found,) = await bench.records.real.images("k8s.io")
    assert not found.record.synced
    assert (bare.syncs, bare.disk.synced) == (0, [False])


async def test_two_pulls_that_share(bench: Bench) -> None:
    one, other = bench.finished(ONE), bench.finished(OTHER)
    await asyncio.gather(bench.publisher.publish(one), bench.publisher.publish(other))
    assert await images(bench) == 2
    assert len(bench.trees.names()) == 3
    records = await bench.records.real.images("k8s.io")
    assert {record.record.unpacked_bytes for record in records} == {20}


@pytest.mark.parametrize("listed", [True, False])
async def test_what_another_pull_has_published_is_not_written_again(
    bench: Bench, listed: bool
) -> None:
    asked: list[int] = []

    async def is_listed() -> bool:
        asked.append(await images(bench))
        return listed

    finished = replace(bench.finished(ONE), is_listed=is_listed)
    await bench.publisher.publish(finished)
    assert asked == []
    (first,) = await bench.records.real.images("k8s.io")
    await bench.publisher.publish(replace(finished, reference=from_user("registry.example/b:v1")))
    assert asked == [1]
    (second,) = await bench.records.real.images("k8s.io")
    assert (first == second) is listed


async def test_the_same_image_twice(bench: Bench) -> None:
    finished = bench.finished(ONE)
    await asyncio.gather(*(bench.publisher.publish(finished) for _ in range(3)))
    assert await images(bench) == 1
    assert bench.trees.names() == ["snapshots/1", "snapshots/2"]


async def test_a_tree_that_somebody_else_made_stays_unpublished(bench: Bench) -> None:
    """The same chain from other blobs: the first one's tree is the snapshot."""
    await bench.publisher.publish(bench.finished(ONE))
    double = PendingTree(bench.trees.stage(()))
    double.usage = Usage(77, 7)
    again = bench.finished(ONE)
    trees = {**again.trees, str(ONE.chain[0]): double}
    await bench.publisher.publish(
        Finished(again.plan, again.reference, again.namespace, again.staging, again.blobs, trees)
    )
    assert double.state is TreeState.STAGED
    assert "staging/3" in bench.trees.names()


async def test_trees_that_cannot_be_renamed(bench: Bench) -> None:
    one, other = bench.finished(ONE), bench.finished(OTHER)
    bench.trees.failures["publish second"] = StoreFull("full")
    with pytest.raises(StoreFull):
        await bench.publisher.publish(one)
    assert bench.states(ONE) == [TreeState.MOVING] * 2
    assert bench.disk.blobs == {}
    assert await images(bench) == 0
    # Who shares them cannot go on: nobody knows where they are.
    with pytest.raises(Unavailable, match="another pull"):
        await bench.publisher.publish(other)


async def test_blobs_that_cannot_be_published(bench: Bench) -> None:
    one, other = bench.finished(ONE), bench.finished(OTHER)
    bench.disk.failure = StoreFull("full")
    with pytest.raises(StoreFull):
        await bench.publisher.publish(one)
    assert bench.states(ONE) == [TreeState.NAMED] * 2
    assert await images(bench) == 0
    bench.disk.failure = None
    with pytest.raises(Unavailable, match="another pull"):
        await bench.publisher.publish(other)
    # What was not shared is still its maker's to close.
    own = bench.blobs[OTHER.layers[1].digest].ingest
    assert own is not None
    assert own.offset > 0


async def test_what_one_pull_has_named_the_next_one_records(bench: Bench) -> None:
    """The first one's transaction is refused for a reason of its own."""
    one, other = bench.finished(ONE), bench.finished(OTHER)
    bench.records.before = InvalidArgument("a blob is recorded with another size")
    with pytest.raises(InvalidArgument):
        await bench.publisher.publish(one)
    assert bench.states(ONE) == [TreeState.NAMED] * 2
    bench.records.before = None
    await bench.publisher.publish(other)
    assert bench.states(OTHER) == [TreeState.RECORDED] * 2
    assert bench.states(ONE) == [TreeState.RECORDED, TreeState.NAMED]
    (found,) = await bench.records.real.images("k8s.io")
    assert found.record.id == OTHER.id


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_disk_that_fails_in_the_transaction(bench: Bench, when: str) -> None:
    """Nobody knows whether it is durable: the trees stay, and the next start sees."""
    setattr(bench.records, when, StoreIO("fsync: I/O error"))
    with pytest.raises(StoreIO):
        await bench.publisher.publish(bench.finished(ONE))
    assert bench.states(ONE) == [TreeState.RECORDED] * 2


async def test_a_snapshot_that_was_removed_meanwhile(bench: Bench) -> None:
    finished = bench.finished(ONE)
    trees = dict(list(finished.trees.items())[1:])
    with pytest.raises(Unavailable, match="removed during the pull"):
        await bench.publisher.publish(
            Finished(
                finished.plan,
                finished.reference,
                finished.namespace,
                finished.staging,
                finished.blobs,
                trees,
            )
        )
    assert bench.trees.names() == ["staging/1", "staging/2"]


async def test_what_has_begun_goes_on_when_cancelled(bench: Bench) -> None:
    bench.records.held = asyncio.Event()
    publishing = asyncio.create_task(bench.publisher.publish(bench.finished(ONE)))
    await asyncio.sleep(0.02)
    publishing.cancel()
    await asyncio.sleep(0.005)
    assert not publishing.done()
    bench.records.held.set()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert await images(bench) == 1


async def test_who_waits_for_its_turn_can_be_cancelled(bench: Bench) -> None:
    bench.records.held = asyncio.Event()
    one, other = bench.finished(ONE), bench.finished(OTHER)
    first = asyncio.create_task(bench.publisher.publish(one))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(bench.publisher.publish(other))
    await asyncio.sleep(0.005)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert bench.blobs[OTHER.digest].ingest is not None  # its maker closes it
    bench.records.held.set()
    await first
    assert await images(bench) == 1
