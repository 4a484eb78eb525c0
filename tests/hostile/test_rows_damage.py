"""Rows L, the rest: what is on the disk is not what was written, and time and processes end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    Internal,
    OrlopError,
    StoreIO,
    Unavailable,
)
from orlop.linux.clock import SystemClock
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
    mounted,
    whole,
    works,
)
from tests.integration.pull.rig import offer, running
from tests.rigs.disk import loop_ext4

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.testing.fake_registry import FakeRegistry

pytestmark = pytest.mark.root


# What is on the disk is not what was written.


@pytest.mark.row("L07")
async def test_the_power_fails_after_an_answer(tmp_path: Path, registry: FakeRegistry) -> None:
    """The device as it is at that moment: without what the kernel still had in memory."""
    noise = build_image([[file(f"f{n}", os.urandom(9000)) for n in range(60)]])
    seen = tmp_path / "seen"
    seen.mkdir()
    with loop_ext4(64 * MEBIBYTE, tmp_path) as disk:
        (device,) = tmp_path.glob("disk-*/image")
        async with running(disk / "root") as store:
            first = offer(registry, "first", "v1", IMAGE)
            second = offer(registry, "second", "v1", noise)
            await store.service.pull(first)
            shutil.copyfile(device, seen / "one")
            await store.service.pull(second)
            shutil.copyfile(device, seen / "two")
            await store.service.remove(first)
            shutil.copyfile(device, seen / "removed")
    for name, names in {"one": {first}, "two": {first, second}, "removed": {second}}.items():
        with mounted(tmp_path / name, "-o", "loop", str(seen / name)) as place:
            async with running(place / "root") as store:
                found = {one.name for image in await store.service.images() for one in image.names}
                assert {one for one in found if one.startswith(registry.address)} >= names
                await whole(store, len(names))
        (seen / name).unlink()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "bit flip": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "last bit": lambda data: data[:-1] + bytes([data[-1] ^ 128]),
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "longer": lambda data: data + b"\0",
}


@pytest.mark.row("L09")
@pytest.mark.parametrize("how", [*DAMAGE, "gone"])
async def test_damaged_blobs(tmp_path: Path, registry: FakeRegistry, how: str) -> None:
    """Each blob of an image: told by a check, never used, and fetched again."""
    reference = offer(registry, "image", "v1", IMAGE)
    async with running(tmp_path / "root") as store:
        image = await store.service.pull(reference)
        for digest in (IMAGE.digest, IMAGE.id, *(one.digest for one in IMAGE.layers)):
            path = store.blob(digest.hex)
            if how == "gone":
                path.unlink()
            else:
                path.chmod(0o600)
                path.write_bytes(DAMAGE[how](path.read_bytes()))
            (report,) = await store.service.check()
            assert report.problems
            if digest in (IMAGE.digest, IMAGE.id):
                with pytest.raises(OrlopError):
                    await store.service.detail(reference)
            await store.service.remove(reference)
            await store.service.pull(reference)
            await whole(store, 1)
            assert (await store.service.images())[0].record.id == image.record.id


@pytest.mark.row("L10")
@pytest.mark.parametrize("which", [0, 1])
async def test_trees_that_are_gone(tmp_path: Path, registry: FakeRegistry, which: int) -> None:
    reference = offer(registry, "image", "v1", IMAGE)
    async with running(tmp_path / "root") as store:
        await store.service.pull(reference)
        trees = sorted(store.root.glob("*overlayfs/snapshots/*"))
        shutil.rmtree(trees[which])
    async with running(tmp_path / "root") as store:
        (report,) = await store.service.check()
        assert report.problems
        assert await store.service.remove(reference)
        await works(store, registry, tmp_path / "mnt")


DATABASES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "garbage": lambda path: path.write_bytes(os.urandom(8192)),
    "bit flips": lambda path: _flip(path),
    "a link": lambda path: _instead(path, lambda: path.symlink_to("x")),
    "a directory": lambda path: _instead(path, path.mkdir),
    "foreign log": lambda path: path.with_name("meta.db-wal").write_bytes(os.urandom(40960)),
    "foreign index": lambda path: path.with_name("meta.db-shm").write_bytes(os.urandom(32768)),
}


def _instead(path: Path, make: Callable[[], object]) -> None:
    path.rename(path.with_name("x"))
    make()


async def opens(root: Path) -> None:
    """Open the service, which has one image."""
    async with running(root) as store:
        await whole(store, 1)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(4096 + 64, len(data), 1000):
        data[at] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.row("L08")
@pytest.mark.parametrize("how", DATABASES)
async def test_a_damaged_database(tmp_path: Path, registry: FakeRegistry, how: str) -> None:
    """It is refused with a word on what to do, or all that it held is there: nothing between."""
    reference = offer(registry, "image", "v1", IMAGE)
    async with running(tmp_path / "root") as store:
        await store.service.pull(reference)
        (path,) = store.root.glob("*/meta.db")
    # As after a crash: what an orderly end leaves is not looked through.
    DATABASES[how](path)
    trees = sorted((tmp_path / "root").glob("*overlayfs/snapshots/*"))
    error = await failure(opens(tmp_path / "root"))
    assert error is None or DATABASE in error.message
    assert sorted((tmp_path / "root").glob("*overlayfs/snapshots/*")) == trees


@pytest.mark.row("L11")
async def test_remains_of_another_life(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "image", "v1", IMAGE)
    async with running(tmp_path / "root") as store:
        await store.service.pull(reference)
        before = await store.traces()
    for name in ("staging/77/fs/a", "trash/78/fs/b", "snapshots/79/fs/c"):
        (tmp_path / "root" / OVERLAY / name).mkdir(parents=True, mode=0o700)
    (tmp_path / "root" / CONTENT / "ingest" / ("0" * 64)).mkdir(mode=0o700)
    async with running(tmp_path / "root") as store:
        await store.service.collect()
        assert await store.traces() == before
        await whole(store, 1)


# Time and processes.


@pytest.mark.row("L13")
@pytest.mark.parametrize("years", [10, -10, -60])
async def test_a_clock_that_jumps(
    tmp_path: Path, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    """Between any two things that are done; only what is shown as a time changes."""
    real = SystemClock.now
    jump = years * 365 * 86400 * 10**9
    reference = offer(registry, "image", "v1", IMAGE)
    async with running(tmp_path / "root") as store:
        await store.service.pull(reference)
        monkeypatch.setattr(SystemClock, "now", lambda clock: real(clock) + jump)
        report = await store.service.collect()
        assert (report.images, report.blobs, report.snapshots) == (0, 0, 0)
        other = offer(registry, "other", "v1", build_image([[file("other")]]))
        await store.service.pull(other)
    async with running(tmp_path / "root") as store:
        monkeypatch.undo()
        await store.service.collect()
        await whole(store, 2)
        await store.service.pull(other)
        assert await store.service.remove(other)
        await whole(store, 1)


@pytest.mark.row("L06", "L15")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_a_fork_server_that_dies(
    tmp_path: Path, registry: FakeRegistry, number: signal.Signals
) -> None:
    """Under a pull: an error or another try, and the next pull has a new one."""
    image = build_image([[file("noise", os.urandom(3 * MEBIBYTE))]], compression=Compression.NONE)
    reference = offer(registry, "image", "v1", image)
    async with running(tmp_path / "root") as store:
        before = await store.traces()
        registry.fail(Fault(rate=2 * MEBIBYTE), path=str(image.layers[0].digest), times=None)
        pulling = asyncio.create_task(store.service.pull(reference))
        while sum(store.ingests().values()) < 100_000:  # noqa: ASYNC110 (the kernel tells nobody)
            await asyncio.sleep(0.01)
        for pid in _fork_servers():
            os.kill(pid, number)
        error = await failure(pulling)
        if error is not None:
            assert isinstance(error, Internal | Unavailable), repr(error)
            after = await store.traces()
            assert (after.rows, after.files) == (before.rows, before.files)
        registry.clear_rules()
        await store.service.pull(reference)
        await whole(store, 1)
        await store.service.remove(reference)
        await works(store, registry, tmp_path / "mnt")


def _fork_servers() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            parent = int((path / "stat").read_text().rpartition(") ")[2].split()[1])
        except OSError:
            continue
        if b"orlop.unpack.worker" in words and parent == os.getpid():
            found.append(int(path.name))
    return found


# The disk.


@pytest.mark.row("L14", "L05")
async def test_a_file_system_that_becomes_read_only(tmp_path: Path, registry: FakeRegistry) -> None:
    """As ext4 does when it finds itself damaged: what is there can be read on."""
    reference = offer(registry, "image", "v1", IMAGE)
    other = offer(registry, "other", "v1", build_image([[file("other", b"other")]]))
    with loop_ext4(32 * MEBIBYTE, tmp_path, options=["errors=remount-ro"]) as disk:
        device = os.path.basename(_device(disk))
        async with running(disk / "root") as store:
            image = await store.service.pull(reference)
            Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a test")
            for work in (store.service.pull(other), store.service.remove(reference)):
                assert isinstance(await failure(work), StoreIO)
            assert [one.record.id for one in await store.service.images()] == [image.record.id]
            assert (await store.service.detail(reference)).config.digest == IMAGE.id


def _device(path: Path) -> str:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return next(line.split(" - ")[1].split()[1] for line in lines if f" {path} " in line)
