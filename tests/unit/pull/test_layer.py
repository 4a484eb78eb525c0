"""One layer: alone, on top of others, again, and away."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    ArchiveInvalid,
    DigestMismatch,
    LimitExceeded,
    StoreCorrupt,
    StoreFull,
    Unavailable,
)
from orlop.model.limits import DEFAULTS
from orlop.model.mediatype import Compression
from orlop.ports.metadata import Usage
from orlop.ports.observe import NOBODY
from orlop.ports.unpack import Unpacked
from orlop.pull.download import Download
from orlop.pull.flights import Flight, Flights
from orlop.pull.layer import Layer
from orlop.pull.pending import TreeState
from orlop.pull.plan import LayerPlan
from orlop.pull.processing import Step, StreamProcessor
from orlop.pull.processors import Processors
from orlop.pull.shared_lock import SharedLock
from orlop.pull.slots import Pool, Slots
from orlop.pull.traffic import SharedTraffic
from orlop.testing.manual_clock import ManualClock
from orlop.testing.memory_store import MemoryStore
from tests.unit.pull.rig import QUICK, Connection, Hands, ScriptedRemote, Trees, blob, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orlop.model.digest import Digest

CONTENTS = [os.urandom(200_000) for _ in range(3)]
LAYERS = [blob(content) for content in CONTENTS]


def planned(at: int) -> LayerPlan:
    return LayerPlan(
        position=at,
        descriptor=LAYERS[at],
        compression=Compression.NONE,
        diff_id=LAYERS[at].digest,
        chain_id=f"chain{at}",
        parent=f"chain{at - 1}" if at else "",
        fetch=True,
        unpack=True,
    )


@dataclass
class Bench:
    """Makes layers on one store and one staging."""

    store: MemoryStore
    trees: Trees
    stack: AsyncExitStack
    hands: Hands = field(default_factory=Hands)
    processors: Processors = field(default_factory=lambda: Processors(None, DEFAULTS))
    slots: Slots = field(default_factory=Slots)
    places: SharedLock = field(default_factory=SharedLock)
    downloads: Flights[Download] = field(default_factory=Flights)
    layers: Flights[Layer] = field(default_factory=Flights)

    async def download(self, at: int, *script: Connection) -> Flight[Download]:
        def make() -> Download:
            return Download(
                LAYERS[at], store=self.store, traffic=SharedTraffic(), slots=Slots(), terms=QUICK
            )

        flight = await self.stack.enter_async_context(self.downloads.join(at, make))
        self.stack.enter_context(flight.work.offered(ScriptedRemote(CONTENTS[at], list(script))))
        return flight

    async def layer(
        self, at: int, *script: Connection, below: Flight[Layer] | None = None, stored: bool = False
    ) -> Flight[Layer]:
        download = None if stored else await self.download(at, *script)

        def make() -> Layer:
            return Layer(
                planned(at),
                staging=self.trees,
                unpacker=self.hands,
                store=self.store,
                download=download,
                below=below,
                below_trees=(),
                processors=self.processors,
                slots=self.slots,
                places=self.places,
                observer=NOBODY,
                clock=ManualClock(),
            )

        return await self.stack.enter_async_context(self.layers.join(at, make))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    with MemoryStore(ManualClock()) as store:
        async with AsyncExitStack() as stack:
            yield (made := Bench(store, Trees(tmp_path), stack))
        assert made.trees.names() == []
        assert (len(made.downloads), len(made.layers)) == (0, 0)


def result(at: int) -> Digest:
    return LAYERS[at].digest


async def test_the_lowest_is_applied_directly(bench: Bench) -> None:
    layer = await (await bench.layer(0)).done()
    assert bench.hands.jobs == [(result(0), "direct")]
    assert layer.tree.usage == Usage(100, 2)
    assert layer.consumed == len(CONTENTS[0])
    assert bench.trees.names() == ["staging/1"]


async def test_others_do_not_wait_for_it(bench: Bench) -> None:
    gate = asyncio.Event()
    below = await bench.layer(0, Connection(gate=gate))
    above = await bench.layer(1, below=below)
    await until(lambda: above.work.consumed == len(CONTENTS[1]))
    await asyncio.sleep(0.005)
    assert "settle" not in bench.trees.log
    gate.set()
    layer = await above.done()
    assert bench.hands.jobs[0][0] == result(1) or bench.hands.jobs[0][0] == result(0)
    assert bench.trees.lowers == [(below.work.tree.staged.fs,)]
    assert layer.tree.usage == Usage(100, 2)


@pytest.mark.parametrize("told_by", ["worker", "settle"])
async def test_one_that_needs_the_layers_below(bench: Bench, told_by: str) -> None:
    if told_by == "worker":
        bench.hands.results[result(1), "overlay"] = Unpacked(needs_parent=True)
    else:
        bench.trees.settles = False
    below = await bench.layer(0)
    layer = await (await bench.layer(1, below=below)).done()
    assert [mode for diff_id, mode in bench.hands.jobs if diff_id == result(1)] == [
        "overlay",
        "direct",
    ]
    assert layer.tree.usage == Usage(999, 9)  # which no worker can count
    assert len(bench.trees.names()) == 2


async def test_a_snapshotter_of_copies_waits_for_the_parent(bench: Bench) -> None:
    bench.trees.independent_ = False
    gate = asyncio.Event()
    below = await bench.layer(0, Connection(gate=gate))
    above = await bench.layer(1, below=below)
    await asyncio.sleep(0.005)
    assert (result(1), "direct") not in bench.hands.jobs
    gate.set()
    assert (await above.done()).tree.usage == Usage(999, 9)
    assert bench.trees.log.count("settle") == 0


async def test_three_on_top_of_each_other(bench: Bench) -> None:
    below = None
    for at in range(3):
        below = await bench.layer(at, below=below)
    assert below is not None
    top = await below.done()
    assert bench.trees.lowers[-1] == (
        top.below.work.tree.staged.fs,  # type: ignore[union-attr]
        top.below.work.below.work.tree.staged.fs,  # type: ignore[union-attr]
    )


async def test_lower_trees_may_be_published_meanwhile(bench: Bench) -> None:
    """Another pull has published the layer below: it is found where it is now."""
    gate = asyncio.Event()
    below = await bench.layer(0)
    above = await bench.layer(1, Connection(gate=gate), below=below)
    tree = (await below.done()).tree
    async with bench.places.exclusive():
        bench.trees.publish([tree.staged])
        tree.state = TreeState.NAMED
    gate.set()
    await above.done()
    assert bench.trees.lowers == [(bench.trees.tree(tree.staged.directory),)]


async def test_lower_trees_that_another_pull_could_not_publish(bench: Bench) -> None:
    """Nobody knows whether they have been renamed already."""
    below = await bench.layer(0)
    (await below.done()).tree.state = TreeState.MOVING
    above = await bench.layer(1, below=below)
    with pytest.raises(Unavailable, match="could not publish"):
        await above.done()


async def test_places_hold_still_while_they_are_looked_up(bench: Bench) -> None:
    below = await bench.layer(0)
    await below.done()
    async with bench.places.exclusive():
        above = await bench.layer(1, below=below)
        await asyncio.sleep(0.01)
        assert "settle" not in bench.trees.log
    await above.done()


@pytest.mark.parametrize(
    "error", [ArchiveInvalid("broken"), DigestMismatch("diffID"), LimitExceeded("x", limit="y")]
)
async def test_wrong_bytes_are_to_blame(bench: Bench, error: Exception) -> None:
    """The archive is broken because its bytes are not the blob's: that is what is told."""
    bench.hands.results[result(0), "direct"] = error
    layer = await bench.layer(0, Connection(bytes(len(CONTENTS[0]))))
    with pytest.raises(DigestMismatch, match=r"not sha256"):
        await layer.done()


