"""Space: what images occupy, and what kubelet gets back when it removes them."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import grpc.aio
import pytest

from orlop import daemon
from orlop._proto import runtime_v1_pb2 as pb
from orlop._proto import runtime_v1_pb2_grpc as rpc
from orlop.errors import NotFound
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image
from orlop.testing.layers import directory, file, hard_link, sparse_file
from tests.integration.pull.rig import Store, offer, running
from tests.rigs import disk
from tests.rigs.doors import Rig, opening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orlop.testing.images import BuiltImage

pytestmark = pytest.mark.root

HIGH: Final = 0.85
LOW: Final = 0.80
"""kubelet's imageGCHighThresholdPercent and imageGCLowThresholdPercent."""

FILES: Final = 1500
"""More than go with a removal when there is space."""


def used_share(path: Path) -> float:
    """As kubelet computes it from statfs."""
    found = os.statvfs(path)
    return 1 - found.f_bavail / found.f_blocks


def an_image(number: int) -> BuiltImage:
    """Some ten megabytes on disk, half of it a blob; nothing in common with another one."""
    chance = random.Random(number)
    return build_image([[file(f"f{at}", chance.randbytes(3000)) for at in range(FILES)]])


@asynccontextmanager
async def kubelet(store: Store) -> AsyncIterator[rpc.ImageServiceStub]:
    """A client of the CRI door."""
    with tempfile.TemporaryDirectory(prefix="door") as home:
        address = f"unix://{home}/s.sock"
        stop, ready = asyncio.Event(), asyncio.Event()
        serving = asyncio.create_task(
            daemon.serve(
                opening(Rig(store.service, address)), stop=stop, on_ready=lambda _: ready.set()
            )
        )
        await asyncio.wait_for(ready.wait(), 5)
        async with grpc.aio.insecure_channel(address) as channel:
            yield rpc.ImageServiceStub(channel)  # type: ignore[no-untyped-call]
        stop.set()
        await asyncio.wait_for(serving, 10)


async def fs_bytes(images: rpc.ImageServiceStub) -> int:
    """What ImageFsInfo says."""
    (found,) = (await images.ImageFsInfo(pb.ImageFsInfoRequest())).image_filesystems
    return int(found.used_bytes.value)


async def test_kubelet_frees_what_it_wants_to_free(tmp_path: Path) -> None:
    """It fills the disk to the high threshold, and removes the oldest images to the low one."""
    with disk.loop_ext4(96 << 20, tmp_path) as home, FakeRegistry() as registry:
        async with running(home / "root") as store, kubelet(store) as images:
            pulled: list[pb.Image] = []
            while used_share(home) < HIGH:
                number = len(pulled)
                reference = offer(registry, f"app{number}", "v1", an_image(number))
                spec = pb.ImageSpec(image=reference)
                await images.PullImage(pb.PullImageRequest(image=spec))
                status = await images.ImageStatus(pb.ImageStatusRequest(image=spec))
                pulled.append(status.image)
            found = os.statvfs(home)
            wanted = (used_share(home) - LOW) * found.f_blocks * found.f_frsize
            reported, removed = await fs_bytes(images), 0
            while removed < wanted:
                image = pulled.pop(0)
                before, said = os.statvfs(home).f_bavail, await fs_bytes(images)
                await images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=image.id)))
                freed = (os.statvfs(home).f_bavail - before) * found.f_frsize
                said -= await fs_bytes(images)
                assert said == image.size
                assert abs(freed - said) < 0.05 * said, "statfs and ImageFsInfo agree, at once"
                removed += image.size
            assert used_share(home) <= LOW + 0.01
            assert reported - await fs_bytes(images) == removed
            assert len((await images.ListImages(pb.ListImagesRequest())).images) == len(pulled)


