"""A store and a model of what it must keep, driven by chance.

Random pulls, tags, removals, leases, labels, mounts, collections, restarts and passing
time, in two namespaces. After each collection the blobs and snapshots that are here, on
disk and in the records, are those of the model; in between nothing that the model needs
is missing, and what ``disk_usage`` promised is what a removal freed.

The tests run a short part. ``python -m tests.property.gc_model --steps 20000`` runs more
and prints what it did; ``--seed`` repeats a run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orlop.errors import NotFound
from orlop.model.digest import Digest
from orlop.model.reference import from_user
from orlop.ports.metadata import BlobRecord, ImageName, Lease, Resource, Target
from orlop.ports.service import PullOptions
from orlop.testing.content_suite import put
from orlop.testing.images import BuiltIndex
from orlop.testing.manual_clock import ManualClock
from tests.property.gc_space import (
    BY_MANIFEST,
    EVERYTHING,
    IMAGES,
    INDEXES,
    LAYERS,
    Space,
    Thing,
)
from tests.rigs.small_store import Places, Shelf, SmallStore, small_store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from orlop.testing.images import BuiltImage

NAMESPACES: Final = ("k8s.io", "other")
FS: Final = "overlayfs"
SECOND: Final = 1_000_000_000


REFERENCES: Final = tuple(f"shelf.test/r{at}:{tag}" for at in range(3) for tag in ("v1", "v2"))


class Driver:
    """Does things to a store and a model, and compares them.

    Args:
        root: of the store.
        seed: of chance.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.chance = random.Random(seed)
        self.clock = ManualClock()
        self.shelf = Shelf()
        self.places = Places()
        self.spaces = {namespace: Space() for namespace in NAMESPACES}
        self.tags: dict[str, BuiltImage | BuiltIndex] = {}
        self.done: Counter[str] = Counter()
        self.store: SmallStore
        self._numbers = 0
        for reference in REFERENCES:
            self._push(reference)

    async def run(self, steps: int, *, seconds: float = float("inf")) -> None:
        """Do so many things, or until the time is over."""
        actions: list[tuple[int, Callable[[], Coroutine[None, None, None]]]] = [
            (30, self.pull),
            (4, self.push),
            (10, self.remove_image),
            (10, self.remove_name),
            (5, self.tag),
            (10, self.lease),
            (5, self.delete_lease),
            (4, self.label),
            (4, self.sign),
            (8, self.mount),
            (6, self.unmount),
            (6, self.pass_time),
            (12, self.collect),
            (6, self.at_once),
            (2, self.restart),
        ]
        weights = [weight for weight, _ in actions]
        deadline = time.monotonic() + seconds
        async with AsyncExitStack() as self.stack:
            await self._start()
            for _ in range(steps):
                if time.monotonic() > deadline:
                    break
                ((_, action),) = self.chance.choices(actions, weights)
                await action()
                self.done[action.__name__] += 1
                await self._nothing_is_missing()
            await self.collect()

    # --- what is done ---------------------------------------------------------------------

    async def pull(self) -> None:
        """By a tag, for the one platform or the other."""
        await self._pull(self._namespace(), self.chance.choice(REFERENCES))

    async def push(self) -> None:
        """A tag in the registry means something else from now on."""
        self._push(self.chance.choice(REFERENCES))

    async def remove_image(self) -> None:
        """With all its names; frees what was promised."""
        namespace = self._namespace()
        space = self.spaces[namespace]
        images = sorted(id_ for kind, id_ in space.here if kind == "image")
        if not images:
            return
        await self.collect()
        usage = await self.store.service.disk_usage(namespace)
        sizes = {str(image.id): image.unique_bytes for image in usage.images}
        before = await self.store.metadata.usage()
        assert usage.bytes == before.bytes
        if not sizes:
            return
        id_ = self.chance.choice(sorted(sizes))
        assert await self.store.service.remove(id_, namespace)
        space.forget(Digest.parse(id_))
        self._collected()
        after = await self.store.metadata.usage()
        assert before.bytes - after.bytes == sizes[id_], f"{id_}: promised {sizes[id_]}"
        assert not await self.store.service.remove(id_, namespace)
        await self._compare()

    async def remove_name(self) -> None:
        """One name; the image with its last."""
        namespace = self._namespace()
        space = self.spaces[namespace]
        if space.names:
            name = self.chance.choice(sorted(space.names))
            assert await self.store.metadata.remove_name(namespace, name)
            _, ids = space.names.pop(name)
            space.expires.pop(name, None)
            space.forget_nameless(ids)

    async def tag(self) -> None:
        """Another name for an image; some names expire."""
        namespace = self._namespace()
        space = self.spaces[namespace]
        if not space.names:
            return
        known = self.chance.choice(sorted(space.names))
        target, ids = space.names[known]
        id_ = self.chance.choice(sorted(ids))
        name = f"shelf.test/tagged:{self.chance.randrange(4)}"
        expires_at = self._expiry() if self.chance.random() < 0.4 else 0
        labels = {"containerd.io/gc.expire": _rfc3339(expires_at)} if expires_at else {}
        await self.store.metadata.put_name(
            namespace, ImageName(name, Target("x", target, 1), id_, labels)
        )
        # All rows of a name have the labels of the first; make it one row.
        if len(space.names.get(name, (target, set()))[1] | {id_}) > 1 and expires_at:
            await self.store.metadata.put_name(
                namespace, ImageName(name, Target("x", target, 1), id_)
            )
            expires_at = 0
        space.named(name, target, id_)
        if expires_at:
            space.expires[name] = expires_at

    async def lease(self) -> None:
        """On things that are here, or will be."""
        namespace = self._namespace()
        space = self.spaces[namespace]
        expires_at = self._expiry() if self.chance.random() < 0.7 else 0
        flat = self.chance.random() < 0.4
        labels = {"containerd.io/gc.flat": "1"} if flat else {}
        lease = Lease(self._new("lease"), labels, expires_at=expires_at)
        await self.store.metadata.create_lease(namespace, lease)
        things = self.chance.choices(sorted(EVERYTHING), k=self.chance.randint(1, 3))
        kinds = {"blob": "content", "snapshot": "snapshots", "image": "images"}
        for kind, id_ in things:
            text = f"{FS}/{id_}" if kind == "snapshot" else id_
            resource = Resource(kinds[kind], text)  # type: ignore[arg-type] # one of three
            await self.store.metadata.add_resource(namespace, lease.id, resource)
        space.leases[lease.id] = (expires_at, flat, things)

    async def delete_lease(self) -> None:
        """Before its time."""
        namespace = self._namespace()
        space = self.spaces[namespace]
        if space.leases:
            id_ = self.chance.choice(sorted(space.leases))
            await self.store.metadata.delete_lease(namespace, id_)
            del space.leases[id_]

    async def label(self) -> None:
        """A layer's blob is a root from now on; two of a namespace at most."""
        namespace = self._namespace()
        space = self.spaces[namespace]
        blobs = sorted(space.here & LAYERS)
        if blobs and len(space.roots) < 2:
            thing = self.chance.choice(blobs)
            found = await self.store.metadata.blob(namespace, Digest.parse(thing[1]))
            assert found is not None
            label = {"containerd.io/gc.root": "now"}
            await self.store.metadata.put_blob(
                namespace, BlobRecord(found.digest, found.size, label)
            )
            space.roots.add(thing)

    async def sign(self) -> None:
        """A blob that goes with a manifest, because it says so itself."""
        namespace = self._namespace()
        image = self.chance.choice(IMAGES)
        data = f"signature of {image.id}".encode()
        digest = await asyncio.to_thread(put, self.store.blobs, data)
        label = {"containerd.io/gc.bref.content.subject": str(image.digest)}
        await self.store.metadata.put_blob(namespace, BlobRecord(digest, len(data), label))
        space = self.spaces[namespace]
        space.here.add(("blob", str(digest)))
        if ("blob", str(image.digest)) in space.here:
            space.refer(("blob", str(image.digest)), [("blob", str(digest))])
        else:
            await self.collect()

    async def mount(self) -> None:
        """An image's tree; it outlives the image."""
        namespace = self._namespace()
        space = self.spaces[namespace]
        images = sorted(id_ for _, ids in space.names.values() for id_ in ids)
        if not images or len(space.mounts) > 3:
            return
        id_ = self.chance.choice(images)
        image = next(one for one in IMAGES if one.id == id_)
        if not image.chain:
            return
        target = str(self.root / self._new("mount"))
        writable = self.chance.random() < 0.5
        await self.store.service.mount(str(id_), target, writable=writable, namespace=namespace)
        space.mounts[target] = ("snapshot", str(image.chain[-1]))

    async def unmount(self) -> None:
        """One of them."""
        space = self.spaces[self._namespace()]
        if space.mounts:
            target = self.chance.choice(sorted(space.mounts))
            await self.store.service.unmount(target)
            del space.mounts[target]

    async def pass_time(self) -> None:
        """Leases and names expire."""
        self.clock.advance(self.chance.choice([1, 10, 60]))

    async def collect(self) -> None:
        """And compare everything."""
        await self.store.service.collect()
        self._collected()
        await self._compare()

    async def at_once(self) -> None:
        """Pulls that share layers, and collections beside them: none of them may fail."""
        await self.collect()  # what is garbage by now might be gone before it is needed again
        pulls = [(self.chance.choice(NAMESPACES), self.chance.choice(REFERENCES)) for _ in range(4)]
        async with asyncio.TaskGroup() as tasks:
            for namespace, reference in dict.fromkeys(pulls):
                tasks.create_task(self._pull(namespace, reference))
            for _ in range(3):
                tasks.create_task(self._collect_beside())
        await self.collect()

    async def restart(self) -> None:
        """With a mount that a reboot has ended, now and then."""
        await self.stack.aclose()
        for space in self.spaces.values():
            for target in list(space.mounts):
                if self.chance.random() < 0.3:
                    del self.places.mounted[target], space.mounts[target]
        await self._start()

    # --- with what ------------------------------------------------------------------------

    async def _start(self) -> None:
        opening = small_store(self.root, self.shelf, self.clock, self.places)
        self.store = await self.stack.enter_async_context(opening)

    def _push(self, reference: str) -> None:
        choices: list[BuiltImage | BuiltIndex] = [*IMAGES[:-1], *INDEXES, *INDEXES]
        self.tags[reference] = self.chance.choice(choices)
        self.shelf.push(reference, self.tags[reference])

    async def _pull(self, namespace: str, reference: str) -> None:
        target = self.tags[reference]
        platform = self.chance.choice(["linux/amd64", "linux/arm64"])
        if not isinstance(target, BuiltIndex):
            platform = "linux/amd64"
        options = PullOptions(namespace=namespace, platform=platform)
        pulled = await self.store.service.pull(reference, options)
        image = BY_MANIFEST[pulled.record.manifest]
        assert str(image.platform) == platform
        self.spaces[namespace].pulled(str(from_user(reference)), target, image)

    async def _collect_beside(self) -> None:
        await asyncio.sleep(0)
        await self.store.service._free_space()

    def _namespace(self) -> str:
        return self.chance.choice(NAMESPACES)

    def _new(self, what: str) -> str:
        self._numbers += 1
        return f"{what}-{self._numbers}"

    def _expiry(self) -> int:
        """A whole second, since labels tell no fractions."""
        return (self.clock.now() // SECOND + self.chance.randint(1, 90)) * SECOND

    def _collected(self) -> None:
        for space in self.spaces.values():
            space.collected(self.clock.now())

    # --- what is compared -----------------------------------------------------------------

    async def _nothing_is_missing(self) -> None:
        for namespace, space in self.spaces.items():
            found = await self._here(namespace)
            missing = space.needed(self.clock.now()) - found
            assert not missing, f"{namespace}: {missing}"

    async def _here(self, namespace: str) -> set[Thing]:
        inventory = await self.store.metadata.inventory(namespace)
        return (
            {("blob", str(blob.digest)) for blob in inventory.blobs}
            | {("snapshot", one.key) for one in inventory.snapshots if one.kind == "committed"}
            | {("image", str(record.id)) for record in inventory.records}
        )

    async def _compare(self) -> None:
        """Records, files, reasons and sums are the model's."""
        directories: set[int] = set()
        blobs: set[str] = set()
        for namespace, space in self.spaces.items():
            found = await self._here(namespace)
            assert found == space.here, (
                f"{namespace}: too much {found - space.here}, missing {space.here - found}"
            )
            inventory = await self.store.metadata.inventory(namespace)
            assert {lease.id for lease in inventory.leases} == set(space.leases)
            directories |= {one.directory for one in inventory.snapshots}
            blobs |= {str(blob.digest) for blob in inventory.blobs}
            await self._explain(namespace, space)
        assert self.store.files() == blobs
        assert self.store.trees() == directories
        assert self.store.trees("trash") == set()
        assert self.store.trees("staging") == set()

    async def _explain(self, namespace: str, space: Space) -> None:
        things = sorted(thing for thing in space.here if thing[0] != "image")
        if things:
            kind, id_ = self.chance.choice(things)
            found = await self.store.service.why(id_, namespace)
            assert all(one.chains for one in found), f"nothing keeps {kind} {id_}"
        gone = sorted(EVERYTHING - space.here)
        if gone:
            _, id_ = self.chance.choice(gone)
            if not any(id_ == other for _, other in space.here):
                try:
                    found = await self.store.service.why(id_, namespace)
                except NotFound:
                    found = []
                assert not found


def _rfc3339(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanoseconds // SECOND))


async def drive(steps: int, seed: int, *, seconds: float = float("inf")) -> Counter[str]:
    """Run a driver on a store of its own; returns how often each thing was done."""
    with tempfile.TemporaryDirectory() as home:
        driver = Driver(Path(home) / "root", seed)
        await driver.run(steps, seconds=seconds)
        return driver.done


def main() -> None:
    """The long run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    begun = time.monotonic()
    done = asyncio.run(drive(options.steps, options.seed))
    print(f"{done.total()} steps in {time.monotonic() - begun:.0f} s: {dict(done)}")


if __name__ == "__main__":
    main()
