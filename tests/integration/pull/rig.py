"""A whole service on a root of its own, what is to be seen of it, and images to pull."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from orlop.app import opened
from orlop.config.schema import Config
from orlop.images.service import LocalImageService
from orlop.linux.mounts import unmount
from orlop.snapshots.directories import Directories
from orlop.snapshots.service import SnapshotService
from orlop.store.blobs import LocalBlobStore
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import BuiltImage, BuiltIndex

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from orlop.testing.distribution import DistributionRegistry

NAMESPACE = "k8s.io"
_CONTENT = "io.containerd.content.v1.content"


EMPTIED_WITHIN = 20.0
"""Seconds; no tree of a test has more than some thousand inodes."""


@dataclass(frozen=True)
class Traces:
    """All that work can leave behind. Ingests may stay after a pull that failed.

    Attributes:
        rows: records of blobs, snapshots, images and names, as text.
        files: blobs, and directories of staging, trash and snapshots.
        ingests: reference of each partial blob, with its length.
        mounts: mount points below the root, and detached mounts of its directories.
        descriptors: of this process, that lead below the root, but for the store's own.
        workers: processes that unpack.
    """

    rows: frozenset[str]
    files: frozenset[str]
    ingests: frozenset[tuple[str, int]]
    mounts: tuple[str, ...]
    descriptors: tuple[str, ...]
    workers: tuple[int, ...]


@dataclass(frozen=True)
class Store:
    """A running service and its parts."""

    root: Path
    service: LocalImageService

    @property
    def blobs(self) -> LocalBlobStore:
        """The blob store."""
        found = self.service._store
        assert isinstance(found, LocalBlobStore)
        return found

    async def traces(self) -> Traces:
        """What there is now, and stays."""
        deadline = time.monotonic() + EMPTIED_WITHIN
        while True:
            await self._emptied(deadline)
            found = await self._found()
            # A collection that ended just now looks once more.
            if time.monotonic() > deadline or not any("/trash" in x for x in found.descriptors):
                return found

    async def _found(self) -> Traces:
        found = await self.service._metadata.inventory(NAMESPACE)
        rows = {f"blob {one.digest}" for one in found.blobs}
        rows |= {f"snapshot {one.snapshotter} {one.key}" for one in found.snapshots}
        rows |= {f"image {one.id} {one.snapshotter}" for one in found.records}
        rows |= {f"name {one.name}" for one in found.names}
        return Traces(
            rows=frozenset(rows),
            files=frozenset(self.files()),
            ingests=frozenset(self.ingests().items()),
            mounts=tuple(self._mounts()),
            descriptors=tuple(sorted(self._descriptors())),
            workers=tuple(await _workers_left()),
        )

    async def _emptied(self, deadline: float) -> None:
        """Wait for the trash, which goes at its leisure; what stays is what a test will see."""
        # Whoever empties it holds it open for a moment longer than there is something in it.
        while any("/trash" in one for one in (*self.files(), *self._descriptors())):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.02)

    def files(self) -> list[str]:
        """Blobs, trees and what is on its way in or out, relative to the root."""
        patterns = (
            f"{_CONTENT}/blobs/*/*",
            "*snapshotter*/staging/*",
            "*snapshotter*/trash/*",
            "*snapshotter*/snapshots/*",
        )
        found = [path for pattern in patterns for path in self.root.glob(pattern)]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def blob(self, hexadecimal: str) -> Path:
        """Where a blob's file is."""
        return self.root / _CONTENT / "blobs" / "sha256" / hexadecimal

    def trees_made(self, snapshotter: str = "overlayfs") -> int:
        """How many trees were begun, by the numbers that were given to them."""
        found = self.service._snapshotters[snapshotter]
        assert isinstance(found, SnapshotService)
        assert isinstance(found._format, Directories)
        return found._format._next

    def ingests(self) -> dict[str, int]:
        """Partial blobs: reference and length."""
        found = {}
        for path in self.root.glob(f"{_CONTENT}/ingest/*"):
            with suppress(FileNotFoundError):  # it is being made, or goes
                found[(path / "ref").read_text()] = (path / "data").stat().st_size
        return found

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line for line in lines if f"{self.root}/" in line]

    def _descriptors(self) -> list[str]:
        own = (_CONTENT, f"{_CONTENT}/ingest", f"{_CONTENT}/blobs")
        known = {str(self.root / name) for name in (*own, f"{own[2]}/sha256", f"{own[2]}/sha512")}
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{name}")
            except FileNotFoundError:
                continue  # the listing's own
            inside = target.startswith(f"{self.root}/") and not target.endswith("/lock")
            if inside and target not in known and "/meta.db" not in target:
                found.append(target)
        return found


@asynccontextmanager
async def running(root: Path, **images: object) -> AsyncIterator[Store]:
    """The service on ``root``, as configured when there is no document.

    Args:
        root: of the store; made if it is not there.
        images: keys of ``[plugins."io.containerd.cri.v1.images"]``.
    """
    async with configured(root, {}, **images) as store:
        yield store


@asynccontextmanager
async def configured(
    root: Path, sections: Mapping[str, Mapping[str, object]], **images: object
) -> AsyncIterator[Store]:
    """The same with keys of other plugins' tables, by the plugin's full name."""
    defaults = Config()
    config = structs.replace(
        defaults,
        root=str(root),
        state=str(root / "state"),
        images=structs.replace(defaults.images, **images),
        plugins=dict(sections),
    )
    async with opened(config) as app:
        assert isinstance(app.service, LocalImageService)
        yield Store(root, app.service)


def unmount_all(root: Path) -> None:
    """End what a test that failed has left mounted."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if f"{root}/" in line:
            unmount(line.split()[4], detach=True)


async def _workers_left() -> list[int]:
    """Workers that do not end; one that was stopped as it started needs a moment."""
    for _ in range(100):
        if not (found := workers()):
            break
        await asyncio.sleep(0.01)
    return found


def workers() -> list[int]:
    """Processes of the unpack room that are neither this one nor its fork-server."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(") ")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            parents[int(path.parent.name)] = int(fields[1])
    return [pid for pid, parent in parents.items() if parents.get(parent) == os.getpid()]


def offer(
    registry: FakeRegistry | DistributionRegistry,
    repository: str,
    tag: str,
    image: BuiltImage | BuiltIndex,
) -> str:
    """Upload an image or an index with all below it; returns the reference to pull it by."""
    documents = image.manifests if isinstance(image, BuiltIndex) else {}
    top = image.raw if isinstance(image, BuiltIndex) else image.manifest
    if isinstance(registry, FakeRegistry):
        for blob in image.blobs.values():
            registry.add_blob(blob)
        for media_type, raw in documents.values():
            registry.add_manifest(repository, None, raw, media_type)
        registry.add_manifest(repository, tag, top, image.media_type)
    else:
        for blob in image.blobs.values():
            registry.put_blob(repository, blob)
        for digest, (media_type, raw) in documents.items():
            registry.put_manifest(repository, str(digest), raw, media_type)
        registry.put_manifest(repository, tag, top, image.media_type)
    return f"{registry.address}/{repository}:{tag}"


def layers_fetched(registry: FakeRegistry, image: BuiltImage) -> list[str]:
    """Digests of an image's layers, sorted, as often as each was fetched."""
    layers = {str(layer.digest) for layer in image.layers}
    gets = [request for request in registry.requests if request.method == "GET"]
    found = [request.path.rpartition("/")[2] for request in gets]
    return sorted(digest for digest in found if digest in layers)
