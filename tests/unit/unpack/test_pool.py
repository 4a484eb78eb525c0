"""The pool with real workers: outcomes, cancellation, deaths, and what stays behind."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    ArchiveEscape,
    ArchiveInvalid,
    DigestMismatch,
    Internal,
    LimitExceeded,
    ManifestInvalid,
    StoreCorrupt,
    StoreFull,
    Unavailable,
)
from orlop.linux.files import DIRECTORY
from orlop.model.digest import Digest
from orlop.model.limits import Limits
from orlop.model.mediatype import Compression
from orlop.ports.unpack import Unpacked, UnpackJob
from orlop.testing import layers
from orlop.testing.layers import file
from orlop.unpack.pool import WorkerPool
from tests.unit.unpack.workers import (
    BLOB,
    LAYER,
    NONE,
    Blob,
    Progress,
    Rig,
    Step,
    cancelled,
    is_dead,
    running,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator


pytestmark = pytest.mark.root


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        yield rig


@pytest.mark.parametrize("more", range(4))
async def test_a_fork_server_for_which_there_are_no_descriptors(more: int) -> None:
    before = os.listdir("/proc/self/fd")
    lowest = next(fd for fd in itertools.count() if str(fd) not in before)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with WorkerPool() as pool:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, limits[1]))
        try:
            with pytest.raises(Unavailable, match="fork-server"):
                pool.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert os.listdir("/proc/self/fd") == before
        pool.start()
        assert pool.pid


@pytest.fixture
def small(tmp_path: Path) -> Iterator[int]:
    """Descriptor of a directory on a file system of 64 KiB."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(path)], check=True)
    try:
        fd = os.open(path, DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        subprocess.run(["umount", str(path)], check=True)


class TestOutcomes:
    """What ``unpack`` returns and raises."""

    @pytest.mark.parametrize("compression", list(Compression))
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_success(self, rig: Rig, compression: Compression, algorithm: str) -> None:
        result = await rig.unpack(
            layers.compress(LAYER, compression),
            compression=compression,
            diff_id=Digest.of(LAYER, algorithm),
        )
        assert not result.needs_parent
        assert (result.uncompressed, result.entries, result.inodes) == (len(LAYER), 300, 302)
        assert result.disk_bytes >= 300 * 4096
        assert result.implied == (b".", b"d")
        assert (result.opaque, result.dropped) == ((), {})
        assert len(os.listdir(rig.tree(2) / "d")) == 300

    async def test_everything_is_told(self, rig: Rig) -> None:
        plain = layers.tar_bytes(
            [
                layers.opaque("o"),
                layers.Entry(b"a/b", xattrs={"trusted.x": b"1", "security.selinux": b"2"}),
                layers.Entry(b"c", xattrs={"trusted.x": b"1"}, mode=0o6777),
            ]
        )
        result = await rig.unpack(plain, plain=plain, compression=NONE)
        assert result.implied == (b".", b"a", b"o")
        assert result.opaque == (b"o",)
        assert result.dropped == {"xattr trusted": 2, "xattr security": 1}
        assert (rig.tree(2) / "c").stat().st_mode & 0o7777 == 0o6777

    async def test_workers_leave_the_processor_to_others(self) -> None:
        async with WorkerPool(niceness=7) as pool:
            pool.start()
            assert os.getpriority(os.PRIO_PROCESS, pool.pid) == 7
            assert os.getpriority(os.PRIO_PROCESS, 0) == 0

    async def test_direct_mode(self, rig: Rig) -> None:
        plain = layers.tar_bytes([file("f"), layers.whiteout("f"), layers.whiteout("g")])
        await rig.unpack(plain, plain=plain, compression=NONE, mode="direct")
        assert os.listdir(rig.tree(2)) == ["f"]

    async def test_many_paths(self, rig: Rig) -> None:
        plain = layers.tar_bytes([file(f"{number:0200}/f") for number in range(700)])
        result = await rig.unpack(plain, plain=plain, compression=NONE)
        assert len(result.implied) == 701

    async def test_needs_parent(self, rig: Rig) -> None:
        plain = layers.tar_bytes([layers.hard_link("a", "of/a/lower/layer")])
        result = await rig.unpack(plain, plain=plain, compression=NONE)
        assert result == Unpacked(needs_parent=True)

    async def test_wrong_diff_id(self, rig: Rig) -> None:
        for diff_id in (Digest.of(b"other"), Digest.of(b"other", "sha512")):
            with pytest.raises(DigestMismatch, match="diffID"):
                await rig.unpack(diff_id=diff_id)

    async def test_bytes_after_the_archive_are_hashed(self, rig: Rig) -> None:
        plain = LAYER + b"hidden" * 1000
        assert (await rig.unpack(plain, plain=plain, compression=NONE)).entries == 300
        with pytest.raises(DigestMismatch):
            await rig.unpack(plain, compression=NONE)

    @pytest.mark.parametrize(
        ("data", "compression", "error"),
        [
            (b"x" * 5000, NONE, ArchiveInvalid),
            (layers.tar_bytes([file("../x")]), NONE, ArchiveEscape),
            (BLOB[:-1], Compression.GZIP, ArchiveInvalid),
            (BLOB[:-8] + bytes(8), Compression.GZIP, ArchiveInvalid),
            (b"", Compression.GZIP, ArchiveInvalid),
            (BLOB, Compression.ZSTD, ManifestInvalid),
            (layers.compress(LAYER[:-2000]), Compression.GZIP, ArchiveInvalid),
        ],
    )
    async def test_bad_layers(
        self, rig: Rig, data: bytes, compression: Compression, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            await rig.unpack(data, compression=compression)

    async def test_limits_reach_the_worker(self, tmp_path: Path) -> None:
        async with running(tmp_path, Limits(layer_bytes=100_000)) as rig:
            with pytest.raises(LimitExceeded) as caught:
                await rig.unpack()
            assert caught.value.limit == "layer_bytes"

    async def test_bomb(self, tmp_path: Path) -> None:
        bomb = layers.compress(layers.tar_bytes([file("f", bytes(8 << 20))]))
        limits = Limits(layer_ratio=100, layer_ratio_floor=1 << 20)
        async with running(tmp_path, limits) as rig:
            with pytest.raises(LimitExceeded) as caught:
                await rig.unpack(bomb)
            assert caught.value.limit == "layer_ratio"
            assert (rig.tree(2) / "f").stat().st_size < 4 << 20

    async def test_file_shorter_than_told(self, rig: Rig) -> None:
        with pytest.raises(StoreCorrupt, match="shorter"):
            await rig.unpack(steps=[len(BLOB) + 1])

    async def test_target_that_is_no_directory(self, rig: Rig, tmp_path: Path) -> None:
        blob = Blob(tmp_path / "blob")
        job = UnpackJob(blob, blob.fileno(), Compression.GZIP, "overlay", Digest.of(LAYER), 1)
        try:
            with pytest.raises(Internal):
                await rig.pool.unpack(job)
        finally:
            blob.close()

    async def test_full_disk(self, rig: Rig, tmp_path: Path, small: int) -> None:
        blob = Blob(tmp_path / "blob")
        job = UnpackJob(blob, small, Compression.GZIP, "overlay", Digest.of(LAYER), len(BLOB))
        try:
            with pytest.raises(StoreFull):
                await rig.pool.unpack(job)
        finally:
            blob.close()

    async def test_directory_that_is_gone(self, rig: Rig, tmp_path: Path) -> None:
        # The kernel says that something is not found; the answer is not about the image.
        blob = Blob(tmp_path / "blob")
        gone = tmp_path / "gone"
        gone.mkdir()
        target = os.open(gone, DIRECTORY)
        gone.rmdir()
        job = UnpackJob(blob, target, Compression.GZIP, "overlay", Digest.of(LAYER), len(BLOB))
        try:
            with pytest.raises(Internal, match="No such file"):
                await rig.pool.unpack(job)
        finally:
            os.close(target)
            blob.close()


class TestGrowingSource:
    """A blob that is unpacked while it arrives."""

    async def test_byte_by_byte(self, rig: Rig) -> None:
        plain = layers.tar_bytes([file("f", os.urandom(3000))])
        data = layers.compress(plain)
        result = await rig.unpack(data, plain=plain, steps=range(len(data) + 1))
        assert result.entries == 1

    async def test_progress_is_told_while_it_waits(self, rig: Rig) -> None:
        plain = layers.tar_bytes([file("f", os.urandom(4 << 20))])
        gate = asyncio.Event()
        progress = Progress(gate.set)
        half = len(plain) // 2
        steps: list[Step] = [half, gate, len(plain)]

        async def release() -> None:
            # The worker speaks at most ten times a second; a small layer passes unheard.
            await asyncio.sleep(0.5)
            gate.set()

        task = asyncio.create_task(release())
        await rig.unpack(plain, plain=plain, compression=NONE, steps=steps, progress=progress)
        await task
        assert progress.told
        assert progress.told == sorted(progress.told)
        assert all(0 < told <= len(plain) for told in progress.told)

    async def test_progress_beyond_the_size_is_cut(self, rig: Rig) -> None:
        plain = layers.tar_bytes([file("f", bytes(1000))])
        gate = asyncio.Event()
        progress = Progress()
        task = asyncio.create_task(
            rig.unpack(
                plain,
                plain=plain,
                compression=NONE,
                steps=[600, gate, len(plain)],
                progress=progress,
                size=10,
            )
        )
        await asyncio.sleep(0.15)
        gate.set()
        await task
        assert set(progress.told) == {10}

    async def test_fails_in_the_middle(self, rig: Rig) -> None:
        error = Unavailable("the download has failed")
        with pytest.raises(Unavailable, match="download"):
            await rig.unpack(steps=[1000, error])
        await until(lambda: rig.workers() == [])

    async def test_fails_at_once(self, rig: Rig) -> None:
        with pytest.raises(Unavailable):
            await rig.unpack(steps=[Unavailable("nothing")])
        await until(lambda: rig.workers() == [])

    async def test_layer_that_is_bad_before_it_has_arrived(self, rig: Rig) -> None:
        never = asyncio.Event()
        with pytest.raises(ArchiveInvalid):
            await rig.unpack(b"x" * 5000, compression=NONE, steps=[2000, never])
        await until(lambda: rig.workers() == [])

    async def test_worker_ends_while_frames_for_it_are_unread(self, rig: Rig) -> None:
        # Its end resets the connection; the reason that it gave counts nevertheless.
        data = b"x" * 5000
        for _ in range(5):
            with pytest.raises(ArchiveInvalid):
                await rig.unpack(data, compression=NONE, steps=[5000] * 100)


class TestCancellation:
    """Whenever it comes, the worker is gone when ``unpack`` has raised."""

    @pytest.mark.parametrize("turns", range(8))
    async def test_after_some_turns_of_the_loop(self, rig: Rig, turns: int) -> None:
        task = asyncio.create_task(rig.unpack(steps=[len(BLOB), asyncio.Event()]))
        for _ in range(turns):
            await asyncio.sleep(0)
        await cancelled(task)
        await until(lambda: rig.workers() == [])

    async def test_before_the_worker_is_made(self, rig: Rig) -> None:
        os.kill(rig.pool.pid, signal.SIGSTOP)
        task = asyncio.create_task(rig.unpack())
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
        os.kill(rig.pool.pid, signal.SIGCONT)
        await cancelled(task)
        await until(lambda: rig.workers() == [])

    @pytest.mark.parametrize("delay", [0.0, 0.001, 0.003, 0.01, 0.03])
    async def test_in_the_middle(self, rig: Rig, delay: float) -> None:
        task = asyncio.create_task(rig.unpack(steps=[len(BLOB) // 2, asyncio.Event()]))
        await until(rig.workers)
        await asyncio.sleep(delay)
        await cancelled(task)
        await until(lambda: rig.workers() == [])

    async def test_of_a_worker_that_waits(self, rig: Rig) -> None:
        task = asyncio.create_task(rig.unpack(steps=[len(BLOB) // 2, asyncio.Event()]))
        await until(lambda: (rig.tree(2) / "d" / "20").exists())
        await cancelled(task)
        await until(lambda: rig.workers() == [])
        assert (await rig.unpack()).entries == 300

    async def test_of_a_worker_that_is_stopped(self, rig: Rig) -> None:
        task = asyncio.create_task(rig.unpack(steps=[100, asyncio.Event()]))
        await until(rig.workers)
        os.kill(rig.workers()[0], signal.SIGSTOP)
        await cancelled(task)
        await until(lambda: rig.workers() == [])


class TestDeaths:
    """Processes can be killed; the service goes on."""

    async def test_worker(self, rig: Rig) -> None:
        task = asyncio.create_task(rig.unpack(steps=[100, asyncio.Event()]))
        await until(rig.workers)
        os.kill(rig.workers()[0], signal.SIGKILL)
        with pytest.raises(Internal, match="died"):
            await task
        assert (await rig.unpack()).entries == 300

    async def test_fork_server_between_jobs(self, rig: Rig) -> None:
        server = rig.pool.pid
        os.kill(server, signal.SIGKILL)
        assert (await rig.unpack()).entries == 300
        assert rig.pool.pid != server

    async def test_fork_server_with_a_job_before_it(self, rig: Rig) -> None:
        server = rig.pool.pid
        os.kill(server, signal.SIGSTOP)
        tasks = [asyncio.create_task(rig.unpack()) for _ in range(3)]
        await asyncio.sleep(0.02)
        os.kill(server, signal.SIGKILL)
        assert [result.entries for result in await asyncio.gather(*tasks)] == [300] * 3
        assert rig.pool.pid != server

    async def test_fork_server_takes_its_workers_along(self, rig: Rig) -> None:
        task = asyncio.create_task(rig.unpack(steps=[100, asyncio.Event()]))
        await until(rig.workers)
        worker = rig.workers()[0]
        os.kill(rig.pool.pid, signal.SIGKILL)
        with pytest.raises(Internal, match="died"):
            await task
        await until(lambda: is_dead(worker))
        assert (await rig.unpack()).entries == 300

    async def test_close_ends_jobs(self, rig: Rig) -> None:
        task = asyncio.create_task(rig.unpack(steps=[100, asyncio.Event()]))
        await until(rig.workers)
        await rig.pool.close()
        with pytest.raises(Internal):
            await task
        with pytest.raises(Unavailable, match="stopped"):
            await rig.unpack()

    async def test_close_before_the_worker_is_made(self, rig: Rig) -> None:
        os.kill(rig.pool.pid, signal.SIGSTOP)
        task = asyncio.create_task(rig.unpack())
        await asyncio.sleep(0.02)
        await rig.pool.close()
        with pytest.raises(Unavailable, match="stopped"):
            await task
        assert rig.pool.pid == 0


class TestManyJobs:
    """Jobs do not disturb each other."""

    async def test_thirty_at_once(self, rig: Rig) -> None:
        def job(number: int) -> Awaitable[object]:
            if number % 5 == 1:
                return rig.unpack(b"x" * 5000, compression=NONE)
            if number % 5 == 2:
                return rig.unpack(steps=[100, Unavailable("gone")])
            return rig.unpack()

        results = await asyncio.gather(*map(job, range(30)), return_exceptions=True)
        kinds = [type(result) for result in results]
        assert kinds == [Unpacked, ArchiveInvalid, Unavailable, Unpacked, Unpacked] * 6
        await until(lambda: not rig.workers())


class TestWorkerProcess:
    """What a process that reads a stranger's bytes has in its hands."""

    async def test_has_its_job_only(self, rig: Rig) -> None:
        os.environ["ORLOP_TEST_SECRET"] = "x"
        task = asyncio.create_task(rig.unpack(steps=[100, asyncio.Event()]))
        try:
            await until(rig.workers)
            worker = rig.workers()[0]
            # The filter of system calls is the last thing that it puts on.
            status = Path(f"/proc/{worker}/status")
            await until(lambda: "Seccomp:\t2" in status.read_text())
            links = sorted(
                os.readlink(f"/proc/{worker}/fd/{fd}") for fd in os.listdir(f"/proc/{worker}/fd")
            )
            assert links[-1].startswith("socket:")
            # Its tree is all of the file system that it has.
            assert links[:-1] == ["/", "/dev/null", str(rig.directory / "blob2")]
            assert os.readlink(f"/proc/{worker}/cwd") == "/"
            assert os.path.samefile(f"/proc/{worker}/root", rig.tree(2))
            assert await asyncio.to_thread(Path(f"/proc/{worker}/environ").read_bytes) == b""
            limits = await asyncio.to_thread(Path(f"/proc/{worker}/limits").read_text)
            core = next(line for line in limits.splitlines() if "core file" in line)
            assert core.split()[4:6] == ["0", "0"]
        finally:
            del os.environ["ORLOP_TEST_SECRET"]
            await cancelled(task)