@pytest.mark.parametrize("error", [ArchiveInvalid("broken"), StoreFull("full")])
async def test_right_bytes_are_not_to_blame(bench: Bench, error: Exception) -> None:
    bench.hands.results[result(0), "direct"] = error
    layer = await bench.layer(0)
    with pytest.raises(type(error), match=str(error)):
        await layer.done()
    assert bench.trees.names() == [] or isinstance(error, StoreFull)


async def test_bytes_that_are_fetched_again_are_unpacked_again(bench: Bench) -> None:
    with bench.store.ingest(f"layer-{LAYERS[0].digest}") as ingest:
        ingest.write(bytes(1000))
    layer = await (await bench.layer(0)).done()
    assert bench.hands.jobs[-1] == (result(0), "direct")
    assert bench.trees.names() == [f"staging/{layer.tree.staged.directory}"]


async def test_from_the_store(bench: Bench) -> None:
    bench.store.blobs[LAYERS[0].digest] = CONTENTS[0]
    layer = await (await bench.layer(0, stored=True)).done()
    assert layer.consumed == len(CONTENTS[0])


async def test_a_damaged_blob_in_the_store(bench: Bench) -> None:
    bench.store.blobs[LAYERS[0].digest] = bytes(len(CONTENTS[0]))
    bench.hands.results[result(0), "direct"] = ArchiveInvalid("broken")
    layer = await bench.layer(0, stored=True)
    with pytest.raises(StoreCorrupt):
        await layer.done()


