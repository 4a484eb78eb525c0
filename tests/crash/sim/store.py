"""The store of the simulation: its images, its small parts, and how it is opened."""

from __future__ import annotations

import os
import random
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orlop.errors import RegistryUnavailable
from orlop.images.doubt import trusting
from orlop.linux.boot import Run
from orlop.model.mediatype import Compression
from orlop.ports.unpack import Unpacked
from orlop.pull.barrier import Barrier
from orlop.snapshots import directories
from orlop.snapshots.directories import Directories
from orlop.snapshots.overlay import Overlay
from orlop.store.blobs import LocalBlobStore
from orlop.testing.images import BuiltImage, build_image, build_layer
from orlop.testing.layers import file
from orlop.testing.manual_clock import ManualClock
from tests.crash.sim.calls import HOME
from tests.rigs.small_store import Body, Fittings, Places, Shelf, ShelfRemote, small_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from collections.abc import Set as AbstractSet

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.reference import Reference
    from orlop.ports.registry import Credentials, Traffic
    from orlop.ports.unpack import UnpackJob, UnpackProgress
    from tests.rigs.small_store import SmallStore

NAMESPACE: Final = "k8s.io"
ROOT: Final = f"{HOME}/store"
SNAPSHOTS: Final = f"{ROOT}/io.containerd.snapshotter.v1.overlayfs"
BLOBS: Final = f"{ROOT}/content/blobs/sha256"

_SEED: Final = 20
_LAYERS: Final = (300, 9000, 200, 4096, 5000)
"""Lengths of the files that layers are made of: less than a block, one, and more."""

_IMAGES: Final[Mapping[str, tuple[int, ...]]] = {
    "app": (0, 1),
    "same": (0, 1),
    "service": (0, 2),
    "tool": (3,),
    "late": (0, 1, 4),
}
"""What the images are made of; ``same`` has the layers of ``app`` and another config."""


def images() -> Mapping[str, BuiltImage]:
    """All images, by name; the same every time."""
    chance = random.Random(_SEED)
    layers = [
        build_layer([file(f"file{number}", chance.randbytes(length))], Compression.NONE)
        for number, length in enumerate(_LAYERS)
    ]
    return {
        name: build_image([layers[at] for at in parts], config={"author": name})
        for name, parts in _IMAGES.items()
    }


def reference(name: str) -> str:
    """What users call an image."""
    return f"shelf.test/{name}:1"


def tree(diff_id: Digest) -> Mapping[str, bytes]:
    """The files of a layer's tree, by their paths."""
    text = str(diff_id).encode()
    return {"layer": text, "directory/large": text * 100}


class Trees(Overlay):
    """The overlay snapshotter, where no overlay is mounted to see whether that works."""

    def recover(self, recorded: AbstractSet[int]) -> None:
        """See ``Directories.recover``."""
        Directories.recover(self, recorded)


class Hands:
    """An ``Unpacker`` without a process; a layer's files follow from its diffID."""

    async def unpack(self, job: UnpackJob, progress: UnpackProgress | None = None) -> Unpacked:
        """See the port."""
        async for available in job.source.follow():
            if progress is not None:
                progress.unpacked(available)
        for path, data in tree(job.diff_id).items():
            above = os.path.dirname(path)
            if above:
                os.mkdir(above, 0o755, dir_fd=job.target)
            fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=job.target)
            try:
                os.write(fd, data)
            finally:
                os.close(fd)
        return Unpacked(disk_bytes=4 * 4096, inodes=4, entries=3)

    async def close(self) -> None:
        """See the port."""


class Registry(Shelf):
    """A registry whose connections can be made to break in the middle of a blob.

    Attributes:
        breaks: they do, now.
    """

    def __init__(self) -> None:
        super().__init__()
        self.breaks = False

    def remote(
        self, reference: Reference, *, credentials: Credentials | None, traffic: Traffic
    ) -> ShelfRemote:
        """See ``Registry``."""
        del credentials, traffic
        return _Remote(self, reference)


class _Remote(ShelfRemote):
    @asynccontextmanager
    async def blob(
        self, descriptor: Descriptor, *, offset: int = 0, length: int = 0
    ) -> AsyncIterator[Body]:
        async with super().blob(descriptor, offset=offset, length=length) as body:
            if isinstance(self.shelf, Registry) and self.shelf.breaks:
                if offset:
                    raise RegistryUnavailable("the connection is broken")
                yield _Broken(body.data[: len(body.data) // 2], body.start, body.end)
                return
            yield body


class _Broken(Body):
    async def read(self) -> bytes:
        if not self.data:
            raise RegistryUnavailable("the connection broke")
        return await super().read()


@asynccontextmanager
async def opened(
    registry: Registry, *, boot: str, barrier: bool = True
) -> AsyncIterator[tuple[SmallStore, Run]]:
    """Open the store on the disk that is in the kernel, as a start does.

    Args:
        registry: where images are from.
        boot: id of the machine's run.
        barrier: pulls wait for the disk.
    """
    fittings = Fittings(
        sync=True,
        barrier=LocalBlobStore.sync if barrier else None,
        unpacker=Hands(),
        trees=Trees(ROOT),
    )
    async with small_store(Path(ROOT), registry, ManualClock(), Places(), fittings) as store:
        run = Run(ROOT, boot)
        sync = Barrier(store.blobs.sync).wait
        async with trusting(store.service, store.metadata, run, sync, syncs=barrier):
            yield store, run


def mount_nothing() -> None:
    """For this process, for good: after a power cut nothing is mounted."""
    vars(directories).update(read_mountinfo=list, mounted_directories=set)
