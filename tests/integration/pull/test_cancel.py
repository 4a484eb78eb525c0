"""Pulls that are cancelled at any moment leave nothing but bytes for the next one."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.model.mediatype import Compression
from orlop.ports.service import PullOptions
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import directory, file, hard_link
from tests.integration.pull.rig import Store, offer

if TYPE_CHECKING:
    from orlop.testing.fake_registry import FakeRegistry

pytestmark = pytest.mark.root

MOMENTS = 27
"""Cancelled pulls, of each snapshotter; those that were done too early do not count."""

LAYERS = [
    build_layer([directory("d", mode=0o700), file("d/a", os.urandom(300_000))]),
    build_layer([file("d/b", os.urandom(700_000)), file("x/y/z")], Compression.ZSTD),
    build_layer([hard_link("d/linked", "d/a"), file("d/c", os.urandom(2_000_000))]),
]


@pytest.mark.row("L15")
@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
async def test_any_moment(store: Store, registry: FakeRegistry, snapshotter: str) -> None:
    options = PullOptions(snapshotter=snapshotter)
    reference = offer(registry, "app", "v1", build_image(LAYERS))
    usual = await seconds(store, reference, options)
    usual = min(usual, await seconds(store, reference, options))
    empty = await store.traces()
    assert (empty.rows, empty.files) == (frozenset(), frozenset())
    chance = random.Random(20)
    cancelled = 0
    for moment in range(10 * MOMENTS):
        pulling = asyncio.create_task(store.service.pull(reference, options))
        await asyncio.sleep(chance.uniform(0, usual * 0.9))
        pulling.cancel()
        await asyncio.wait({pulling})
        cancelled += pulling.cancelled()
        left = await store.traces()
        if left.rows:  # it was too late: the image is there, and whole
            assert (await store.service.check())[0].problems == ()
            assert await store.service.remove(reference)
        else:
            assert replace(left, ingests=frozenset()) == empty, f"moment {moment}"
        assert {ref.partition("-")[0] for ref, _ in left.ingests} <= {"layer"}
        if cancelled == MOMENTS:
            break
        if moment % 3 == 0:  # begin at the beginning now and then
            for ref in store.ingests():
                store.blobs.abort(ref)
    assert cancelled == MOMENTS
    await store.service.pull(reference, options)
    assert (await store.service.check())[0].problems == ()


async def seconds(store: Store, reference: str, options: PullOptions) -> float:
    """How long a whole pull takes."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    await store.service.pull(reference, options)
    took = loop.time() - started
    assert await store.service.remove(reference)
    return took


@pytest.mark.row("L15")
async def test_cancelled_twice(store: Store, registry: FakeRegistry) -> None:
    """The second cancellation does not cut the cleaning up short."""
    reference = offer(registry, "app", "v1", build_image(LAYERS))
    empty = await store.traces()
    for moment in range(10):
        pulling = asyncio.create_task(store.service.pull(reference))
        await asyncio.sleep(0.01 * moment)
        pulling.cancel()
        await asyncio.sleep(0)
        pulling.cancel()
        await asyncio.wait({pulling})
        assert not await store.service.running()
        left = await store.traces()
        if left.rows:
            assert await store.service.remove(reference)
            left = await store.traces()
        assert replace(left, ingests=frozenset()) == empty


@pytest.mark.row("L15")
async def test_some_of_many(store: Store, registry: FakeRegistry) -> None:
    """Eight pulls share layers, some are cancelled: the others succeed."""
    images = [
        build_image([*LAYERS[:2], build_layer([file(f"own{at}"), hard_link("l", "d/b")])])
        for at in range(8)
    ]
    references = [offer(registry, f"app{at}", "v1", image) for at, image in enumerate(images)]
    empty = await store.traces()
    chance = random.Random(7)
    for _ in range(6):
        pulls = [asyncio.create_task(store.service.pull(one)) for one in references]
        doomed = chance.sample(pulls, 5)
        for pull in doomed:
            await asyncio.sleep(chance.uniform(0, 0.05))
            pull.cancel()
        await asyncio.wait(pulls)
        for pull in pulls:
            if pull not in doomed:
                assert pull.exception() is None
            elif not pull.cancelled():
                assert pull.exception() is None  # it was done already
        assert all(report.problems == () for report in await store.service.check())
        for image in await store.service.images():
            await store.service.remove(str(image.record.id))
        assert replace(await store.traces(), ingests=frozenset()) == empty
