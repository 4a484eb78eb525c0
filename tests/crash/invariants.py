"""What must hold of a store, however its last run ended.

``violations`` opens the store as the next start would and says what is wrong, a line for
each thing. It shares no code with what it judges where that is possible: trees are read
by ``tests.rigs.tree`` and compared with those of a store that was never disturbed
(``captured``), sums are made from what the disk has. It works in this process and takes
some thirty milliseconds for a small store, so that it can be asked after every one of
many thousand ends.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import apsw

from orlop.app import Stock, opened, with_directories
from orlop.builtin import CONTENT, IMAGES, METADATA, SNAPSHOTTER, UNPACK, builtin
from orlop.config.schema import Config
from orlop.errors import OrlopError
from orlop.linux.mountinfo import read_mountinfo
from orlop.plugins.registration import Registration
from orlop.ports.metadata import Usage
from orlop.store import layout
from orlop.unpack.pool import WorkerPool
from tests.rigs.tree import differences, tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from orlop.metadata.store import MetadataStore
    from orlop.plugins.registration import Context
    from orlop.ports.metadata import Image
    from orlop.ports.service import ImageService
    from orlop.ports.snapshots import Snapshotter
    from orlop.store.blobs import LocalBlobStore
    from tests.rigs.tree import Node

NAMESPACE: Final = "k8s.io"
_DATABASE: Final = "io.containerd.metadata.v1.sqlite/meta.db"
_BLOCK: Final = 512
_PLACES: Final = ("staging", "trash")


@dataclass(frozen=True, slots=True)
class Expectation:
    """An image as a store has it that was never disturbed; see ``captured``.

    Attributes:
        image_id: ``sha256:…``.
        layers: the layers' own trees, lowest first, without what no image says: their
            roots, and the times of whiteouts.
    """

    image_id: str
    layers: tuple[Mapping[bytes, Node], ...]


@dataclass(frozen=True, slots=True)
class Insight:
    """An open store, and the parts of it that a service keeps to itself."""

    root: Path
    service: ImageService
    metadata: MetadataStore
    blobs: LocalBlobStore
    snapshotters: Mapping[str, Snapshotter]

    async def layers(self, image: Image) -> tuple[Mapping[bytes, Node], ...]:
        """The trees of an image's layers, lowest first. Raises OrlopError, OSError."""
        record = image.record
        if not record.chain_id:
            return ()
        chain = await self.metadata.chain(NAMESPACE, record.snapshotter, record.chain_id)
        home = self.snapshotters[record.snapshotter].root
        by_key = {one.key: one for one in chain}
        ordered = [by_key[record.chain_id]]
        while ordered[-1].parent:
            ordered.append(by_key[ordered[-1].parent])
        return tuple(
            _of_image(tree(f"{home}/snapshots/{one.directory}/fs")) for one in reversed(ordered)
        )


@asynccontextmanager
async def insight(root: Path, *, stock: Stock | None = None) -> AsyncIterator[Insight]:
    """Open the store at ``root`` in this process, with its parts.

    Args:
        root: of the store; its state is below it.
        stock: plugins; None is what is in the box.

    Raises:
        OrlopError: it cannot be opened.
    """
    found: list[Context] = []

    @asynccontextmanager
    async def look(context: Context) -> AsyncIterator[None]:
        found.append(context)
        yield

    needs = (CONTENT, METADATA, SNAPSHOTTER, IMAGES)
    probe = Registration("io.orlop.test.v1", "insight", look, requires=needs)
    own = stock.registrations if stock else _patient()
    config = with_directories(Config(), root=str(root), state=str(root / "state"))
    async with opened(config, Stock((*own, probe))) as app:
        (context,) = found
        yield Insight(
            root,
            app.service,
            cast("MetadataStore", context.one_of(METADATA)),
            cast("LocalBlobStore", context.one_of(CONTENT)),
            cast("Mapping[str, Snapshotter]", context.all_of(SNAPSHOTTER)),
        )


