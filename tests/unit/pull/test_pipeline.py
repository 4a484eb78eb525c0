"""Whole pulls with a fake registry and without a disk: sharing, watching, reporting."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import pytest

from orlop.errors import (
    ArchiveInvalid,
    DigestMismatch,
    RegistryRejected,
    Stalled,
    StoreFull,
    StoreIO,
)
from orlop.gc.collect import Collector
from orlop.linux.clock import SystemClock
from orlop.metadata.store import MetadataStore
from orlop.model.mediatype import Compression
from orlop.model.platform import Platform
from orlop.model.reference import from_user
from orlop.ports.observe import NOBODY, PullEnded, PullProgress
from orlop.ports.pull import PullRequest
from orlop.pull.barrier import Barrier
from orlop.pull.pipeline import Parts, Pipeline, PullSettings
from orlop.registry.client import RegistryClient
from orlop.registry.retry import RetryPolicy
from orlop.registry.settings import RegistrySettings
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault
from orlop.testing.images import BuiltImage, build_image, build_layer
from orlop.testing.layers import file
from orlop.testing.memory_store import MemoryStore
from tests.unit.pull.rig import Hands, Trees, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orlop.ports.metadata import Image
    from orlop.ports.snapshots import Snapshotter

IMAGE = build_image(
    [build_layer([file(name, os.urandom(300_000))], Compression.NONE) for name in "abc"]
)


@dataclass
class Ended:
    """An observer that remembers the ends of pulls."""

    events: list[PullEnded] = field(default_factory=list)
    started: list[str] = field(default_factory=list)

    def pull_started(self, reference: str) -> None:
        self.started.append(reference)

    def pull_ended(self, event: PullEnded) -> None:
        self.events.append(event)

    layer_unpacked = staticmethod(NOBODY.layer_unpacked)
    attribute_dropped = staticmethod(NOBODY.attribute_dropped)


@dataclass(frozen=True)
class Plain:
    """A snapshotter of which a pull needs the name and the staging only."""

    staging: Trees
    name: str = "plain"


@dataclass
class Bench:
    parts: Parts
    registry: FakeRegistry
    trees: Trees
    hands: Hands
    store: MemoryStore
    metadata: MetadataStore
    observer: Ended
    failures: dict[str, Exception]

    def pipeline(self, **settings: float) -> Pipeline:
        return Pipeline(self.parts, PullSettings(**settings))  # type: ignore[arg-type]

    def offer(self, image: BuiltImage = IMAGE, name: str = "app") -> PullRequest:
        for blob in image.blobs.values():
            self.registry.add_blob(blob)
        self.registry.add_manifest(name, "v1", image.manifest, image.media_type)
        return PullRequest(
            from_user(f"{self.registry.address}/{name}:v1"),
            Platform("linux", "amd64"),
            cast("Snapshotter", Plain(self.trees)),
            "k8s.io",
        )

    def asked(self, image: BuiltImage = IMAGE) -> list[str]:
        """Paths of the layers that were asked for, in order."""
        layers = {str(layer.digest) for layer in image.layers}
        paths = [request.path.rpartition("/")[2] for request in self.registry.requests]
        return [path for path in paths if path in layers]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = SystemClock()
    quick = RegistrySettings(retry=RetryPolicy(attempts=2, base=0.001, cap=0.002))
    failures: dict[str, Exception] = {}

    def sync() -> None:
        if "sync" in failures:
            raise failures["sync"]

    with MemoryStore(clock) as store:
        async with (
            FakeRegistry() as registry,
            MetadataStore.open(str(tmp_path / "meta.db"), clock) as metadata,
        ):
            trees, hands, observer = Trees(tmp_path / "trees"), Hands(), Ended()
            client = RegistryClient(quick, clock=clock)
            parts = Parts(
                registry=client,
                store=store,
                metadata=metadata,
                unpacker=hands,
                protector=Collector(
                    metadata, clock, delete_blob=store.delete, delete_directory=lambda *_: None
                ),
                observer=observer,
                clock=clock,
                barrier=Barrier(sync),
                free_bytes=lambda: 1 << 40,
            )
            yield Bench(parts, registry, trees, hands, store, metadata, observer, failures)
            await client.close()


async def test_a_pull(bench: Bench) -> None:
    pictures: list[PullProgress] = []
    request = bench.offer()
    image = await bench.pipeline().pull(request, pictures.append)
    assert image.record.id == IMAGE.id
    assert bench.trees.names() == ["snapshots/1", "snapshots/2", "snapshots/3"]
    last = pictures[-1]
    assert (last.phase, last.resolved, last.error) == ("done", IMAGE.digest, "")
    assert {layer.phase for layer in last.layers} == {"staged"}
    assert last.total == last.downloaded == sum(len(layer.blob) for layer in IMAGE.layers)
    (event,) = bench.observer.events
    assert (event.code, event.registry) == ("", bench.registry.address)
    assert (event.layers_downloaded, event.layers_present) == (3, 0)
    assert event.bytes_downloaded == last.total
    assert bench.observer.started == [str(request.reference)]


async def test_what_runs_is_to_be_seen(bench: Bench) -> None:
    bench.registry.fail(Fault(stall_at=100), path="/blobs/", times=None)
    pipeline = bench.pipeline()
    pulling = asyncio.create_task(pipeline.pull(bench.offer()))
    await until(lambda: [one for one in pipeline.pulls() if one.phase == "resolving"])
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    assert pipeline.pulls() == []
    assert bench.observer.events[0].code == "cancelled"


async def test_a_second_one_has_nothing_to_do(bench: Bench) -> None:
    pipeline, request = bench.pipeline(), bench.offer()
    first = await pipeline.pull(request)
    jobs = len(bench.hands.jobs)
    assert await pipeline.pull(request) == first
    assert len(bench.hands.jobs) == jobs
    assert bench.observer.events[1].layers_present == 3


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 2), (0, 3), (-1, 3)])
async def test_downloads_of_one_image(bench: Bench, limit: int, most: int) -> None:
    bench.registry.fail(Fault(delay=0.03), path="/blobs/", times=None)
    pipeline = bench.pipeline(concurrent_downloads=limit)
    assert await most_at_once(pipeline, bench.offer()) == most


async def test_downloads_of_all_images(bench: Bench) -> None:
    other = build_image([[file("x", os.urandom(100_000))]])
    bench.registry.fail(Fault(delay=0.03), path="/blobs/", times=None)
    pipeline = bench.pipeline(total_downloads=2)
    both = [bench.offer(), bench.offer(other, "other")]
    counts = await asyncio.gather(*(most_at_once(pipeline, one) for one in both))
    assert max(counts) == 2


async def test_new_limits_are_for_the_pulls_that_come(bench: Bench) -> None:
    bench.registry.fail(Fault(delay=0.03), path="/blobs/", times=None)
    pipeline = bench.pipeline(total_downloads=1)
    other = build_image([[file("x", os.urandom(100_000))] for _ in range(3)])
    first, second = bench.offer(), bench.offer(other, "other")
    running = asyncio.create_task(most_at_once(pipeline, first, own=True))
    await until(lambda: len(pipeline.pulls()) == 1)
    pipeline.reload(PullSettings(concurrent_downloads=2, progress_timeout=0))
    assert await most_at_once(pipeline, second, own=True) == 2
    assert await running == 1


async def most_at_once(pipeline: Pipeline, request: PullRequest, *, own: bool = False) -> int:
    """The largest number of layers that were downloading, of all pulls or of the ``own`` one."""
    most = 0
    pulling = asyncio.create_task(pipeline.pull(request))
    while not pulling.done():
        pulls = [
            one for one in pipeline.pulls() if not own or one.reference == str(request.reference)
        ]
        now = sum(layer.phase == "downloading" for one in pulls for layer in one.layers)
        most = max(most, now)
        await asyncio.sleep(0.002)
    await pulling
    return most


async def test_unpacks_of_all_images(bench: Bench) -> None:
    await bench.pipeline(concurrent_unpacks=1).pull(bench.offer())
    assert bench.hands.most == 1


async def test_a_stall(bench: Bench) -> None:
    bench.registry.fail(Fault(stall_at=1000), path=str(IMAGE.layers[1].digest), times=None)
    pipeline = bench.pipeline(progress_timeout=0.15)
    with pytest.raises(Stalled, match=r"no progress for 0.15s: 2 of 3 layers, 0.6 of 0.9 MB"):
        await pipeline.pull(bench.offer())
    assert bench.observer.events[0].code == "deadline exceeded"
    assert bench.trees.names() == []
    assert {one.ref for one in bench.store.status()} == {
        f"layer-{layer.digest}" for layer in IMAGE.layers
    }


async def test_slow_is_not_stalled(bench: Bench) -> None:
    bench.registry.fail(Fault(rate=2_000_000), path="/blobs/", times=None)
    await bench.pipeline(progress_timeout=0.1).pull(bench.offer())


async def test_no_patience_is_endless_patience(bench: Bench) -> None:
    bench.registry.fail(Fault(delay=0.3), path="/blobs/", times=None)
    await bench.pipeline(progress_timeout=0).pull(bench.offer())


async def test_a_joiner_stalls_with_the_download_that_it_waits_for(bench: Bench) -> None:
    bench.registry.fail(Fault(stall_at=1000), path=str(IMAGE.layers[0].digest), times=None)
    pipeline = bench.pipeline(progress_timeout=0.15)
    requests = [bench.offer(), bench.offer(IMAGE, "other")]
    results = await asyncio.gather(
        *(pipeline.pull(one) for one in requests), return_exceptions=True
    )
    assert [type(one) for one in results] == [Stalled, Stalled]


async def test_too_little_space(bench: Bench) -> None:
    bench.parts = replace(bench.parts, free_bytes=lambda: 800_000)
    with pytest.raises(StoreFull, match=r"needs 0\.9 MB for its layers alone, 0\.8 MB are free"):
        await bench.pipeline().pull(bench.offer())
    assert bench.asked() == []


async def test_what_is_here_already_needs_no_space(bench: Bench) -> None:
    """Bytes of an earlier pull that failed are on the disk."""
    layer = IMAGE.layers[0]
    with bench.store.ingest(f"layer-{layer.digest}") as ingest:
        ingest.write(layer.blob[:200_000])
    bench.parts = replace(bench.parts, free_bytes=lambda: 800_000)
    await bench.pipeline().pull(bench.offer())


async def test_a_full_disk_gets_everything_back(bench: Bench) -> None:
    diff_id = IMAGE.layers[2].diff_id
    bench.hands.results[diff_id, "overlay"] = StoreFull("no space left")
    with pytest.raises(StoreFull):
        await bench.pipeline().pull(bench.offer())
    assert bench.store.status() == []
    assert bench.trees.names() == []


async def test_a_disk_that_fails(bench: Bench) -> None:
    bench.failures["sync"] = StoreIO("syncfs: I/O error")
    with pytest.raises(StoreIO, match="syncfs"):
        await bench.pipeline().pull(bench.offer())
    assert bench.observer.events[0].code == "internal"
    assert bench.store.blobs == {}
    assert await bench.metadata.images("k8s.io") == []


async def test_the_download_is_to_blame_before_the_layer(bench: Bench) -> None:
    for layer in IMAGE.layers:
        for mode in ("direct", "overlay"):
            bench.hands.results[layer.diff_id, mode] = ArchiveInvalid("broken archive")
    bench.registry.fail(Fault(corrupt_at=7), path="/blobs/", times=None)
    bench.registry.fail(Fault(), path=str(IMAGE.id))
    request = bench.offer()
    bench.store.blobs[IMAGE.id] = IMAGE.config
    with pytest.raises(DigestMismatch):
        await bench.pipeline().pull(request)
    assert bench.trees.names() == []


async def test_a_refusal(bench: Bench) -> None:
    bench.registry.fail(Fault(status=451), path=str(IMAGE.layers[1].digest), times=None)
    with pytest.raises(RegistryRejected):
        await bench.pipeline().pull(bench.offer())
    assert bench.observer.events[0].code == "failed precondition"


async def test_a_blob_that_is_damaged_in_the_store(bench: Bench) -> None:
    layer = IMAGE.layers[0]
    bench.store.blobs[layer.digest] = bytes(len(layer.blob))
    bench.hands.once[layer.diff_id, "direct"] = ArchiveInvalid("broken archive")
    await bench.pipeline().pull(bench.offer())
    assert bench.asked().count(str(layer.digest)) == 1


async def test_who_asks_whether_it_is_durable(bench: Bench) -> None:
    """An image that was pulled without the barrier gets it with the next pull."""
    request = bench.offer()
    bare = Pipeline(replace(bench.parts, barrier=None), PullSettings())
    assert not (await bare.pull(request)).record.synced
    jobs = len(bench.hands.jobs)
    assert (await bench.pipeline().pull(request)).record.synced
    assert len(bench.hands.jobs) == jobs


async def test_many_at_once(bench: Bench) -> None:
    shared = IMAGE.layers[:2]
    images = [build_image([*shared, [file(f"own{at}")]]) for at in range(8)]
    requests = [bench.offer(image, f"app{at}") for at, image in enumerate(images)]
    pipeline = bench.pipeline()
    pulled: list[Image] = await asyncio.gather(*(pipeline.pull(one) for one in requests))
    assert [one.record.id for one in pulled] == [image.id for image in images]
    assert sorted(bench.asked()) == sorted(str(layer.digest) for layer in shared)
    assert len(bench.hands.jobs) == len(shared) + len(images)
    assert len(bench.trees.names()) == len(shared) + len(images)
