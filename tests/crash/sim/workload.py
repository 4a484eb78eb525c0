"""One run of work on a store, recorded call by call; which work follows from a seed."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import apsw

from orlop.errors import OrlopError
from tests.crash.cuts import promises, steps
from tests.crash.sim import disk
from tests.crash.sim.loop import SimulatedLoop
from tests.crash.sim.store import NAMESPACE, Registry, images, opened, reference

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from orlop.testing.images import BuiltImage
    from tests.crash.sim.calls import Kernel
    from tests.crash.sim.disk import Call
    from tests.rigs.small_store import SmallStore

THERE: Final = "there"
"""Instead of an image's id, for a snapshot that a client has made."""

_WORKS: Final = 9
"""Pieces of work in one run, besides the first pull."""

_BOOT: Final = "worked"
_UNSYNCED: Final = 9
"""Every so many runs pull without the barrier."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What was done, and what was promised meanwhile.

    Attributes:
        calls: in order.
        marks: see ``promises``; each with the number of calls before it.
    """

    calls: Sequence[Call]
    marks: Sequence[tuple[int, str]]

    def promised(self, calls: int) -> Mapping[str, frozenset[str]]:
        """What was promised when so many calls had been made."""
        return promises.promised(mark for before, mark in self.marks if before <= calls)


def record(kernel: Kernel, seed: int, *, without: str = "") -> Recording:
    """Work on a new disk; the same seed does the same.

    Args:
        without: a step of the protocol that is left out, see ``steps``.
    """
    chance = random.Random(seed)
    random.seed(seed)
    apsw.randomness(0)  # SQLite asks the VFS for luck again
    synced = seed % _UNSYNCED != _UNSYNCED - 1
    kernel.insert(disk.Disk(disk.new()))
    worker = _Worker(kernel, chance, synced=synced)
    loop = SimulatedLoop(chance)
    try:
        with steps.left_out(without):
            loop.run_until_complete(worker.run())
    finally:
        loop.close()
    return Recording(kernel.disk.calls, worker.marks)


class _Worker:
    def __init__(self, kernel: Kernel, chance: random.Random, *, synced: bool) -> None:
        self._kernel = kernel
        self._chance = chance
        self._synced = synced
        self._registry = Registry()
        self._images: Mapping[str, BuiltImage] = images()
        self._names: set[str] = set()
        self._snapshots: list[str] = []
        self._numbers = 0
        self.marks: list[tuple[int, str]] = []

    async def run(self) -> None:
        """Work until all is done; the store is opened again where that is drawn."""
        left = _WORKS
        first = True
        while left:
            async with opened(self._registry, boot=_BOOT, barrier=self._synced) as (store, _):
                if first:
                    await self._begin(store)
                    first = False
                while left:
                    left -= 1
                    work = self._drawn()
                    if work is None:
                        break
                    await work(store)

    async def _begin(self, store: SmallStore) -> None:
        """A new store is used: by a pull, or by a client that makes a snapshot."""
        if self._chance.random() < 0.5:
            await self._prepare(store)
        await self._pull(store)

    def _drawn(self) -> Callable[[SmallStore], Awaitable[None]] | None:
        """The next piece of work; None opens the store again."""
        works: list[tuple[int, Callable[[SmallStore], Awaitable[None]] | None]] = [
            (3, self._pull),
            (4, self._pull_two),
            (3, self._move),
            (3, self._remove),
            (2, self._collect),
            (2, self._break),
            (2, self._prepare),
            (1, self._finish),
            (2, None),
        ]
        weights = [weight for weight, _ in works]
        return self._chance.choices([work for _, work in works], weights)[0]

    # --- work -----------------------------------------------------------------------------

    async def _pull(self, store: SmallStore) -> None:
        name = self._chance.choice(sorted(self._images))
        await self._pull_as(store, name, name)

    async def _pull_two(self, store: SmallStore) -> None:
        """Two at once: they share layers, and the barrier if they end together."""
        one, two = self._chance.sample(sorted(self._images), 2)
        await asyncio.gather(self._pull_as(store, one, one), self._pull_as(store, two, two))

    async def _move(self, store: SmallStore) -> None:
        """A name means another image from now on."""
        name, image = self._chance.sample(sorted(self._images), 2)
        await self._pull_as(store, name, image)

    async def _pull_as(self, store: SmallStore, name: str, image: str) -> None:
        built = self._images[image]
        self._registry.push(reference(name), built)
        self._mark(promises.begin(name, str(built.id)))
        await store.service.pull(reference(name))
        self._mark(promises.done(name, str(built.id)))
        self._names.add(name)

    async def _break(self, store: SmallStore) -> None:
        """A download breaks, and leaves what it has for a later pull."""
        name = self._chance.choice(sorted(self._images))
        built = self._images[name]
        self._registry.push(reference(name), built)
        self._mark(promises.begin(name, str(built.id)))
        self._registry.breaks = True
        with suppress(OrlopError):
            await store.service.pull(reference(name))
        self._registry.breaks = False

    async def _remove(self, store: SmallStore) -> None:
        if not self._names:
            return
        name = self._chance.choice(sorted(self._names))
        self._names.discard(name)
        self._mark(promises.begin(name, promises.NOTHING))
        await store.service.remove_name(reference(name))
        self._mark(promises.done(name, promises.NOTHING))

    async def _collect(self, store: SmallStore) -> None:
        await store.service.collect()

    async def _prepare(self, store: SmallStore) -> None:
        """A client makes a snapshot to write to, of its own or on an image."""
        self._numbers += 1
        key = f"container{self._numbers}"
        committed = [
            one.key for one in await store.metadata.snapshots(NAMESPACE) if one.kind == "committed"
        ]
        parent = self._chance.choice(["", *committed])
        self._mark(promises.begin(key, THERE))
        await store.snapshots.prepare(NAMESPACE, key, parent, {"containerd.io/gc.root": "yes"})
        self._mark(promises.done(key, THERE))
        self._snapshots.append(key)

    async def _finish(self, store: SmallStore) -> None:
        """The client gives it up."""
        if not self._snapshots:
            return
        key = self._snapshots.pop(0)
        self._mark(promises.begin(key, promises.NOTHING))
        await store.snapshots.remove(NAMESPACE, key)
        self._mark(promises.done(key, promises.NOTHING))

    def _mark(self, text: str) -> None:
        self.marks.append((len(self._kernel.disk.calls), text))