def _patient() -> tuple[Registration, ...]:
    """What is in the box, but no fork-server before somebody pulls: most judges do not."""

    @asynccontextmanager
    async def unpack(_: Context) -> AsyncIterator[WorkerPool]:
        async with WorkerPool() as pool:
            yield pool

    return tuple(replace(one, init=unpack) if one.type == UNPACK else one for one in builtin())


async def captured(root: Path) -> dict[str, Expectation]:
    """What every image of a store is expected to be, by each of its names."""
    async with insight(root) as store:
        return {
            name.name: Expectation(str(image.record.id), await store.layers(image))
            for image in await store.service.images()
            for name in image.names
        }


async def violations(
    root: Path,
    *,
    acknowledged: Mapping[str, Expectation] | None = None,
    removed: Collection[str] = (),
    possible: Mapping[str, Expectation] | None = None,
    pulls: Mapping[str, Expectation] | None = None,
    ignore: frozenset[str] = frozenset(),
    processes: bool = False,
) -> list[str]:
    """Open the store at ``root``, as a start after any end does, and judge it.

    Args:
        root: of the store. Nobody has it open.
        acknowledged: images that must be there, by name.
        removed: names whose removal was acknowledged.
        possible: images that may be there or not, but not in part.
        pulls: images to pull when all else has been looked at; each must become right.
        ignore: fields of ``Node`` that may differ from what is expected, such as
            ``mtime_ns`` when layers leave out their directories.
        processes: look also for processes that have something of the store open, which
            takes longer than all the rest.

    Returns:
        One line for each violation; none if all is well.
    """
    acknowledged, pulls = acknowledged or {}, pulls or {}
    known = {**(possible or {}), **acknowledged}
    found = _left_outside(root, processes=processes)
    try:
        async with insight(root) as store:
            found += _left_inside(store)
            images = await store.service.images()
            found += await _listed(store, images, known, ignore)
            named = {name.name for image in images for name in image.names}
            found += [
                f"{name}: acknowledged, and not there" for name in acknowledged.keys() - named
            ]
            found += [f"{name}: removed, and there again" for name in named.intersection(removed)]
            found += await _accounts(store)
            for name, expected in pulls.items():
                pulled = await store.service.pull(name)
                found += await _image(store, pulled, expected, ignore)
                found += await _checked(store)
    except OrlopError as error:
        found.append(f"{type(error).__name__}: {error}")
    except OSError as error:
        found.append(f"the store cannot be read: {error}")
    found += _database(root)
    return found + _left_outside(root, processes=False)


async def _listed(
    store: Insight,
    images: list[Image],
    known: Mapping[str, Expectation],
    ignore: frozenset[str],
) -> list[str]:
    """Everything that is listed is whole, and what its names mean."""
    found = await _checked(store)
    for image in images:
        if not image.names:
            found.append(f"image {image.record.id} has no name")
        expected = [known[name.name] for name in image.names if name.name in known]
        found += await _image(store, image, expected[0] if expected else None, ignore)
    return found


async def _checked(store: Insight) -> list[str]:
    reports = await store.service.check()
    return [f"{one.image_id}: {problem}" for one in reports for problem in one.problems]


async def _image(
    store: Insight, image: Image, expected: Expectation | None, ignore: frozenset[str]
) -> list[str]:
    name = image.names[0].name if image.names else str(image.record.id)
    if expected is None:
        return []
    if str(image.record.id) != expected.image_id:
        return [f"{name}: is {image.record.id}, not {expected.image_id}"]
    layers = await store.layers(image)
    if len(layers) != len(expected.layers):
        return [f"{name}: has {len(layers)} layers, not {len(expected.layers)}"]
    return [
        f"{name}: layer {number}: {line}"
        for number, (want, have) in enumerate(zip(expected.layers, layers, strict=True))
        for line in differences(want, have, ignore=ignore)
    ]