async def test_what_a_mount_keeps_says_so(tmp_path: Path) -> None:
    """Files of an image without a name stay as long as it is mounted, and no longer."""
    image = build_image([[file("a", b"a")], [file("b", b"b")]])
    target = tmp_path / "target"
    target.mkdir()
    with FakeRegistry() as registry:
        async with running(tmp_path / "root") as store:
            reference = offer(registry, "app", "v1", image)
            await store.service.pull(reference)
            (found,) = await store.service.why(reference)
            assert reference in {chain.id for chain in found.chains}
            await store.service.mount(reference, str(target))
            await store.service.remove(reference)
            (found,) = await store.service.why(str(image.chain[0]))
            (chain,) = found.chains
            assert (chain.keeper, chain.id, chain.detail) == ("snapshot", "view", str(target))
            usage = await store.service.disk_usage()
            assert usage.kept_bytes == usage.bytes > 0
            assert (target / "a").read_bytes() == b"a"
            await store.service.unmount(str(target))
            await store.service.collect()
            with pytest.raises(NotFound):
                await store.service.why(str(image.chain[0]))


async def test_with_space_a_removal_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """Usage goes down at once, files follow; the end leaves none behind."""
    with disk.loop_ext4(200 << 20, tmp_path) as home, FakeRegistry() as registry:
        trash = home / "root" / "io.containerd.snapshotter.v1.overlayfs" / "trash"
        async with running(home / "root") as store:
            before = (await store.service.filesystems())[0].usage
            reference = offer(registry, "app", "v1", an_image(1))
            await store.service.pull(reference)
            assert await store.service.remove(reference)
            assert len(os.listdir(trash)) == 1
            usage = await store.service.disk_usage()
            assert (usage.bytes, usage.images) == (0, ())
            assert usage.trash_bytes > 0
            assert (await store.service.filesystems())[0].usage == before
        assert os.listdir(trash) == []


async def test_a_pull_that_needs_the_space_of_the_trash_gets_it(tmp_path: Path) -> None:
    chance = random.Random(7)
    first = build_image([[file(f"f{at}", chance.randbytes(16_000)) for at in range(FILES)]])
    second = build_image([[file("large", chance.randbytes(30_000_000))]])
    with disk.loop_ext4(110 << 20, tmp_path) as home, FakeRegistry() as registry:
        async with running(home / "root") as store:
            reference = offer(registry, "first", "v1", first)
            await store.service.pull(reference)
            while used_share(home) < 0.7:
                with (home / "other").open("ab") as other:
                    other.write(bytes(1 << 20))
                    os.fsync(other.fileno())
            await store.service.remove(reference)
            await store.service.pull(offer(registry, "second", "v1", second))


def large_image() -> BuiltImage:
    """Hard links, holes, attributes, many directories, and files of all sizes."""
    chance = random.Random(3)
    data = chance.randbytes(200_000)
    plain = [
        entry
        for at in range(300)
        for entry in (
            directory(f"d{at}"),
            directory(f"d{at}/below"),
            file(f"d{at}/below/f", data[: chance.randint(0, 30_000)]),
        )
    ]
    linked = [hard_link(f"links/{at}", "large") for at in range(20)]
    hole = sparse_file("hole", data[:4096] + bytes(50 << 20), [(0, 4096)], format="gnu")
    labelled = [
        replace(file(f"x{at}", data[:at]), xattrs={"user.note": data[:60]}) for at in range(100)
    ]
    return build_image(
        [plain, [file("large", data * 20), directory("links"), *linked, hole], labelled]
    )


@pytest.mark.parametrize("kind", disk.kinds())
async def test_usage_is_what_du_says(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        disk.loop_filesystem(kind, 400 << 20, directory=tmp_path) as home,
        FakeRegistry() as registry,
    ):
        root = home / "root"
        async with running(root) as store:
            await store.service.pull(offer(registry, "app", "v1", large_image()))
            (found,) = await store.service.filesystems()
            os.sync()
            du = _du(root / "io.containerd.content.v1.content" / "blobs")
            du += _du(root / "io.containerd.snapshotter.v1.overlayfs" / "snapshots")
            share = found.usage.bytes / du - 1
            with capsys.disabled():
                print(f"\n{kind}: {found.usage.bytes} bytes, du says {du}: {share:+.2%}")
            assert abs(share) < 0.01


def _du(path: Path) -> int:
    out = subprocess.run(
        ["du", "--summarize", "--block-size=1", str(path)], check=True, capture_output=True
    )
    return int(out.stdout.split()[0])
