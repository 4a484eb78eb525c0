"""Workers and the process that owns them: what they make, and that they die with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

from orlop.model.digest import Digest
from orlop.model.mediatype import Compression
from orlop.ports.unpack import Unpacked, UnpackJob
from orlop.testing import layers
from orlop.testing.layers import Entry, directory, file
from orlop.unpack.pool import WorkerPool
from tests.rigs.oracle import extract_with_tar
from tests.rigs.tree import differences, tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orlop.ports.snapshots import ApplyMode

pytestmark = pytest.mark.root

SECOND = 10**9
LAYER = layers.tar_bytes(
    [
        Entry(b"./", layers.DIRECTORY, mode=0o755, mtime_ns=SECOND),
        directory("usr", mode=0o1777, uid=5),
        *(file(f"usr/{number}", os.urandom(20_000), uid=number) for number in range(100)),
        Entry(b"usr/set-id", data=b"x", mode=0o6755, uid=9, mtime_ns=SECOND + 1),
        Entry(b"usr/attr", data=b"x", xattrs={"user.a": b"b"}),
        Entry(b"usr/bin/", layers.DIRECTORY, mode=0o2755, gid=3, mtime_ns=5 * SECOND),
        layers.symlink("usr/bin/sh", "../1"),
        layers.hard_link("usr/bin/link", "usr/2"),
        layers.fifo("usr/fifo"),
        layers.device("usr/null", major=1, minor=3),
        layers.sparse_file("usr/sparse", b"x" * 512 + bytes(1 << 20), [(0, 512)], format="1.0"),
    ]
)


class Growing:
    """A blob that a download appends to while it is being unpacked."""

    def __init__(self, path: Path, blob: bytes, step: int) -> None:
        self._writer = path.open("wb")
        self._reader = path.open("rb")
        self._blob = blob
        self._step = step

    def fileno(self) -> int:
        return self._reader.fileno()

    async def follow(self) -> AsyncIterator[int]:
        for at in range(0, len(self._blob), self._step):
            self._writer.write(self._blob[at : at + self._step])
            self._writer.flush()
            yield min(at + self._step, len(self._blob))
            await asyncio.sleep(0)

    def close(self) -> None:
        self._writer.close()
        self._reader.close()


async def unpack(
    pool: WorkerPool, work: Path, compression: Compression, mode: ApplyMode, step: int
) -> Unpacked:
    work.mkdir()
    root = work / "root"
    root.mkdir()
    blob = layers.compress(LAYER, compression, members=1 if compression is Compression.NONE else 3)
    source = Growing(work / "blob", blob, step)
    target = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return await pool.unpack(
            UnpackJob(source, target, compression, mode, Digest.of(LAYER), len(blob))
        )
    finally:
        os.close(target)
        source.close()


async def test_every_form_of_a_layer_becomes_the_tree_that_tar_makes(tmp_path: Path) -> None:
    oracle = tmp_path / "oracle"
    oracle.mkdir()
    extract_with_tar([LAYER], oracle)
    expected = tree(oracle)
    forms: list[tuple[Compression, ApplyMode, int]] = [
        (compression, mode, step)
        for compression in Compression
        for mode in ("overlay", "direct")
        for step in (4099, 1 << 30)
    ]
    async with WorkerPool() as pool, asyncio.timeout(60):
        results = await asyncio.gather(
            *(unpack(pool, tmp_path / str(n), *form) for n, form in enumerate(forms))
        )
    for number, result in enumerate(results):
        root = tmp_path / str(number) / "root"
        assert differences(expected, tree(root)) == [], forms[number]
        assert result.uncompressed == len(LAYER)
        assert result.inodes == len({os.lstat(root / os.fsdecode(p)).st_ino for p in expected})
        assert (result.implied, result.opaque, result.dropped) == ((), (), {})


OWNER = textwrap.dedent(
    """
    import asyncio, os, sys
    from orlop.model.digest import Digest
    from orlop.model.mediatype import Compression
    from orlop.ports.unpack import UnpackJob
    from orlop.unpack.pool import WorkerPool

    class Endless:
        def fileno(self):
            return source

        async def follow(self):
            yield 100
            await asyncio.Event().wait()

    async def main():
        pool = WorkerPool()
        job = UnpackJob(Endless(), target, Compression.NONE, "overlay", Digest.of(b""), 1 << 20)
        running = asyncio.create_task(pool.unpack(job))
        children = f"/proc/{{pid}}/task/{{pid}}/children"
        while not pool.pid or not open(children.format(pid=pool.pid)).read():
            await asyncio.sleep(0.01)
        print(pool.pid, open(children.format(pid=pool.pid)).read(), flush=True)
        await running

    source, target = map(int, sys.argv[1:])
    asyncio.run(main())
    """
)


def gone(pid: int) -> bool:
    """True when the process has ended; who has to reap it does not matter here."""
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_die_with_their_owner(tmp_path: Path, how: signal.Signals) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(LAYER)
    target = tmp_path / "root"
    target.mkdir()
    descriptors = [os.open(blob, os.O_RDONLY), os.open(target, os.O_RDONLY)]
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, *map(str, descriptors)],
        stdout=subprocess.PIPE,
        pass_fds=descriptors,
        text=True,
    )
    try:
        assert owner.stdout is not None
        processes = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(processes) == 2
        assert not any(map(gone, processes))
        owner.send_signal(how)
        owner.wait()
        deadline = time.monotonic() + 10
        while not all(map(gone, processes)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert all(map(gone, processes))
    finally:
        owner.kill()
        owner.wait()
        if owner.stdout is not None:
            owner.stdout.close()
        for fd in descriptors:
            os.close(fd)
