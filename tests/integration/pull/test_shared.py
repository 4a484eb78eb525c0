"""What pulls have in common is fetched once and unpacked once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from orlop.errors import AuthFailed
from orlop.ports.service import PullOptions
from orlop.testing.faults import Fault
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import directory, file, hard_link, symlink
from tests.integration.pull.rig import Store, offer, running

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.ports.observe import PullProgress
    from orlop.testing.distribution import DistributionRegistry
    from orlop.testing.fake_registry import FakeRegistry
    from orlop.testing.images import BuiltImage, Layer

pytestmark = pytest.mark.root


def layer(name: str, size: int = 20_000) -> Layer:
    return build_layer([directory("d", mode=0o700), file(f"d/{name}", name.encode() * size)])


BASE = [layer("base"), layer("middle")]


def family(number: int) -> list[BuiltImage]:
    """Images on the same two layers; every second one needs the layers below its own."""
    images = []
    for at in range(number):
        own = [file(f"d/own{at}", b"o"), file(f"implied{at}/file", b"i")]
        if at % 2:
            own.append(hard_link("d/linked", "d/base"))
        images.append(build_image([*BASE, build_layer(own)]))
    return images


def fetched(registry: FakeRegistry) -> Counter[str]:
    """How often each blob was asked for."""
    return Counter(
        request.path.rpartition("/")[2]
        for request in registry.requests
        if "/blobs/" in request.path and request.method == "GET"
    )


@pytest.mark.parametrize("number", [2, 8])
async def test_pulls_at_the_same_time(store: Store, registry: FakeRegistry, number: int) -> None:
    images = family(number)
    before = store.trees_made()
    references = [offer(registry, f"app{at}", "v1", image) for at, image in enumerate(images)]
    # The last one is slow: the shared layers are published long before its own arrive.
    late = str(images[-1].layers[-1].digest)
    registry.fail(Fault(delay=0.5), path=late)
    await asyncio.gather(*(store.service.pull(reference) for reference in references))
    assert set(fetched(registry).values()) == {1}
    twice = number // 2  # without the layers below, and with them
    assert store.trees_made() - before == len(BASE) + number + twice
    assert [report.problems for report in await store.service.check()] == [()] * number
    snapshots = await store.service._metadata.snapshots("k8s.io")
    assert len(snapshots) == 2 + number
    traces = await store.traces()
    assert (traces.ingests, traces.descriptors, traces.workers) == (frozenset(), (), ())
    assert not [path for path in traces.files if "staging" in path or "trash" in path]
    assert len([path for path in traces.files if "/snapshots/" in path]) == len(snapshots)


async def test_the_same_image_at_the_same_time(store: Store, registry: FakeRegistry) -> None:
    image = build_image(BASE)
    before = store.trees_made()
    reference = offer(registry, "app", "v1", image)
    pulled = await asyncio.gather(*(store.service.pull(reference) for _ in range(8)))
    assert {one.record.id for one in pulled} == {image.id}
    layers = {str(one.digest) for one in image.layers}
    assert all(count == 1 for digest, count in fetched(registry).items() if digest in layers)
    assert store.trees_made() - before == len(BASE)


async def test_pulls_at_the_same_time_from_the_real_registry(
    store: Store, distribution: DistributionRegistry
) -> None:
    references = [
        offer(distribution, "shared/app", f"v{at}", image) for at, image in enumerate(family(8))
    ]
    await asyncio.gather(*(store.service.pull(reference) for reference in references))
    assert [report.problems for report in await store.service.check()] == [()] * 8


async def test_the_same_layer_on_different_parents(store: Store, registry: FakeRegistry) -> None:
    """One download, two layers; the slow image unpacks it after the quick one published it."""
    same = layer("same")
    slow_parent = layer("slow")
    quick, slow = build_image([same]), build_image([slow_parent, same])
    references = [offer(registry, "quick", "v1", quick), offer(registry, "slow", "v1", slow)]
    registry.fail(Fault(delay=0.4), path=str(slow_parent.digest))
    options = PullOptions(snapshotter="native")  # where layers wait for their parents
    await asyncio.gather(*(store.service.pull(one, options) for one in references))
    assert fetched(registry)[str(same.digest)] == 1
    assert [report.problems for report in await store.service.check()] == [(), ()]


async def test_a_second_pull_fetches_nothing(store: Store, registry: FakeRegistry) -> None:
    image = build_image(BASE)
    reference = offer(registry, "app", "v1", image)
    first = await store.service.pull(reference)
    registry.clear_requests()
    pictures: list[PullProgress] = []
    assert await store.service.pull(reference, progress=pictures.append) == first
    assert [request.method for request in registry.requests] == ["HEAD"]
    assert pictures[-1].phase == "done"
    assert {one.phase for one in pictures[-1].layers} == {"present"}
    assert (pictures[-1].total, pictures[-1].downloaded) == (0, 0)


async def test_a_new_tag_of_the_same_digest(store: Store, registry: FakeRegistry) -> None:
    image = build_image(BASE)
    first = await store.service.pull(offer(registry, "app", "v1", image))
    registry.clear_requests()
    second = await store.service.pull(offer(registry, "app", "v2", image))
    assert [request.method for request in registry.requests] == ["HEAD"]
    assert len(second.names) == len(first.names) + 1
    assert len(await store.service.images()) == 1


async def test_a_new_tag_on_known_layers_fetches_what_is_new(
    store: Store, registry: FakeRegistry
) -> None:
    await store.service.pull(offer(registry, "app", "v1", build_image(BASE)))
    newer = build_image([*BASE, layer("newer")])
    registry.clear_requests()
    pulled = await store.service.pull(offer(registry, "app", "v2", newer))
    assert set(fetched(registry)) == {str(newer.id), str(newer.layers[-1].digest)}
    assert pulled.record.unpacked_bytes == sum(
        one.bytes for one in await store.service._metadata.snapshots("k8s.io")
    )
    assert len(await store.service.images()) == 2


async def test_a_tag_that_moves(store: Store, registry: FakeRegistry) -> None:
    old, new = build_image(BASE), build_image([layer("other")])
    reference = offer(registry, "app", "v1", old)
    await store.service.pull(reference)
    offer(registry, "app", "v1", new)
    await store.service.pull(reference)
    found = await store.service.find(reference)
    assert found is not None
    assert found.record.id == new.id
    left = await store.service.find(str(old.id))
    assert left is not None
    assert {name.name for name in left.names} == {
        str(old.id),
        f"{reference.removesuffix(':v1')}@{old.digest}",
    }


@pytest.mark.row("L15")
async def test_the_one_who_began_gives_up(store: Store, registry: FakeRegistry) -> None:
    """The others go on: what they share is theirs as much."""
    images = family(2)
    registry.fail(Fault(delay=0.3), path="/blobs/", times=None)
    leader, joiner = (
        asyncio.create_task(store.service.pull(offer(registry, f"app{at}", "v1", image)))
        for at, image in enumerate(images)
    )
    async with asyncio.timeout(5):
        while not fetched(registry)[str(images[0].layers[0].digest)]:  # noqa: ASYNC110 (a thread)
            await asyncio.sleep(0.01)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    await joiner
    assert fetched(registry)[str(images[0].layers[0].digest)] == 1
    assert [report.problems for report in await store.service.check()] == [()]


async def test_who_is_refused_gets_nothing_from_who_is_not(
    store: Store, registry: FakeRegistry
) -> None:
    """The blob is refused to the pull that asks first, and given to the one that joined."""
    images = family(2)
    references = [offer(registry, f"app{at}", "v1", image) for at, image in enumerate(images)]
    shared = str(images[0].layers[0].digest)
    registry.fail(Fault(status=403, delay=0.4), path=f"app0/blobs/{shared}", times=None)
    registry.fail(Fault(delay=0.2), path="app1/manifests/v1")
    refused, pulled = await asyncio.gather(
        *(store.service.pull(reference) for reference in references), return_exceptions=True
    )
    assert isinstance(refused, AuthFailed)
    assert not isinstance(pulled, BaseException)
    assert {request.path for request in registry.requests if shared in request.path} == {
        f"/v2/app0/blobs/{shared}",
        f"/v2/app1/blobs/{shared}",
    }


async def test_who_joins_shows_that_it_may(store: Store, registry: FakeRegistry) -> None:
    """Another repository's layers are shared only with who could fetch them itself."""
    images = family(3)
    references = [offer(registry, f"app{at}", "v1", image) for at, image in enumerate(images)]
    shared = str(images[0].layers[0].digest)
    registry.fail(Fault(delay=0.5), path=f"app0/blobs/{shared}")
    registry.fail(Fault(status=403), path=f"app1/blobs/{shared}", times=None)
    leader = asyncio.create_task(store.service.pull(references[0]))
    async with asyncio.timeout(5):
        while not fetched(registry)[shared]:  # noqa: ASYNC110 (a thread)
            await asyncio.sleep(0.01)
    refused, allowed = await asyncio.gather(
        *(store.service.pull(reference) for reference in references[1:]), return_exceptions=True
    )
    await leader
    assert not isinstance(allowed, BaseException)
    assert isinstance(refused, AuthFailed)
    asked = {(one.method, one.path) for one in registry.requests if shared in one.path}
    assert asked == {
        ("GET", f"/v2/app0/blobs/{shared}"),
        ("HEAD", f"/v2/app1/blobs/{shared}"),
        ("GET", f"/v2/app1/blobs/{shared}"),  # brings the registry's own words
        ("HEAD", f"/v2/app2/blobs/{shared}"),
    }


async def test_without_the_barrier(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", build_image(BASE))
    async with running(tmp_path / "root", image_pull_with_sync_fs=False) as store:
        pulled = await store.service.pull(reference)
        assert not pulled.record.synced
        assert (await store.service.check())[0].problems == ()
        assert not (await store.service.pull(reference)).record.synced
    # Whoever wants it durable pulls it again, and nothing is fetched.
    registry.clear_requests()
    async with running(tmp_path / "root") as store:
        pulled = await store.service.pull(reference)
        assert pulled.record.synced
        assert fetched(registry) == Counter()


async def test_layers_that_meet_behind_a_link_stay_inside(
    store: Store, registry: FakeRegistry, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    image = build_image([[symlink("out", str(outside))], [file("out/evil", b"evil")]])
    await store.service.pull(offer(registry, "evil", "v1", image))
    assert list(outside.iterdir()) == []
