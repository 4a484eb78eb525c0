"""Collections without a pause, beside pulls that share layers: no pull fails.

Each round pulls twenty images at once, by names that mean the images that another round
has just removed, while collections run and other images are removed. What was pulled is
whole when its pull returns and at the end of the round.

The tests run a few rounds; ``python -m tests.property.gc_beside_pulls --rounds 200`` all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orlop.errors import Unavailable
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import file
from orlop.testing.manual_clock import ManualClock
from tests.rigs.small_store import Places, Shelf, SmallStore, small_store

if TYPE_CHECKING:
    from orlop.ports.metadata import Image
    from orlop.testing.images import BuiltImage

PULLS: Final = 20
"""At once."""


def make_images(chance: random.Random) -> dict[str, BuiltImage]:
    """Twice as many as are pulled at once, of a dozen layers that they share."""
    pool = [build_layer([file(f"f{at}", chance.randbytes(200))]) for at in range(12)]
    images = {}
    for at in range(2 * PULLS):
        start = chance.randint(1, 3)
        layers = [*pool[:start], *chance.sample(pool[start:], chance.randint(0, 3))]
        user: dict[str, str | None] = {"User": str(at)}
        images[f"shelf.test/app{at}:v1"] = build_image(layers, config={"config": {**user}})
    return images


async def rounds(count: int, seed: int) -> int:
    """Run so many; returns how many pulls there were."""
    chance = random.Random(seed)
    images = make_images(chance)
    shelf = Shelf()
    for reference, image in images.items():
        shelf.push(reference, image)
    with tempfile.TemporaryDirectory() as home:
        async with small_store(Path(home) / "root", shelf, ManualClock(), Places()) as store:
            for _ in range(count):
                await _round(store, images, chance)
            for here in await store.service.images():
                await store.service.remove(str(here.record.id))
            await store.service.collect()
            assert store.files() == set()
            assert store.trees() == store.trees("trash") == set()
    return count * PULLS


async def _round(store: SmallStore, images: dict[str, BuiltImage], chance: random.Random) -> None:
    pulled = chance.sample(sorted(images), PULLS)
    others = [image for image in await store.service.images() if not _names(image) & set(pulled)]
    removals = chance.sample(others, min(len(others), PULLS // 2))
    over = asyncio.Event()

    async def pull(reference: str) -> None:
        await asyncio.sleep(chance.random() * 0.02)
        image = await store.service.pull(reference)
        await _whole(store, image, images[reference])

    async def collect() -> None:
        while not over.is_set():
            try:
                await store.service.collect()
            except Unavailable:
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        collecting = [tasks.create_task(collect()) for _ in range(2)]
        async with asyncio.TaskGroup() as work:
            for reference in pulled:
                work.create_task(pull(reference))
            for image in removals:
                work.create_task(store.service.remove(str(image.record.id)))
        over.set()
        await asyncio.wait(collecting)
    for image in await store.service.images():
        await _whole(store, image, images[min(_names(image) & set(images))])
    # The next round brings some of them again.
    for reference in chance.sample(pulled, PULLS // 2):
        await store.service.remove(reference)


async def _whole(store: SmallStore, image: Image, built: BuiltImage) -> None:
    for digest in (built.digest, *built.blobs):
        await asyncio.to_thread(store.blobs.verify, digest)
    record = image.record
    if record.chain_id:
        chain = await store.metadata.chain("k8s.io", record.snapshotter, record.chain_id)
        assert [one.key for one in reversed(chain)] == [str(key) for key in built.chain]
        home = store.root / "io.containerd.snapshotter.v1.overlayfs" / "snapshots"
        assert all(os.path.exists(home / str(one.directory) / "fs" / "layer") for one in chain)


def _names(image: Image) -> set[str]:
    return {name.name for name in image.names}


def main() -> None:
    """The long run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    begun = time.monotonic()
    count = asyncio.run(rounds(options.rounds, options.seed))
    print(f"{count} pulls in {time.monotonic() - begun:.0f} s, none failed")


if __name__ == "__main__":
    main()