async def test_the_number_of_workers(bench: Bench) -> None:
    bench.slots = Slots(Pool(1))
    for at in range(3):
        bench.store.blobs[LAYERS[at].digest] = CONTENTS[at]
    flights = [await bench.layer(at, stored=True) for at in range(3)]
    await asyncio.wait([asyncio.ensure_future(one.done()) for one in flights])
    assert bench.hands.most == 1


async def test_who_waits_for_bytes_takes_no_worker(bench: Bench) -> None:
    bench.slots = Slots(Pool(1))
    slow = Slots(Pool(1))
    async with slow.taken():

        def make() -> Download:
            return Download(LAYERS[1], store=bench.store, traffic=SharedTraffic(), slots=slow)

        queued = await bench.stack.enter_async_context(bench.downloads.join(1, make))
        bench.stack.enter_context(queued.work.offered(ScriptedRemote(CONTENTS[1])))
        waiting = await bench.layer(1)
        async with asyncio.timeout(1):
            await (await bench.layer(0)).done()
    await waiting.done()


async def test_what_is_released(bench: Bench) -> None:
    for state, left in (
        (TreeState.STAGED, []),
        (TreeState.MOVING, []),
        (TreeState.NAMED, []),
        (TreeState.RECORDED, ["snapshots"]),
    ):
        for renamed in (False, True):
            async with bench.layers.join("own", lambda: bench_layer(bench)) as flight:
                layer = await flight.done()
                layer.tree.state = state
                if renamed or state in (TreeState.NAMED, TreeState.RECORDED):
                    bench.trees.publish([layer.tree.staged])
            assert [name.partition("/")[0] for name in bench.trees.names()] == (
                left if state is not TreeState.STAGED or not renamed else ["snapshots"]
            )
            for name in bench.trees.names():
                bench.trees.delete(int(name.partition("/")[2]))


def bench_layer(bench: Bench, *steps: Step) -> Layer:
    bench.store.blobs.setdefault(LAYERS[0].digest, CONTENTS[0])
    return Layer(
        replace(planned(0), steps=steps),
        staging=bench.trees,
        unpacker=bench.hands,
        store=bench.store,
        download=None,
        below=None,
        below_trees=(),
        processors=bench.processors,
        slots=bench.slots,
        places=bench.places,
        observer=NOBODY,
        clock=ManualClock(),
    )


async def test_a_parent_that_fails_is_the_cause(bench: Bench) -> None:
    bench.hands.results[result(0), "direct"] = ArchiveInvalid("the lowest is broken")
    below = await bench.layer(0)
    above = await bench.layer(1, below=below)
    with pytest.raises(ArchiveInvalid, match="the lowest"):
        await above.done()


async def test_five_hundred_layers_need_no_deep_stack(bench: Bench) -> None:
    bench.slots = Slots(Pool(4))
    below: Flight[Layer] | None = None
    for at in range(500):
        flight = await bench.stack.enter_async_context(
            bench.layers.join(f"deep{at}", lambda: bench_layer(bench))
        )
        await flight.done()
        if below is not None:
            below.hold()
            flight.work.below = below
        below = flight
    assert below is not None
    assert len(below.work._lower()) == 499


async def test_a_layer_goes_through_programs(bench: Bench) -> None:
    program = StreamProcessor("a", ("a/b",), "", "sh", ("-c", "cat; printf more"))
    layer = bench_layer(bench, Step(program, "a/b"))
    await layer.run()
    assert layer.consumed == len(CONTENTS[0])
    assert bench.hands.read == [len(CONTENTS[0]) + 4]
    await layer.release()


async def test_programs_see_no_blob_that_is_damaged(bench: Bench, tmp_path: Path) -> None:
    note = tmp_path / "note"
    step = Step(StreamProcessor("a", ("a/b",), "", "sh", ("-c", f"cat >{note}")), "a/b")
    bench.store.blobs[result(0)] = CONTENTS[1]
    layer = bench_layer(bench, step)
    with pytest.raises(StoreCorrupt):
        await layer.run()
    assert not note.exists()
    await layer.release()
