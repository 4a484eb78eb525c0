"""Whole pulls with a fake registry and without a disk: sharing, watching, reporting."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    ArchiveInvalid,
    AuthFailed,
    DigestMismatch,
    RegistryRejected,
    Stalled,
    StoreFull,
    StoreIO,
)
from orlop.model.mediatype import Compression
from orlop.pull.pipeline import Pipeline, PullSettings
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault, RecordedRequest, Rule
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import file
from tests.unit.pull.rig import until
from tests.unit.pull.whole import IMAGE, Bench

if TYPE_CHECKING:
    from orlop.ports.metadata import Image
    from orlop.ports.observe import PullProgress
    from orlop.ports.pull import PullRequest


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


async def test_the_end_tells_where_the_time_went(bench: Bench) -> None:
    pictures: list[PullProgress] = []
    await bench.pipeline(concurrent_downloads=1).pull(bench.offer(), pictures.append)
    last = pictures[-1]
    own = [span.activity for span in last.spans if span.layer is None]
    assert own == ["resolving", "syncing", "publishing"]
    for layer in last.layers:
        spans = {one.activity: one for one in last.spans if one.layer == layer.digest}
        assert {"waiting", "downloading", "unpacking"} <= spans.keys()
        download = spans["downloading"]
        assert (download.bytes, download.host) == (layer.size, bench.registry.address)
        assert download.growth[-1][1] <= layer.size
    assert all(0 <= span.start <= span.end <= last.elapsed for span in last.spans)
    assert not any(picture.spans for picture in pictures[:-1])


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
    with pytest.raises(Stalled, match=r"no progress for 150ms: 2 of 3 layers, 0.6 of 0.9 MB"):
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
    # To show that this pull may have it, and to mend it.
    assert bench.asked().count(str(layer.digest)) == 2


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
    # Who comes late finds a layer here, and proves by a part of it that it may have it.
    got = [one for one in bench.registry.requests if one.method == "GET"]
    whole = [one.path for one in got if "range" not in one.headers]
    for layer in shared:
        assert len([path for path in whole if path.endswith(f"/blobs/{layer.digest}")]) == 1
    assert len(bench.hands.jobs) == len(shared) + len(images)
    assert len(bench.trees.names()) == len(shared) + len(images)


async def test_two_that_fit_alone_but_not_together(bench: Bench) -> None:
    """The second fails before its first byte, and says how much is missing."""
    other = build_image([build_layer([file("x", os.urandom(500_000))], Compression.NONE)])
    bench.parts = replace(bench.parts, free_bytes=lambda: 1_200_000)
    pipeline = bench.pipeline()
    bench.registry.fail(Fault(delay=0.2), path="/app/blobs/", times=None)
    requests = [bench.offer(), bench.offer(other, "other")]
    first = asyncio.create_task(pipeline.pull(requests[0]))
    await until(lambda: [one for one in pipeline.pulls() if one.phase == "pulling"])
    with pytest.raises(StoreFull, match=r"other pulls still need 0\.9 MB: 0\.2 MB are missing"):
        await pipeline.pull(requests[1])
    await first
    assert bench.asked(other) == []
    await pipeline.pull(requests[1])


async def test_a_large_layer_in_parts(bench: Bench) -> None:
    image = build_image([build_layer([file("x", os.urandom(1_000_000))], Compression.NONE)])
    blob = str(image.layers[0].digest)
    # One part breaks off: it is taken up again where it was.
    bench.registry.fail(Fault(reset_at=300_000), path=blob)
    await bench.pipeline(part_bytes=200_000).pull(bench.offer(image))
    ranges = [one.headers["range"] for one in bench.registry.requests if one.path.endswith(blob)]
    assert {"bytes=0-199999", "bytes=200000-399999", "bytes=800000-999999"} < set(ranges)
    assert bench.store.blobs[image.layers[0].digest] == image.layers[0].blob


async def test_parts_of_a_registry_without_ranges(bench: Bench) -> None:
    bench.registry.fail(Fault(ignore_range=True), path="/blobs/", times=None)
    await bench.pipeline(part_bytes=1000).pull(bench.offer())
    assert sorted(bench.asked()) == sorted(str(layer.digest) for layer in IMAGE.layers)


async def test_a_limit_of_bytes_per_second_is_no_stall(bench: Bench) -> None:
    image = build_image([build_layer([file("x", os.urandom(300_000))], Compression.NONE)])
    started = bench.parts.clock.monotonic()
    pipeline = bench.pipeline(max_rate=400_000, progress_timeout=0.3)
    await pipeline.pull(bench.offer(image))
    assert 0.4 < bench.parts.clock.monotonic() - started < 2


async def test_a_drip_is_too_slow(bench: Bench) -> None:
    bench.registry.fail(Fault(rate=200_000), path="/blobs/", times=None)
    with pytest.raises(Stalled, match=r"^less than 5000000 bytes/s for 300ms: 0 of 3 layers, "):
        await bench.pipeline(progress_timeout=0.3, min_rate=5_000_000).pull(bench.offer())


async def test_a_token_that_expires_in_the_middle(bench: Bench) -> None:
    async with FakeRegistry(auth="bearer") as registry:
        bench.registry = registry
        blob = str(IMAGE.layers[0].digest)

        seen: list[RecordedRequest] = []

        def expire(request: RecordedRequest) -> bool:
            if request.path.endswith(blob) and "range" in request.headers and not seen:
                seen.append(request)
                registry.expire_tokens()
            return False

        def allowed(request: RecordedRequest) -> bool:
            return request.path.endswith(blob) and "authorization" in request.headers

        registry.add_rule(Rule(expire, Fault()))
        registry.add_rule(Rule(allowed, Fault(truncate_at=100_000), times=1))
        await bench.pipeline().pull(bench.offer())
        asked = [one for one in registry.requests if one.path.endswith(blob)]
        ranges = [one.headers.get("range") for one in asked]
        assert ranges[-2:] == ["bytes=100000-"] * 2  # refused, and with a new token


async def test_a_joiner_from_elsewhere_must_be_allowed(bench: Bench) -> None:
    blob = str(IMAGE.layers[0].digest)
    bench.registry.fail(Fault(delay=0.1), path=f"/app/blobs/{blob}")
    bench.registry.fail(Fault(status=401), path=f"/other/blobs/{blob}", times=None)
    pipeline = bench.pipeline()
    requests = [bench.offer(), bench.offer(IMAGE, "other")]
    first, second = await asyncio.gather(
        *(pipeline.pull(one) for one in requests), return_exceptions=True
    )
    assert not isinstance(first, BaseException)
    assert isinstance(second, AuthFailed)
