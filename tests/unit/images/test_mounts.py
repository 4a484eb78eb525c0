"""Mounts and the snapshots that live as long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from orlop.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from orlop.ports.metadata import Image
from tests.unit.images.rig import SPACE, record

if TYPE_CHECKING:
    from tests.unit.images.conftest import Bench

IMAGE = record("abc1", chain_id="chain")


async def keys(bench: Bench, namespace: str = SPACE) -> list[str]:
    """Kinds of the snapshots, but for the image's own."""
    return [one.kind for one in await bench.snapshotter.walk(namespace) if one.key != "chain"]


async def mount(bench: Bench, target: str = "/m", *, writable: bool = False) -> None:
    await bench.mounts.mount(SPACE, Image(IMAGE, ()), target, writable=writable)


@pytest.mark.parametrize(("writable", "kind"), [(False, "view"), (True, "active")])
async def test_there_and_back(bench: Bench, writable: bool, kind: str) -> None:
    await bench.add(IMAGE)
    await mount(bench, "/m/../m/", writable=writable)
    assert list(bench.mounter.places) == ["/m"]
    (snapshot,) = [one for one in await bench.snapshotter.walk(SPACE) if one.key != "chain"]
    assert snapshot.kind == kind
    assert snapshot.labels["containerd.io/gc.root"]
    await bench.mounts.unmount([SPACE], "/m")
    assert (bench.mounter.places, await keys(bench)) == ({}, [])


async def test_taken(bench: Bench) -> None:
    await bench.add(IMAGE)
    await mount(bench)
    with pytest.raises(AlreadyExists) as error:
        await mount(bench)
    assert error.value.hint == "orlop unmount /m"
    assert await keys(bench) == ["view"]


async def test_a_mount_that_somebody_else_has_ended(bench: Bench) -> None:
    await bench.add(IMAGE)
    await mount(bench)
    bench.mounter.places.clear()
    await mount(bench, writable=True)
    assert await keys(bench) == ["active"]
    bench.mounter.places.clear()
    await bench.mounts.unmount([SPACE], "/m")
    assert await keys(bench) == []


async def test_what_the_kernel_refuses_leaves_nothing(bench: Bench) -> None:
    await bench.add(IMAGE)
    bench.mounter.failure = FailedPrecondition("no")
    with pytest.raises(FailedPrecondition):
        await mount(bench)
    assert await keys(bench) == []
    bench.mounter.failure = None
    await mount(bench)
    bench.mounter.failure = FailedPrecondition("busy")
    with pytest.raises(FailedPrecondition, match="busy"):
        await bench.mounts.unmount([SPACE], "/m")
    assert await keys(bench) == ["view"]


async def test_what_cannot_be_mounted(bench: Bench) -> None:
    await bench.add(IMAGE)
    with pytest.raises(InvalidArgument):
        await mount(bench, "m")
    with pytest.raises(InvalidArgument):
        await bench.mounts.unmount([SPACE], "m")
    with pytest.raises(NotFound, match="has mounted no image on /m"):
        await bench.mounts.unmount([SPACE], "/m")
    with pytest.raises(FailedPrecondition, match="no layers"):
        await bench.mounts.mount(SPACE, Image(record("abc1"), ()), "/m", writable=False)
    bench.mounts._snapshotters = {}
    with pytest.raises(FailedPrecondition, match="not loaded"):
        await mount(bench)


async def test_other_namespaces(bench: Bench) -> None:
    await bench.add(IMAGE, namespace="mine")
    await bench.mounts.mount("mine", Image(IMAGE, ()), "/m", writable=False)
    with pytest.raises(NotFound):
        await bench.mounts.unmount([SPACE], "/m")
    await bench.mounts.unmount([SPACE, "mine"], "/m")
    assert await keys(bench, "mine") == []


async def test_forgetting_what_is_lost(bench: Bench) -> None:
    await bench.add(IMAGE)
    for target in ("/kept", "/lost"):
        await mount(bench, target)
    del bench.mounter.places["/lost"]
    await bench.mounts.forget_lost(SPACE)
    assert await keys(bench) == ["view"]
    await bench.mounts.unmount([SPACE], "/kept")
    with pytest.raises(NotFound):
        await bench.mounts.unmount([SPACE], "/lost")


async def test_cancelled_at_any_step(bench: Bench) -> None:
    await bench.add(IMAGE)
    for step in range(12):
        mounting = asyncio.create_task(mount(bench))
        for _ in range(step):
            await asyncio.sleep(0)
        mounting.cancel()
        await asyncio.wait({mounting})
        if mounting.cancelled():
            assert (bench.mounter.places, await keys(bench)) == ({}, [])
        else:
            await bench.mounts.unmount([SPACE], "/m")