async def _accounts(store: Insight) -> list[str]:
    """After a collection, records and files are the same set, and their sum is reported."""
    await store.service.collect()  # one that began by itself is at its end, too
    found = []
    recorded: set[str] = set()
    trees: dict[str, set[int]] = {name: set() for name in store.snapshotters}
    for namespace in await store.metadata.namespaces():
        recorded |= {str(one.digest) for one in await store.metadata.blobs(namespace)}
        for one in await store.metadata.snapshots(namespace):
            trees[one.snapshotter].add(one.directory)
    blobs = {str(one.digest): one.size for one in store.blobs.walk()}
    found += [f"blob {one}: no record" for one in blobs.keys() - recorded]
    found += [f"blob {one}: a record and no file" for one in recorded - blobs.keys()]
    usage = Usage(sum(blobs.values()), len(blobs))
    for name, numbers in trees.items():
        home = os.path.join(store.snapshotters[name].root, "snapshots")
        present = set(map(int, os.listdir(home)))
        found += [f"snapshot directory {one}: no record" for one in present - numbers]
        found += [f"snapshot directory {one}: a record and no files" for one in numbers - present]
        for number in present & numbers:
            tree_bytes, inodes = _disk_usage(os.path.join(home, str(number), "fs"))
            usage = Usage(usage.bytes + tree_bytes, usage.inodes + inodes)
    told = await store.metadata.usage()
    if told != usage:
        found.append(f"the accounts say {told}, the disk has {usage}")
    return found


def _disk_usage(path: str) -> tuple[int, int]:
    """Bytes on the disk and inodes of a tree, hard links once."""
    seen = {}
    for place, directories, names in os.walk(path):
        for name in (".", *directories, *names):
            info = os.lstat(os.path.join(place, name))
            seen[info.st_ino] = info.st_blocks * _BLOCK
    return sum(seen.values()), len(seen)


def _left_inside(store: Insight) -> list[str]:
    """A start leaves no work of an earlier run, but for ingests that can be continued."""
    found = []
    for snapshotter in store.snapshotters.values():
        for place in _PLACES:
            left = os.listdir(os.path.join(snapshotter.root, place))
            found += [f"{snapshotter.name}: {place} has {name}" for name in left]
    home = os.path.join(store.blobs.path, layout.INGEST)
    whole = {layout.ingest_name(one.ref) for one in store.blobs.status()}
    for name in os.listdir(home):
        if name not in whole:
            found.append(f"ingest {name} is no ingest")
        elif foreign := set(os.listdir(os.path.join(home, name))) - set(layout.INGEST_FILES):
            found.append(f"ingest {name} has {sorted(foreign)}")
    return found


def _left_outside(root: Path, *, processes: bool) -> list[str]:
    """What a run must not leave beside its files."""
    below = f"{root}/"
    found = [
        f"{mount.target} is mounted" for mount in read_mountinfo() if mount.target.startswith(below)
    ]
    return found + ([f"process {pid} has it open" for pid in holders(root)] if processes else [])


def holders(root: Path) -> list[int]:
    """Other processes that have something below ``root`` open, or live in it."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        try:
            links = [process / "cwd", process / "root", *(process / "fd").iterdir()]
            places = [os.readlink(link) for link in links]
        except OSError:
            continue  # it has ended, or an open file has been closed
        if any(Path(place).is_relative_to(root) for place in places):
            found.append(int(process.name))
    return found


def _database(root: Path) -> list[str]:
    """SQLite's own opinion of the database, read by nobody else now."""
    path = root / _DATABASE
    if not path.exists():
        return []
    try:
        database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            words = [str(row[0]) for row in database.execute("PRAGMA integrity_check")]
            words += [str(row) for row in database.execute("PRAGMA foreign_key_check")]
        finally:
            database.close()
    except apsw.Error as error:
        return [f"the database cannot be read: {error}"]
    return [f"database: {word}" for word in words if word != "ok"]


def _of_image(nodes: Mapping[bytes, Node]) -> dict[bytes, Node]:
    """A layer's tree without what is not the image's: its root, and the times of whiteouts."""
    return {
        path: replace(node, mtime_ns=0) if (node.type, node.rdev) == ("char", (0, 0)) else node
        for path, node in nodes.items()
        if path != b"."
    }
