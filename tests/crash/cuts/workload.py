"""Work on a store whose power will be cut: ``python -m tests.crash.cuts.workload``.

``ROOT MARKS COLLECTION [STEP]``: pulls and removes images of a set of samples in the store
ROOT, and writes to the file MARKS when something begins and when it has been acknowledged
(see ``promises``). With STEP it leaves that step of the protocol out (see ``steps``). The
registry is in this process, too.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orlop.app import embedded, in_stock
from orlop.testing.fake_registry import FakeRegistry
from tests.crash.cuts import promises, samples, steps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from orlop.config.load import Loaded
    from orlop.ports.service import ImageService
    from orlop.testing.images import BuiltImage

_DOCUMENT: Final = """\
version = 4
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{hosts}"
"""


class Worker:
    """Does what it is told on an open store, and tells what it has done."""

    def __init__(self, service: ImageService, shelf: Shelf, marks: int) -> None:
        self._service = service
        self._shelf = shelf
        self._marks = marks

    async def pull(self, name: str, image: str = "") -> None:
        """Pull ``name``, which means ``image`` from now on."""
        id_ = str(self._shelf.push(name, image or name).id)
        self._mark(promises.begin(name, id_))
        await self._service.pull(reference(name))
        self._mark(promises.done(name, id_))

    async def remove(self, name: str) -> None:
        """Remove the image."""
        self._mark(promises.begin(name, promises.NOTHING))
        await self._service.remove(reference(name))
        self._mark(promises.done(name, promises.NOTHING))

    async def collect(self) -> None:
        """Collect garbage; what is listed stays."""
        await self._service.collect()

    def _mark(self, text: str) -> None:
        os.write(self._marks, f"{text}\n".encode())


class Shelf:
    """A registry with all samples; names come as they are pushed."""

    def __init__(self, registry: FakeRegistry, images: Mapping[str, BuiltImage]) -> None:
        self._registry = registry
        self._images = images
        for image in images.values():
            for blob in image.blobs.values():
                registry.add_blob(blob)

    @property
    def images(self) -> Mapping[str, BuiltImage]:
        """All samples, by name."""
        return self._images

    def push(self, name: str, image: str) -> BuiltImage:
        """Let a name mean an image."""
        found = self._images[image]
        self._registry.add_manifest(name, "1", found.manifest, found.media_type)
        return found


def reference(name: str) -> str:
    """What users call the sample of this name."""
    return f"{samples.HOST}/{name}:1"


@contextmanager
def shelf(collection: str) -> Iterator[tuple[Shelf, Path]]:
    """A registry, and a directory that tells orlop where it is."""
    with FakeRegistry() as registry, tempfile.TemporaryDirectory() as hosts:
        place = Path(hosts) / samples.HOST
        place.mkdir()
        (place / "hosts.toml").write_text(f'server = "{registry.url}"\n')
        yield Shelf(registry, samples.names(collection)), Path(hosts)


def configuration(hosts: Path) -> Loaded:
    """How the store is configured."""
    document = hosts / "config.toml"
    document.write_text(_DOCUMENT.format(hosts=hosts))
    return in_stock().load(str(document))


async def everything(store: Store) -> None:
    """Pulls alone and at once, a name that moves, removals, and a store that is opened again."""
    async with store.opened() as worker:
        await worker.pull("app")
        await asyncio.gather(worker.pull("service"), worker.pull("many"))
        await worker.pull("app", "moved")
        await worker.remove("many")
        await worker.collect()
        await worker.pull("many")
    async with store.opened() as worker:
        await asyncio.gather(worker.remove("service"), worker.pull("late"))
        await worker.collect()
        await worker.pull("service")


class Store:
    """A store that can be opened more than once."""

    def __init__(self, root: str, loaded: Loaded, shelf: Shelf, marks: int) -> None:
        self._root = root
        self._loaded = loaded
        self._shelf = shelf
        self._marks = marks

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Worker]:
        """Open it until the block ends."""
        with tempfile.TemporaryDirectory() as state:
            async with embedded(root=self._root, state=state, loaded=self._loaded) as service:
                yield Worker(service, self._shelf, self._marks)


def main() -> None:
    """See the module."""
    root, marks, collection, *step = sys.argv[1:]
    fd = os.open(marks, os.O_WRONLY)
    with shelf(collection) as (registry, hosts), steps.left_out(step[0] if step else ""):
        store = Store(root, configuration(hosts), registry, fd)
        asyncio.run(everything(store))
    os.close(fd)


if __name__ == "__main__":
    main()
