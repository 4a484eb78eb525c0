"""What a store is like when it is opened again."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from orlop.errors import NotFound
from orlop.linux.mounts import unmount
from orlop.model.mediatype import Compression
from orlop.testing.faults import Fault
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import directory, file
from tests.integration.pull.rig import offer, running, unmount_all

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.ports.observe import PullProgress
    from orlop.testing.fake_registry import FakeRegistry

pytestmark = pytest.mark.root

IMAGE = build_image([[directory("d"), file("d/a", b"a" * 1000)], [file("d/b", b"b")]])


def copy(root: Path, to: Path) -> None:
    subprocess.run(["cp", "-a", str(root), str(to)], check=True)


async def test_images_are_there(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    async with running(tmp_path / "root") as store:
        pulled = await store.service.pull(reference)
        before = await store.traces()
    registry.clear_requests()
    async with running(tmp_path / "root") as store:
        assert await store.service.images() == [pulled]
        assert (await store.service.check())[0].problems == ()
        assert await store.traces() == before
    assert registry.requests == []


@pytest.mark.row("L11")
async def test_an_interrupted_pull(tmp_path: Path, registry: FakeRegistry) -> None:
    """Its trees are gone, its bytes are not."""
    layer = build_layer([file("noise", os.urandom(2_000_000))], Compression.NONE)
    reference = offer(registry, "app", "v1", build_image([layer]))
    registry.fail(Fault(stall_at=1_500_000), path=str(layer.digest))
    arrived = asyncio.Event()

    def watch(picture: PullProgress) -> None:
        if picture.downloaded >= 400_000:
            arrived.set()

    root = tmp_path / "root"
    async with running(root) as store:
        pulling = asyncio.create_task(store.service.pull(reference, progress=watch))
        async with asyncio.timeout(10):
            await arrived.wait()
        assert [path for path in store.files() if "staging" in path]
        # What a killed process leaves: nothing is taken back.
        await asyncio.to_thread(copy, root, tmp_path / "killed")
        pulling.cancel()
        await asyncio.wait({pulling})
    registry.clear_requests()
    async with running(tmp_path / "killed") as store:
        assert store.files() == []
        ((ref, kept),) = store.ingests().items()
        assert ref == f"layer-{layer.digest}"
        assert 400_000 <= kept <= 1_500_000
        await store.service.pull(reference)
        assert (await store.service.check())[0].problems == ()
    asked = [one for one in registry.requests if one.path.endswith(str(layer.digest))]
    assert [one.headers["range"] for one in asked] == [f"bytes={kept}-"]


async def test_bytes_of_another_time_that_are_wrong(tmp_path: Path, registry: FakeRegistry) -> None:
    """A power failure may leave other bytes than were written: one clean try mends it."""
    layer = build_layer([file("noise", os.urandom(2_000_000))], Compression.NONE)
    reference = offer(registry, "app", "v1", build_image([layer]))
    async with running(tmp_path / "root") as store:
        with store.blobs.ingest(f"layer-{layer.digest}") as ingest:
            ingest.write(bytes(700_000))
        await store.service.pull(reference)
        assert (await store.service.check())[0].problems == ()
        assert store.ingests() == {}
    asked = [one for one in registry.requests if one.path.endswith(str(layer.digest))]
    assert [one.headers.get("range") for one in asked] == ["bytes=700000-", None]


@pytest.mark.row("L11")
async def test_mounts(
    tmp_path: Path, registry: FakeRegistry, request: pytest.FixtureRequest
) -> None:
    """A mount that is gone is forgotten; one that is there keeps its image's layers."""
    kept, lost = tmp_path / "kept", tmp_path / "lost"
    for path in (kept, lost):
        path.mkdir()
    reference = offer(registry, "app", "v1", IMAGE)
    request.addfinalizer(lambda: unmount_all(tmp_path / "root"))
    async with running(tmp_path / "root") as store:
        await store.service.pull(reference)
        await store.service.mount(reference, str(kept))
        await store.service.mount(reference, str(lost), writable=True)
    unmount(str(lost))
    async with running(tmp_path / "root") as store:
        with pytest.raises(NotFound):
            await store.service.unmount(str(lost))
        assert await store.service.remove(reference)
        assert (kept / "d" / "a").read_bytes() == b"a" * 1000
        await store.service.unmount(str(kept))
        await store.service.collect()
        assert (await store.traces()).files == frozenset()
        assert not os.path.ismount(kept)
