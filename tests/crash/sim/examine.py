"""Opens what a power cut has left, with the real code, and judges what it shows.

What is shown must be whole: every blob and every tree is compared, byte by byte, with what
it must be. What was pulled without the barrier must have its blobs, and is shown only if it
is whole. After a collection there is a file for every record and a record for every file.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import OrlopError
from orlop.model.labels import SNAPSHOT_MANIFEST
from tests.crash.cuts import promises
from tests.crash.sim.calls import HOME
from tests.crash.sim.disk import ROOT, Disk
from tests.crash.sim.loop import SimulatedLoop
from tests.crash.sim.store import (
    BLOBS,
    NAMESPACE,
    SNAPSHOTS,
    Registry,
    images,
    opened,
    reference,
    tree,
)
from tests.crash.sim.workload import THERE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orlop.ports.metadata import Image
    from tests.crash.sim.calls import Kernel
    from tests.crash.sim.disk import Call, Cell, Value
    from tests.rigs.small_store import SmallStore

FIRST: Final = 1 << 20
"""Number of the first inode that a recovery makes; those of a second one come later."""

_PATIENCE: Final = 100.0
"""Seconds that a background check may take; nobody waits for them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a disk shows to whoever opens it.

    Attributes:
        listed: what is there: image ids by name, and snapshots of clients.
        problems: what must never be.
    """

    listed: Mapping[str, str]
    problems: tuple[str, ...] = ()

    def broken(self, promised: Mapping[str, frozenset[str]]) -> list[str]:
        """One line for everything that is not as it must be."""
        return list(self.problems) or promises.broken(promised, self.listed)


@dataclass(frozen=True, slots=True)
class Examined:
    """A disk that was opened.

    Attributes:
        asked: all that was asked for, with the answers.
        calls: what opening and closing it did.
    """

    seen: Seen
    asked: Mapping[Cell, Value]
    calls: Sequence[Call]


class Examiner:
    """Opens disks; lives as long as its process."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._loop = SimulatedLoop()
        self._images = images()
        self._by_id = {str(image.id): image for image in self._images.values()}
        self._references = {reference(name): name for name in self._images}
        self._registry = Registry()
        for name, image in self._images.items():
            self._registry.push(reference(name), image)

    def examine(
        self, cells: Mapping[Cell, Value], *, first: int = FIRST, pull: bool = False
    ) -> Examined:
        """Open a disk, look, collect garbage, look again, and close it.

        Args:
            cells: the disk; not changed.
            first: number of the first new inode.
            pull: pull all images at the end; each must become right.
        """
        disk = Disk(cells, first=first)
        self._kernel.insert(disk)
        try:
            seen = self._loop.run_until_complete(self._look(boot=f"after {first}", pull=pull))
        except OrlopError as error:
            seen = Seen({}, (f"it does not open: {type(error).__name__}: {error}",))
        return Examined(seen, disk.asked, disk.calls)

    async def _look(self, *, boot: str, pull: bool) -> Seen:
        async with opened(self._registry, boot=boot) as (store, run):
            doubted = run.lost_power
            problems = [*self._left(), *await self._shown(store)]
            listed: dict[str, str] = {}
            for image in await store.metadata.images(NAMESPACE):
                names = [one.name for one in image.names if one.name in self._references]
                listed.update((self._references[name], str(image.record.id)) for name in names)
                problems += self._blobs(image)
            for record in await store.metadata.snapshots(NAMESPACE):
                if record.kind == "active":
                    listed[record.key] = THERE
                    names = self._names(f"{SNAPSHOTS}/snapshots/{record.directory}")
                    if names != ["fs", "work"]:
                        problems.append(f"snapshot {record.key} has {names}, not fs and work")
            problems += await self._accounts(store, records=True)
            if doubted:
                await asyncio.sleep(_PATIENCE)
                problems += await self._shown(store)
            problems += await self._hidden(store)
            await store.service.collect()
            problems += [*await self._accounts(store), *self._left()]
            if pull:
                for name in self._images:
                    await store.service.pull(reference(name))
                problems += [f"pulled again: {one}" for one in await self._shown(store)]
                problems += await self._accounts(store)
            return Seen(listed, tuple(problems))

    async def _shown(self, store: SmallStore) -> list[str]:
        """What is wrong with the images that kubelet is shown."""
        return [
            problem
            for image in await store.service.images_for_node()
            for problem in (*self._blobs(image), *await self._trees(store, image))
        ]

    async def _hidden(self, store: SmallStore) -> list[str]:
        """What is whole, and not shown to kubelet."""
        shown = {str(image.record.id) for image in await store.service.images_for_node()}
        return [
            f"{image.record.id} is whole, and hidden"
            for image in await store.metadata.images(NAMESPACE)
            if str(image.record.id) not in shown and not await self._trees(store, image)
        ]

    def _blobs(self, image: Image) -> list[str]:
        """What is wrong with the blobs of an image."""
        expected = self._by_id.get(str(image.record.id))
        if expected is None:
            return [f"nobody pulled {image.record.id}"]
        blobs = {**expected.blobs, expected.digest: expected.manifest}
        return [
            f"blob {digest} of {image.record.id} has other bytes"
            for digest, data in blobs.items()
            if self._file(f"{BLOBS}/{digest.hex}") != data
        ]

    async def _trees(self, store: SmallStore, image: Image) -> list[str]:
        """What is wrong with the trees of an image."""
        id_ = str(image.record.id)
        layers = self._by_id[id_].layers if id_ in self._by_id else ()
        chain = await store.metadata.chain(NAMESPACE, "overlayfs", image.record.chain_id)
        if len(chain) != len(layers):
            return [f"{id_} has {len(chain)} layers, not {len(layers)}"]
        bad = []
        for record, layer in zip(reversed(chain), layers, strict=True):
            home = f"{SNAPSHOTS}/snapshots/{record.directory}"
            if self._tree(f"{home}/fs") != tree(layer.diff_id):
                bad.append(f"the tree {record.directory} of {id_} is not whole")
            manifest = hashlib.sha256(self._file(f"{home}/manifest") or b"").hexdigest()
            if record.labels.get(SNAPSHOT_MANIFEST, "").removeprefix("sha256:") != manifest:
                bad.append(f"the manifest of the tree {record.directory} is not whole")
        return bad

    async def _accounts(self, store: SmallStore, *, records: bool = False) -> list[str]:
        """A file for each record, and a record for each file unless only ``records`` count."""
        blobs = {one.digest.hex for one in await store.metadata.blobs(NAMESPACE)}
        trees = {str(one.directory) for one in await store.metadata.snapshots(NAMESPACE)}
        found = []
        for what, known, place in (
            ("blob", blobs, BLOBS),
            ("tree", trees, f"{SNAPSHOTS}/snapshots"),
        ):
            names = set(self._names(place))
            found += [f"{what} {one} has a record and no file" for one in sorted(known - names)]
            if not records:
                found += [f"{what} {one} has no record" for one in sorted(names - known)]
        return found

    def _left(self) -> list[str]:
        return [
            f"{place} has {name}"
            for place in ("staging", "trash")
            for name in self._names(f"{SNAPSHOTS}/{place}")
        ]

    # --- the disk -------------------------------------------------------------------------

    def _inode(self, path: str) -> int:
        disk, inode = self._kernel.disk, ROOT
        for name in path.removeprefix(HOME).strip("/").split("/"):
            inode = disk.lookup(inode, name) if inode else 0
        return inode

    def _names(self, path: str) -> list[str]:
        inode = self._inode(path)
        return self._kernel.disk.names(inode) if inode else []

    def _file(self, path: str) -> bytes | None:
        disk, inode = self._kernel.disk, self._inode(path)
        return disk.read(inode, 0, disk.size(inode)) if inode else None

    def _tree(self, path: str) -> dict[str, bytes]:
        """All files of a tree, by their paths; nothing if it is not there."""
        disk = self._kernel.disk
        found: dict[str, bytes] = {}
        left = [("", self._inode(path))]
        while left:
            above, inode = left.pop()
            for name in disk.names(inode) if inode else ():
                child = disk.lookup(inode, name)
                if disk.attributes(child).is_directory:
                    left.append((f"{above}{name}/", child))
                else:
                    found[f"{above}{name}"] = disk.read(child, 0, disk.size(child))
        return found
