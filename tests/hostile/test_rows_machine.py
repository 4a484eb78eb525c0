"""Rows L: a machine that fails, and neighbours on it; everything is real.

Rows that are shown beside the code they concern have their tests there: see docs/threats.md.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    FailedPrecondition,
    StoreCorrupt,
    StoreFull,
    StoreLocked,
)
from orlop.model.mediatype import Compression
from orlop.testing.faults import Fault
from orlop.testing.images import build_image
from orlop.testing.layers import file
from tests.hostile.machine import (
    CONTENT,
    DATABASE,
    IMAGE,
    MEBIBYTE,
    OVERLAY,
    failure,
    fill,
    free,
    mounted,
    whole,
    works,
)
from tests.hostile.site import Tripwire
from tests.integration.pull.rig import offer, running, workers
from tests.rigs.disk import loop_ext4

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.testing.fake_registry import FakeRegistry

pytestmark = pytest.mark.root


# Roots.

PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, outside: path.symlink_to(outside / "dir"),
    "file": lambda path, outside: path.touch(mode=0o600),
    "dead link": lambda path, outside: path.symlink_to("/nowhere"),
}


@pytest.mark.row("L01")
@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.parametrize(
    "name",
    ["", CONTENT, f"{CONTENT}/blobs", f"{CONTENT}/blobs/sha256", f"{CONTENT}/ingest", OVERLAY,
     f"{OVERLAY}/snapshots", f"{OVERLAY}/staging", DATABASE],
)  # fmt: skip
async def test_something_planted_in_the_root(tmp_path: Path, name: str, what: str) -> None:
    """Nothing is written through it."""
    wire = Tripwire(tmp_path / "outside")
    root = tmp_path / "root"
    async with running(root):
        pass
    place = root / name
    shutil.rmtree(place)
    PLANTED[what](place, wire.path)
    with pytest.raises((StoreCorrupt, FailedPrecondition)):
        async with running(root):
            pass
    wire.check()


@pytest.mark.row("L01")
@pytest.mark.parametrize("name", ["", CONTENT, OVERLAY, DATABASE])
async def test_a_directory_of_somebody_else(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    async with running(root):
        pass
    os.chown(root / name, 65534, 65534)
    with pytest.raises((StoreCorrupt, FailedPrecondition), match="65534"):
        async with running(root):
            pass


@pytest.mark.row("L01", "X18")
async def test_other_users_see_nothing_of_an_image(tmp_path: Path, registry: FakeRegistry) -> None:
    """A program with set-user-id bits is only as dangerous as the way to it is open."""
    reference = offer(registry, "su", "v1", build_image([[file("su", b"#!", mode=0o4755)]]))
    tmp_path.chmod(0o755)
    async with running(tmp_path / "root") as store:
        await store.service.pull(reference)
        (program,) = store.root.glob("*overlayfs/snapshots/*/fs/su")
        assert program.stat().st_mode & 0o7777 == 0o4755
        paths = [store.root, *store.root.rglob("*")]
        assert program in paths
        seen = await asyncio.create_subprocess_exec(
            *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "stat"),
            *map(str, paths[1:]),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, words = await seen.communicate()
        assert out == b""
        assert words.count(b"Permission denied") == len(paths) - 1


@pytest.mark.row("L12")
async def test_a_second_service_on_one_root(tmp_path: Path, registry: FakeRegistry) -> None:
    async with running(tmp_path / "root") as store:
        for name in ("", "lock"):
            if name:
                (store.root / name).unlink()
            with pytest.raises(StoreLocked):
                async with running(tmp_path / "root"):
                    pass
        await works(store, registry, tmp_path / "mnt")
    async with running(tmp_path / "root") as store:
        await works(store, registry, tmp_path / "mnt")


@pytest.mark.row("L16")
async def test_a_root_in_memory(tmp_path: Path, registry: FakeRegistry) -> None:
    with mounted(tmp_path / "fs", "-t", "tmpfs", "none") as place:
        async with running(place / "root") as store:
            await works(store, registry, tmp_path / "mnt")


@pytest.mark.row("L16")
async def test_a_root_on_an_overlay(tmp_path: Path, registry: FakeRegistry) -> None:
    """overlayfs cannot be stacked there: said at the start, not by the first container."""
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    with mounted(tmp_path / "fs", "-t", "overlay", "none", "-o", options) as place:
        with pytest.raises(FailedPrecondition, match="overlayfs does not work below"):
            async with running(place / "root"):
                pass
        assert not list(place.glob("root/*/staging/*"))


# No more room.


@pytest.mark.row("L03")
async def test_removing_on_a_disk_without_a_free_block(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    """What gives space back needs none, at least not more than it has put by."""
    noise = build_image([[file("noise", os.urandom(2 * MEBIBYTE))]], compression=Compression.NONE)
    with loop_ext4(48 * MEBIBYTE, tmp_path) as disk:
        async with running(disk / "root") as store:
            kept = offer(registry, "kept", "v1", IMAGE)
            gone = offer(registry, "gone", "v1", noise)
            await store.service.pull(kept)
            await store.service.pull(gone)
            ballast = fill(disk)
            with pytest.raises(StoreFull):
                await store.service.pull(offer(registry, "more", "v1", build_image([[file("m")]])))
            await whole(store, 2)
            assert await store.service.remove(gone)
            await store.service.collect()
            assert free(disk) > 3 * MEBIBYTE
            ballast.unlink()
            await whole(store, 1)
            await store.service.remove(kept)
            await works(store, registry, tmp_path / "mnt")


@pytest.mark.row("L03")
@pytest.mark.parametrize("step", range(0, 60, 6))
async def test_a_disk_that_ends_at_any_block(
    tmp_path: Path, registry: FakeRegistry, step: int
) -> None:
    """In the download, the unpacking, or the database."""
    with loop_ext4(24 * MEBIBYTE, tmp_path) as disk:
        async with running(disk / "root") as store:
            other = offer(registry, "other", "v1", build_image([[file("other", b"o")]]))
            await store.service.pull(other)
            reference = offer(registry, "image", "v1", IMAGE)
            registry.fail(Fault(delay=0.05), times=None)
            pulling = asyncio.create_task(store.service.pull(reference))
            await asyncio.sleep(0.02)  # it has looked for space already, or not
            ballast = fill(disk)
            with ballast.open("r+b") as cut:
                cut.truncate(max(0, ballast.stat().st_size - step * 4096))
            try:
                await pulling
            except StoreFull:
                await whole(store, 1)
            else:
                await whole(store, 2)
            ballast.unlink()
            registry.clear_rules()
            await store.service.pull(reference)
            await whole(store, 2)


@pytest.mark.row("L03")
async def test_a_disk_without_inodes(tmp_path: Path, registry: FakeRegistry) -> None:
    many = build_image([[file(f"f{number}") for number in range(3000)]])
    with loop_ext4(16 * MEBIBYTE, tmp_path) as disk:
        assert os.statvfs(disk).f_favail < 6000
        async with running(disk / "root") as store:
            (disk / "taken").mkdir()
            for number in range(os.statvfs(disk).f_favail - 1500):
                os.mknod(disk / f"taken/{number}")
            before = (await store.traces()).files
            with pytest.raises(StoreFull):
                await store.service.pull(offer(registry, "many", "v1", many))
            assert (await store.traces()).files == before
            await works(store, registry, tmp_path / "mnt")


@pytest.mark.row("L04")
async def test_no_descriptors(tmp_path: Path, registry: FakeRegistry) -> None:
    """With any number of them that is too low; afterwards none is lost.

    A tree cannot be removed without one: what is left of it goes with the next start.
    """
    image = build_image([[file(f"f{number}", b"%d" % number)] for number in range(5)])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    failed = 0
    async with running(tmp_path / "root") as store:
        reference = offer(registry, "image", "v1", image)
        await store.service.pull(reference)
        await store.service.remove(reference)
        before = await store.traces()
        for more in (0, 1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 25, 30):
            resource.setrlimit(resource.RLIMIT_NOFILE, (_limit(more), hard))
            try:
                failed += await failure(store.service.pull(reference)) is not None
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await store.service.remove(reference)
            assert sorted(store._descriptors()) == sorted(before.descriptors)
            await nobody_unpacks()
    assert failed > 3
    async with running(tmp_path / "root") as store:
        assert store.files() == []
        await works(store, registry, tmp_path / "mnt")


async def nobody_unpacks() -> None:
    """A worker that could not be introduced ends by itself."""
    async with asyncio.timeout(5):
        while workers():  # noqa: ASYNC110 (the kernel tells nobody)
            await asyncio.sleep(0.01)


def _limit(more: int) -> int:
    """With which so many files can be opened besides those that are."""
    taken = {int(name) for name in os.listdir("/proc/self/fd")}
    limit = 0
    while more or limit in taken:
        more -= limit not in taken
        limit += 1
    return limit
