"""Keys of the configuration, and what each does to a pull from a real registry."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from orlop.errors import NotFound
from orlop.model import labels
from orlop.ports.service import PullOptions
from orlop.testing.faults import Fault
from orlop.testing.images import build_image, build_index, build_layer
from orlop.testing.layers import directory, file
from tests.integration.pull.rig import NAMESPACE, layers_fetched, offer, running

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.testing.distribution import DistributionRegistry
    from orlop.testing.fake_registry import FakeRegistry

pytestmark = pytest.mark.root

BASE = build_layer([directory("d"), file("d/noise", os.urandom(100_000))])
TOP = build_layer([file("d/more", os.urandom(50_000))])
IMAGE = build_image([BASE, TOP])
LAYERS = {str(layer.digest) for layer in IMAGE.layers}


class TestDiscardUnpackedLayers:
    """discard_unpacked_layers"""

    async def test_blobs_of_layers_go(
        self, tmp_path: Path, distribution: DistributionRegistry
    ) -> None:
        reference = offer(distribution, "keys/discard", "v1", IMAGE)
        async with running(tmp_path / "kept") as store:
            kept = await store.service.pull(reference)
            (before,) = await store.service.filesystems()
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            pulled = await store.service.pull(reference)
            layers = sum(len(layer.blob) for layer in IMAGE.layers)
            assert pulled.record.content_bytes == kept.record.content_bytes - layers
            (now,) = await store.service.filesystems()
            assert now.usage.bytes == before.usage.bytes - layers
            assert {one.digest for one in store.blobs.walk()} == {IMAGE.digest, IMAGE.id}
            traces = await store.traces()
            assert (traces.ingests, traces.descriptors) == (frozenset(), ())
            assert await store.service.images() == [pulled]
            assert (await store.service.check())[0].problems == ()
            await store.service.collect()
            assert await store.traces() == traces
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            assert await store.service.images() == [pulled]
            assert await store.traces() == traces
            await store.service.remove(reference)
            assert (await store.traces()).rows == frozenset()

    async def test_a_second_pull_fetches_nothing(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        reference = offer(registry, "app", "v1", IMAGE)
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            first = await store.service.pull(reference)
            registry.clear_requests()
            assert await store.service.pull(reference) == first
            assert [request.method for request in registry.requests] == ["HEAD"]

    async def test_what_needs_a_discarded_layer_fetches_it(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        """Another snapshotter needs both, another parent one, the same chain none."""
        reference = offer(registry, "app", "v1", IMAGE)
        longer = build_image([BASE, TOP, [file("own")]])
        other = build_image([[file("below")], TOP])
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            await store.service.pull(reference)
            for image, snapshotter, needs in (
                (longer, "overlayfs", []),
                (other, "overlayfs", [TOP]),
                (IMAGE, "native", [BASE, TOP]),
            ):
                registry.clear_requests()
                text = offer(registry, "app", "v2", image)
                await store.service.pull(text, PullOptions(snapshotter=snapshotter))
                assert layers_fetched(registry, IMAGE) == sorted(
                    str(layer.digest) for layer in needs
                )
            assert [one.problems for one in await store.service.check()] == [()] * 4

    async def test_pulls_that_share_a_layer(self, tmp_path: Path, registry: FakeRegistry) -> None:
        """The quick one is done, and has given the layer up, when the slow one unpacks it."""
        slow = build_layer([file("slow")])
        registry.fail(Fault(delay=0.5), path=str(slow.digest))
        quick = offer(registry, "quick", "v1", build_image([TOP]))
        late = offer(registry, "late", "v1", build_image([slow, TOP]))
        options = PullOptions(snapshotter="native")  # where layers wait for their parents
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            await asyncio.gather(*(store.service.pull(one, options) for one in (quick, late)))
            assert layers_fetched(registry, IMAGE) == [str(TOP.digest)]
            assert [one.problems for one in await store.service.check()] == [(), ()]
            assert store.ingests() == {}

    async def test_a_pull_that_fails_keeps_its_bytes(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        late = build_layer([file("late")])
        reference = offer(registry, "app", "v1", build_image([BASE, late]))
        registry.fail(Fault(status=404, delay=0.5), path=str(late.digest), times=None)
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            with pytest.raises(NotFound):
                await store.service.pull(reference)
            assert store.ingests() == {f"layer-{BASE.digest}": len(BASE.blob)}
            registry.clear_rules()
            registry.clear_requests()
            await store.service.pull(reference)
            assert layers_fetched(registry, IMAGE) == []
            assert store.ingests() == {}

    async def test_without_it_what_is_missing_is_fetched_again(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        reference = offer(registry, "app", "v1", IMAGE)
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            await store.service.pull(reference)
        registry.clear_requests()
        async with running(tmp_path / "root") as store:
            pulled = await store.service.pull(reference)
            assert layers_fetched(registry, IMAGE) == sorted(LAYERS)
            assert {str(one.digest) for one in store.blobs.walk()} >= LAYERS
            assert pulled.record.content_bytes > len(BASE.blob) + len(TOP.blob)
            assert (await store.service.check())[0].problems == ()
            store.blob(TOP.digest.hex).unlink()
            assert (await store.service.check())[0].problems != ()  # now it is missed


@pytest.mark.parametrize("disabled", [False, True])
async def test_disable_snapshot_annotations(
    tmp_path: Path, distribution: DistributionRegistry, disabled: bool
) -> None:
    reference = offer(distribution, "keys/annotations", "v1", IMAGE)
    keys = {"disable_snapshot_annotations": disabled}
    async with running(tmp_path / "root", **keys) as store:
        await store.service.pull(reference)
        found = await store.service._metadata.snapshots(NAMESPACE)
    told = {
        snapshot.key: {
            key.rpartition("/cri.")[2]: value
            for key, value in snapshot.labels.items()
            if key not in (labels.SNAPSHOT_REF, labels.SNAPSHOT_MANIFEST)
        }
        for snapshot in found
    }
    base, top = str(BASE.digest), str(TOP.digest)
    common = {"image-ref": reference, "manifest-digest": str(IMAGE.digest)}
    assert (
        told
        == {
            str(IMAGE.chain[0]): common | {"layer-digest": base, "image-layers": f"{base},{top}"},
            str(IMAGE.chain[1]): common | {"layer-digest": top, "image-layers": top},
        }
        if not disabled
        else {str(chain): {} for chain in IMAGE.chain}
    )


class TestPinnedImages:
    """pinned_images"""

    async def test_pulled_images_are_labelled(
        self, tmp_path: Path, distribution: DistributionRegistry
    ) -> None:
        pinned = offer(distribution, "keys/pinned", "v1", IMAGE)
        other = offer(distribution, "keys/other", "v1", build_image([TOP]))
        keys = {"pinned_images": {"sandbox": pinned, "none": ""}}
        async with running(tmp_path / "root", **keys) as store:
            for reference, wanted in ((pinned, {"pinned"}), (other, {None})):
                image = await store.service.pull(reference)
                assert {name.labels.get(labels.CRI_PINNED) for name in image.names} == wanted
                assert store.service.pinned(image) is (reference == pinned)

    async def test_the_configuration_counts_for_images_that_are_there(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        """Also by the digest of a manifest that was pulled by its index."""
        index = build_index([IMAGE])
        reference = offer(registry, "app", "v1", index)
        repository = reference.removesuffix(":v1")
        by_digest = f"{repository}@{IMAGE.digest}"
        for pins in ([], [by_digest], [reference], []):
            keys = {"pinned_images": {str(at): pin for at, pin in enumerate(pins)}}
            async with running(tmp_path / "root", **keys) as store:
                await store.service.pull(reference)
                (image,) = await store.service.images()
                assert store.service.pinned(image) is bool(pins)
                label = "pinned" if pins else None
                assert {name.labels.get(labels.CRI_PINNED) for name in image.names} == {label}


async def test_stats_collect_period(tmp_path: Path, registry: FakeRegistry) -> None:
    """What others change may show later; what this service did shows at once."""
    reference = offer(registry, "app", "v1", IMAGE)
    for seconds in (1, 3600):
        async with running(tmp_path / f"root{seconds}", stats_collect_period=seconds) as store:
            await store.service.pull(reference)
            (first,) = await store.service.filesystems()
            assert first.usage == await store.service._metadata.usage()
            if seconds == 1:
                await asyncio.sleep(1.1)  # the period is what is tested
            (found,) = await store.service.filesystems()
            assert (found.timestamp == first.timestamp) is (seconds != 1)
            await store.service.remove(reference)
            (left,) = await store.service.filesystems()
            assert left.usage.bytes == 0
            assert left.timestamp > first.timestamp


@pytest.mark.parametrize("local", [False, True])
async def test_use_local_image_pull(tmp_path: Path, registry: FakeRegistry, local: bool) -> None:
    """There is one way to pull: the key changes nothing of what is there afterwards."""
    reference = offer(registry, "app", "v1", IMAGE)
    keys = {"use_local_image_pull": local, "discard_unpacked_layers": True}
    async with running(tmp_path / "root", **keys) as store:
        await store.service.pull(reference)
        assert {one.digest for one in store.blobs.walk()} == {IMAGE.digest, IMAGE.id}


@pytest.mark.parametrize("synced", [False, True])
async def test_image_pull_with_sync_fs(
    tmp_path: Path, registry: FakeRegistry, synced: bool
) -> None:
    """``synced`` tells it of each image; a pull with it makes up for one without it."""
    reference = offer(registry, "app", "v1", IMAGE)
    async with running(tmp_path / "root", image_pull_with_sync_fs=synced) as store:
        pulled = await store.service.pull(reference)
        assert pulled.record.synced is synced
        assert (await store.service.detail(reference)).image.record.synced is synced
    async with running(tmp_path / "root") as store:
        assert (await store.service.pull(reference)).record.synced
