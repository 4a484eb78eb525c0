"""What the fences of the unpack workers cost.

    python -m bench.jail [--image IMAGE] [--tag TAG] [--pairs N] [--cache DIR]

All layers of an image are unpacked, with every fence and with none, in turns (A B A B,
and B A B A every second pair), on a fresh file system each time. Unpacking is all that the
fences touch: their share of a whole pull, which also downloads and syncs, is smaller than
what is printed. On a machine with nothing else to do, the processor time of all processes
is steadier than the clock. Needs root.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from bench.image import CACHE, RECIPES, blob_path, obtain
from bench.measure import disk_size
from orlop.linux.files import DIRECTORY
from orlop.model.digest import Digest
from orlop.model.mediatype import Compression
from orlop.ports.unpack import UnpackJob
from orlop.unpack.jail import EVERY, NONE, Fence
from orlop.unpack.pool import WorkerPool
from tests.rigs.disk import loop_ext4

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bench.image import Image

_AT_ONCE = 2  # workers; the default of max_concurrent_unpacks on two processors


class _Blob:
    """A layer that is complete."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def fileno(self) -> int:
        return self._file.fileno()

    async def follow(self) -> AsyncIterator[int]:
        yield self._size


class Took(NamedTuple):
    """Seconds on the clock, and of all processors of the machine."""

    clock: float
    processors: float


def _now() -> Took:
    user, nice, system, _, _, irq, softirq = Path("/proc/stat").read_text().split()[1:8]
    ticks = sum(map(int, (user, nice, system, irq, softirq)))
    return Took(time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"))


async def unpack(pool: WorkerPool, image: Image, tag: str, cache: Path) -> Took:
    """Unpack all layers of an image, each into a tree of its own, on a fresh disk."""
    turn = asyncio.Semaphore(_AT_ONCE)
    with ExitStack() as stack:
        scratch = stack.enter_context(TemporaryDirectory(prefix="bench-jail-", dir=cache))
        disk = stack.enter_context(loop_ext4(disk_size(image, tag), Path(scratch)))
        jobs = []
        for number, layer in enumerate(image.layers):
            blob = layer.blobs[tag]
            tree = disk / str(number)
            tree.mkdir()
            target = os.open(tree, DIRECTORY)
            stack.callback(os.close, target)
            file = stack.enter_context(blob_path(blob, cache=cache).open("rb"))
            jobs.append(
                UnpackJob(
                    source=_Blob(file, blob.size),
                    target=target,
                    compression=Compression(tag),
                    mode="overlay",
                    diff_id=Digest.parse(layer.diff_id),
                    size=blob.size,
                )
            )

        async def one(job: UnpackJob) -> None:
            async with turn:
                await pool.unpack(job)

        before = _now()
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(one(job))
        after = _now()
        return Took(after.clock - before.clock, after.processors - before.processors)


async def compare(image: Image, tag: str, pairs: int, cache: Path) -> list[tuple[Took, Took]]:
    """With and without fences, a pair a turn; a first turn warms up and is not told."""
    found: list[tuple[Took, Took]] = []
    async with WorkerPool(fences=EVERY) as fenced, WorkerPool(fences=NONE) as open_air:
        pools: dict[Fence, WorkerPool] = {EVERY: fenced, NONE: open_air}
        for turn in range(pairs + 1):
            order = (EVERY, NONE) if turn % 2 else (NONE, EVERY)
            took = {kind: await unpack(pools[kind], image, tag, cache) for kind in order}
            if turn:
                found.append((took[EVERY], took[NONE]))
    return found


def _print(what: str, pairs: Sequence[tuple[float, float]], layers: int) -> None:
    fenced, unfenced = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / other if other else 1.0 for one, other in pairs)
    print(
        f"{what}: medians of {len(pairs)} pairs, {layers} layers: {fenced:.3f} s and"
        f" {unfenced:.3f} s, ratio {ratio:.3f},"
        f" {(fenced - unfenced) / layers * 1000:.1f} ms a layer"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.jail")
    parser.add_argument("--image", default="debian", choices=[*RECIPES, "tiny"])
    parser.add_argument("--tag", default="gzip", choices=["gzip", "zstd"])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--cache", type=Path, default=CACHE, help="of bench.image")
    options = parser.parse_args(arguments)
    image = obtain(options.image, cache=options.cache)
    pairs = asyncio.run(compare(image, options.tag, options.pairs, options.cache))
    for fenced, unfenced in pairs:
        print(f"{fenced.clock:.3f} s fenced, {unfenced.clock:.3f} s not")
    layers = len(image.layers)
    _print("clock", [(one.clock, other.clock) for one, other in pairs], layers)
    _print("processors", [(one.processors, other.processors) for one, other in pairs], layers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
