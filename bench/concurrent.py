"""Many pulls at once, as after a node's start: does the daemon still answer, and is it fair?

    python -m bench.concurrent [--images N] [--pulls N] [--megabytes N]

A daemon of its own pulls from a registry of this machine; several clients ask for the
same images. Meanwhile another client lists images again and again (bench.watch), and once
the pulls are under way a small image is pulled. Each image has a layer that all share.
Needs root and the program ``docker-registry``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.watch import watching
from demo.client import CriClient
from demo.surroundings import Daemon, directory
from orlop.model.mediatype import Compression
from orlop.testing.distribution import DistributionRegistry
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.testing.images import BuiltImage

_IDLE_SECONDS = 1.0
_LAYERS = 3


@dataclass(frozen=True)
class Figures:
    """What was measured, in seconds.

    Attributes:
        idle: each call of ListImages before the pulls.
        calls: each call of ListImages during the pulls.
        ends: when each pull of a large image ended, from the start of all.
        late: when the small image was asked for, and when it was there.
    """

    idle: Sequence[float]
    calls: Sequence[float]
    ends: Sequence[float]
    late: tuple[float, float]

    def __str__(self) -> str:
        begun, ended = self.late
        return (
            f"{len(self.ends)} pulls in {max(self.ends):.2f} s,"
            f" half of them in {statistics.median(self.ends):.2f} s\n"
            f"the small image in {ended - begun:.2f} s, from {begun:.2f} s on\n"
            f"ListImages, idle:    {_quantiles(self.idle)}\n"
            f"ListImages, pulling: {_quantiles(self.calls)}"
        )


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of the others do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _quantiles(values: Sequence[float]) -> str:
    shown = ", ".join(f"p{at} {percentile(values, at) * 1000:.1f} ms" for at in (50, 99))
    return f"{shown}, longest {max(values) * 1000:.1f} ms ({len(values)} calls)"


def large_images(count: int, megabytes: int) -> list[BuiltImage]:
    """Images of some layers: half of each is noise, and one layer is the same for all."""
    size = megabytes * 1_000_000 // _LAYERS
    base = build_layer([file("base", os.urandom(size))], Compression.GZIP)
    images = []
    for number in range(count):
        own = [
            build_layer(
                [file(f"f{number}-{at}", os.urandom(size // 2) + bytes(size // 2))],
                Compression.GZIP,
            )
            for at in range(_LAYERS - 1)
        ]
        images.append(build_image([base, *own]))
    return images


def offer(registry: DistributionRegistry, image: BuiltImage, name: str) -> str:
    """Put an image into the registry; returns its reference."""
    for blob in image.blobs.values():
        registry.put_blob(name, blob)
    registry.put_manifest(name, "v1", image.manifest, image.media_type)
    return f"{registry.address}/{name}:v1"


async def measure(address: str, references: Sequence[str], small: str, *, pulls: int) -> Figures:
    """Pull through the daemon at ``address``, ``references`` in turns, and watch it."""
    with watching(address) as watcher:
        await asyncio.sleep(_IDLE_SECONDS)
        idle = watcher.stop()
    async with CriClient(address) as client:
        ends: list[float] = []

        async def pull(reference: str) -> None:
            await client.pull(reference)
            ends.append(time.monotonic() - begin)

        with watching(address) as watcher:
            begin = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for at in range(pulls):
                    group.create_task(pull(references[at % len(references)]))
                late = group.create_task(_late(client, small, begin))
            calls = watcher.stop()
        return Figures(idle, calls, ends, late.result())


async def _late(client: CriClient, reference: str, begin: float) -> tuple[float, float]:
    await asyncio.sleep(0.3)
    begun = time.monotonic() - begin
    await client.pull(reference)
    return begun, time.monotonic() - begin


def run(*, images: int, pulls: int, megabytes: int, rate: int = 0) -> Figures:
    """Everything, with a registry and a daemon that end with it.

    ``rate`` is the daemon's ``max_download_rate``.
    """
    config = f'version = 4\n[plugins."io.containerd.cri.v1.images"]\nmax_download_rate = {rate}\n'
    with (
        tempfile.TemporaryDirectory(prefix="orlop-bench-") as storage,
        DistributionRegistry(Path(storage)) as registry,
        directory() as home,
        Daemon(home, config=config) as daemon,
    ):
        references = [
            offer(registry, image, f"large/app{number}")
            for number, image in enumerate(large_images(images, megabytes))
        ]
        small = offer(registry, build_image([[file("small", os.urandom(10_000))]]), "small/app")
        return asyncio.run(measure(daemon.address, references, small, pulls=pulls))


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.concurrent", description="Pull much at once.")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--pulls", type=int, default=64)
    parser.add_argument("--megabytes", type=int, default=60, help="of each image, unpacked")
    arguments = parser.parse_args()
    print(run(images=arguments.images, pulls=arguments.pulls, megabytes=arguments.megabytes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
