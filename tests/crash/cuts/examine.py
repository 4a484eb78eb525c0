"""Opens a store that a power cut has left, in this process, and says what is wrong with it.

The answer comes from the disk: trees and blobs are compared with what an undisturbed
store has, byte for byte, whatever the store itself thinks of them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from orlop.app import Stock, in_stock, opened, with_directories
from orlop.builtin import CONTENT, METADATA, SNAPSHOTTER, UNPACK
from orlop.errors import OrlopError
from orlop.unpack.pool import WorkerPool
from tests.crash.cuts import promises
from tests.crash.cuts.workload import configuration, reference, shelf
from tests.rigs.tree import Node, differences, tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from orlop.app import App
    from orlop.config.load import Loaded
    from orlop.metadata.store import MetadataStore
    from orlop.plugins.registration import Context
    from orlop.ports.metadata import Image
    from orlop.ports.service import ImageService
    from orlop.testing.images import BuiltImage
    from tests.crash.cuts.workload import Shelf

_NAMESPACE: Final = "k8s.io"
_SNAPSHOTS: Final = f"{SNAPSHOTTER}.overlayfs"
_MOST_LINES: Final = 12

_OWN_TIMES: Final = ("directory", "char")


@dataclass(frozen=True, slots=True)
class Expected:
    """What undisturbed pulls leave.

    Attributes:
        images: by id.
        trees: by chain id.
    """

    images: Mapping[str, BuiltImage]
    trees: Mapping[str, Mapping[bytes, Node]]


class Examiner:
    """Examines one store after the other; made by ``examiner``.

    Attributes:
        expected: what images are to be.
    """

    def __init__(self, loaded: Loaded, stock: Stock, shelf: Shelf, state: str) -> None:
        self._loaded = loaded
        self._stock = stock
        self._shelf = shelf
        self._state = state
        self.expected = Expected({str(one.id): one for one in shelf.images.values()}, {})

    async def learn(self, root: Path) -> None:
        """Pull every sample into a new store, and remember what that gives."""
        trees: dict[str, Mapping[bytes, Node]] = {}
        async with self._opened(root) as app:
            for name in self._shelf.images:
                await self._pull(app.service, name, name)
            for image in await app.service.images():
                trees |= await _trees(app, root, image)
        self.expected = replace(self.expected, trees=trees)

    async def examine(
        self, root: Path, allowed: Mapping[str, frozenset[str]], *, pull: bool = False
    ) -> list[str]:
        """What is wrong with the store in ``root``, one line each.

        Args:
            allowed: see ``promises``.
            pull: pull all samples again, too.
        """
        try:
            async with self._opened(root) as app:
                problems = await self._judge(app, root, allowed)
                if pull and not problems:
                    problems = await self._pull_again(app, root)
        except OrlopError as error:
            return [f"does not open: {error.code}: {error}"]
        except OSError as error:
            return [f"cannot be read: {error}"]
        return problems[:_MOST_LINES]

    async def _judge(
        self, app: App, root: Path, allowed: Mapping[str, frozenset[str]]
    ) -> list[str]:
        images = await app.service.images()
        listed = {
            name.name.partition("/")[2].partition(":")[0]: str(image.record.id)
            for image in images
            for name in image.names
            if "@" not in name.name and not name.name.startswith("sha256:")
        }
        problems = promises.broken(allowed, listed)
        for image in images:
            problems += await self._incomplete(app, root, image)
        return problems + await _orphans(app, root)

    async def _incomplete(self, app: App, root: Path, image: Image) -> list[str]:
        id_ = str(image.record.id)
        sample = self.expected.images.get(id_)
        if sample is None:
            return [f"image {id_} was never pulled"]
        blobs = root / CONTENT_DIRECTORY
        problems = [
            f"image {id_}: blob {digest} is not there"
            for digest in (sample.digest, *sample.blobs)
            if not (blobs / digest.hex).is_file()
        ]
        found = await _trees(app, root, image)
        if list(found) != [str(chain) for chain in reversed(sample.chain)]:
            problems.append(f"image {id_}: its chain is {list(found)}")
        for chain, nodes in found.items():
            wrong = differences(self.expected.trees.get(chain, {}), nodes)
            problems += [f"image {id_}: layer {chain}: {line}" for line in wrong]
        return problems

    async def _pull_again(self, app: App, root: Path) -> list[str]:
        for name in self._shelf.images:
            await self._pull(app.service, name, name)
        images = await app.service.images()
        problems = [] if len(images) == len(self.expected.images) else ["a pull is not listed"]
        for image in images:
            problems += await self._incomplete(app, root, image)
        return [f"after another pull: {line}" for line in problems]

    async def _pull(self, service: ImageService, name: str, image: str) -> None:
        self._shelf.push(name, image)
        await service.pull(reference(name))

    @asynccontextmanager
    async def _opened(self, root: Path) -> AsyncIterator[App]:
        config = with_directories(self._loaded.config, root=str(root), state=self._state)
        async with opened(config, self._stock) as app:
            yield app


CONTENT_DIRECTORY: Final = f"{CONTENT}.content/blobs/sha256"


@asynccontextmanager
async def examiner(home: Path, collection: str = "small") -> AsyncIterator[Examiner]:
    """An examiner that has learned what to expect, in a directory of its own below ``home``."""
    with shelf(collection) as (registry, hosts), tempfile.TemporaryDirectory(dir=home) as place:
        async with WorkerPool() as pool:
            stock = _with_pool(in_stock(), pool)
            made = Examiner(configuration(hosts), stock, registry, f"{place}/state")
            await made.learn(Path(place, "store"))
            yield made


def _with_pool(stock: Stock, pool: WorkerPool) -> Stock:
    """One pool of workers for all stores: a store that pulls nothing starts no process."""

    @asynccontextmanager
    async def shared(_: Context) -> AsyncIterator[WorkerPool]:
        yield pool

    registrations = tuple(
        replace(one, init=shared) if one.name == f"{UNPACK}.workers" else one
        for one in stock.registrations
    )
    return replace(stock, registrations=registrations)


def _metadata(app: App) -> MetadataStore:
    return cast("MetadataStore", app._started().instances[f"{METADATA}.sqlite"])


async def _trees(app: App, root: Path, image: Image) -> dict[str, Mapping[bytes, Node]]:
    """The layers' own trees, by chain id, topmost first."""
    record = image.record
    chain = await _metadata(app).chain(_NAMESPACE, record.snapshotter, record.chain_id)
    snapshots = root / _SNAPSHOTS / "snapshots"
    return {one.key: _tree(snapshots / str(one.directory) / "fs") for one in chain}


