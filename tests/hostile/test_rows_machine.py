"""Rows L: a machine that fails, and neighbours on it; everything is real.

Rows that are shown beside the code they concern have their tests there: see docs/threats.md.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    FailedPrecondition,
    Internal,
    OrlopError,
    StoreCorrupt,
    StoreFull,
    StoreIO,
    StoreLocked,
    Unavailable,
)
from orlop.linux.clock import SystemClock
from orlop.model.mediatype import Compression
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault
from orlop.testing.images import build_image
from orlop.testing.layers import Entry, directory, file, opaque, whiteout
from tests.hostile.site import Tripwire
from tests.integration.pull.rig import Store, offer, running, workers
from tests.rigs.disk import loop_ext4
from tests.unit.unpack.rig import shape

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

pytestmark = pytest.mark.root

MEBIBYTE = 1 << 20
IMAGE = build_image(
    [
        [directory("d"), file("d/f", b"1" * 5000), file("g", b"2")],
        [whiteout("g"), opaque("d"), file("d/h", b"3"), Entry(b"x", xattrs={"user.a": b"b"})],
    ]
)
SHOWN = {"d": "dir", "d/h": b"3", "x": b""}
CONTENT = "io.containerd.content.v1.content"
OVERLAY = "io.containerd.snapshotter.v1.overlayfs"
DATABASE = "io.containerd.metadata.v1.sqlite"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        yield found


async def whole(store: Store, count: int) -> None:
    """So many images are listed, and each of them is complete."""
    assert len(await store.service.images()) == count
    assert [one.problems for one in await store.service.check()] == [()] * count


async def failure(work: Awaitable[object]) -> OrlopError | None:
    """What went wrong, if something did. An exception that is none of ours is passed on."""
    try:
        await work
    except OrlopError as error:
        return error
    return None


async def works(store: Store, registry: FakeRegistry, target: Path) -> None:
    """All that is done with an image."""
    reference = offer(registry, "works/image", "v1", IMAGE)
    await store.service.pull(reference)
    target.mkdir()
    await store.service.mount(reference, str(target))
    try:
        assert shape(target) == SHOWN
    finally:
        await store.service.unmount(str(target))
        target.rmdir()
    assert await store.service.remove(reference)
    assert (await store.traces()).files == frozenset()


def free(path: Path) -> int:
    """Bytes, those among them that are kept for root."""
    found = os.statvfs(path)
    return found.f_bfree * found.f_frsize


def fill(path: Path) -> Path:
    """Take the last block of a file system."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file_:
        for piece in (MEBIBYTE, 4096, 1):
            with suppress(OSError):
                while file_.write(bytes(piece)):
                    continue
    assert free(path) < MEBIBYTE  # ext4 keeps some for itself
    return ballast


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


@contextmanager
def mounted(path: Path, *options: str) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", *options, str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


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
