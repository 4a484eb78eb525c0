"""How long small calls take on a store with many images, and a pull of many layers.

    python -m bench.scale [--images N] [--layers N] [--json FILE]

The records are written directly, as pulls would; trees are empty directories. Every
figure is the median of several calls, over an open connection where there is one.
Needs root.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from demo.client import CriClient
from demo.surroundings import Daemon
from orlop.linux.clock import SystemClock
from orlop.metadata.store import MetadataStore
from orlop.model.mediatype import Compression
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import file
from tests.rigs.many import publication

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_SNAPSHOTS: Final = "io.containerd.snapshotter.v1.overlayfs/snapshots"
_DATABASE: Final = "io.containerd.metadata.v1.sqlite/meta.db"
_PROGRAM: Final = str(Path(sys.executable).parent / "orlop")
_CALLS: Final = 15
_COMMANDS: Final = 5


@dataclass(frozen=True, slots=True)
class Figure:
    """One small cost.

    Attributes:
        what: was done.
        seconds: each time.
        wanted: the most that it should take, in seconds.
    """

    what: str
    seconds: tuple[float, ...]
    wanted: float

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.seconds)


async def fill(root: Path, images: int) -> None:
    """Write the records and the empty trees of so many images."""
    async with MetadataStore.open(str(root / _DATABASE), SystemClock()) as store:
        for number in range(images):
            made = publication(number)
            for snapshot in made.snapshots:
                os.makedirs(root / _SNAPSHOTS / str(snapshot.directory) / "fs", mode=0o700)
            await store.publish("k8s.io", made)


async def calls(address: str, images: int) -> list[Figure]:
    """What kubelet asks all the time."""
    async with CriClient(address) as client:
        listed = await _timed(client.images, _CALLS)
        if len(found := await client.images()) != images:
            raise RuntimeError(f"{len(found)} images are listed instead of {images}")
        name = found[images // 2].repo_tags[0]
        status = await _timed(lambda: client.status(name, verbose=False), _CALLS)
        filesystem = await _timed(client.filesystems, _CALLS)
    return [
        Figure(f"ListImages, {images} images", listed, 0.100),
        Figure("ImageStatus", status, 0.003),
        Figure("ImageFsInfo", filesystem, 0.005),
    ]


async def layers(address: str, count: int) -> list[Figure]:
    """A pull of many layers, each one file, and the same again."""
    small = build_image(
        [build_layer([file(f"f{n}", b"x" * 100)], Compression.GZIP) for n in range(count)]
    )
    async with FakeRegistry() as registry, CriClient(address) as client:
        for blob in small.blobs.values():
            registry.add_blob(blob)
        registry.add_manifest("bench/many", "v1", small.manifest, small.media_type)
        name = f"{registry.address}/bench/many:v1"
        first = await _timed(lambda: client.pull(name), 1)
        again = await _timed(lambda: client.pull(name), _CALLS)
    return [
        Figure(f"pull of {count} layers, each layer", (first[0] / count,), 0.005),
        Figure(f"pull of the same when it is here ({count} layers)", again, 0.015),
    ]


async def _timed(call: Callable[[], Awaitable[object]], times: int) -> tuple[float, ...]:
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - begun)
    return tuple(seconds)


def command(address: str) -> Figure:
    """A process of its own, from its start to its end, on an empty store."""
    seconds = []
    for _ in range(_COMMANDS):
        begun = time.perf_counter()
        subprocess.run(
            [_PROGRAM, "images", "--address", address], check=True, stdout=subprocess.DEVNULL
        )
        seconds.append(time.perf_counter() - begun)
    return Figure("orlop images, no image", tuple(seconds), 0.25)


def measure(home: Path, images: int, count: int) -> list[Figure]:
    """All of it, on a new store in ``home``."""
    starts = []
    for _ in range(_COMMANDS):
        begun = time.perf_counter()
        with Daemon(home) as daemon:
            starts.append(time.perf_counter() - begun)
            root = daemon.root
    figures = [Figure("start of the daemon, empty store", tuple(starts), 1.0)]
    with Daemon(home) as daemon:
        figures.append(command(daemon.address))
        figures += asyncio.run(layers(daemon.address, 10))
        figures += asyncio.run(layers(daemon.address, count))[:1]
        subprocess.run(
            [_PROGRAM, "rm", "--address", daemon.address, *names(daemon.address)], check=True
        )
    asyncio.run(fill(root, images))
    begun = time.perf_counter()
    with Daemon(home) as daemon:
        full = time.perf_counter() - begun
        figures.append(Figure(f"start of the daemon, {images} images", (full,), 1.0))
        figures += asyncio.run(calls(daemon.address, images))
    return figures


def names(address: str) -> list[str]:
    """Ids of the images that are there."""
    shown = subprocess.run(
        [_PROGRAM, "images", "--address", address, "-o", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    return [image["id"] for image in json.loads(shown.stdout)]


def render(figures: Sequence[Figure]) -> str:
    """The table for people, in milliseconds."""
    lines = [f"{'what':50} {'median':>9} {'min-max':>17} {'wanted':>8}"]
    for one in figures:
        spread = f"{min(one.seconds) * 1000:.1f}-{max(one.seconds) * 1000:.1f}"
        lines.append(
            f"{one.what:50} {one.median * 1000:6.1f} ms {spread:>17} {one.wanted * 1000:5.0f} ms"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.scale", description="Measure small calls.")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--layers", type=int, default=500)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as home:
        figures = measure(Path(home), arguments.images, arguments.layers)
    print(render(figures))
    if arguments.json:
        document = [{"what": one.what, "seconds": one.seconds} for one in figures]
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