def _tree(path: Path) -> dict[bytes, Node]:
    """A tree, without the times of what was made at a time of its own: directories, whiteouts."""
    if not path.is_dir():
        return {}
    return {
        name: replace(node, mtime_ns=0) if node.type in _OWN_TIMES and not any(node.rdev) else node
        for name, node in tree(path).items()
    }


async def _orphans(app: App, root: Path) -> list[str]:
    """What is on the disk and in no record, and blobs whose bytes are not what they are called."""
    metadata = _metadata(app)
    blobs = set(os.listdir(root / CONTENT_DIRECTORY))
    records = {record.digest.hex for record in await metadata.blobs(_NAMESPACE)}
    trees = set(os.listdir(root / _SNAPSHOTS / "snapshots"))
    directories = {str(number) for number in await metadata.directories("overlayfs")}
    problems = [
        f"{what} {name} has {'no file' if name in recorded else 'no record'}"
        for what, there, recorded in (("blob", blobs, records), ("tree", trees, directories))
        for name in sorted(there ^ recorded)
    ]
    problems += [f"in staging: {name}" for name in os.listdir(root / _SNAPSHOTS / "staging")]
    for name in blobs:
        with (root / CONTENT_DIRECTORY / name).open("rb") as blob:
            if hashlib.file_digest(blob, "sha256").hexdigest() != name:
                problems.append(f"blob {name} has other bytes")
    return problems
