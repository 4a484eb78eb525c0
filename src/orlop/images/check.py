"""Checking images: is all of it here, and is it what its names say."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from orlop.errors import NotFound, OrlopError, StoreCorrupt, StoreIO
from orlop.images.pace import Pace
from orlop.model import labels
from orlop.model import manifest as manifests
from orlop.model.limits import DEFAULTS, Limits
from orlop.ports.metadata import Damage
from orlop.ports.service import CheckReport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orlop.model.digest import Digest
    from orlop.ports.content import Provider
    from orlop.ports.metadata import Image, Metadata, SnapshotRecord
    from orlop.ports.snapshots import Snapshotter

File: TypeAlias = "Digest | tuple[str, int]"
"""A blob, or a tree by its snapshotter and directory."""

_AT_ONCE: Final = max(2, os.cpu_count() or 1)
"""Files that are verified at the same time: hashing runs without the interpreter's lock."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How to check.

    Attributes:
        repair: fetch or unpack again what is damaged.
        quick: look whether everything is there, and read no layer.
        max_rate: bytes per second to read at most; 0 is no limit.
    """

    repair: bool = False
    quick: bool = False
    max_rate: int = 0


class ImageCheck:
    """Verifies images and remembers what is damaged; files are left as they are."""

    def __init__(
        self,
        *,
        store: Provider,
        metadata: Metadata,
        snapshotters: Mapping[str, Snapshotter],
        limits: Limits = DEFAULTS,
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._snapshotters = snapshotters
        self._limits = limits

    def begin(self, options: CheckOptions) -> Checking:
        """Start to check images: each of their files is read once, however many have it."""
        return Checking(self._store, self._metadata, self._snapshotters, self._limits, options)


class Checking:
    """One check of several images; see ``ImageCheck.begin``."""

    def __init__(
        self,
        store: Provider,
        metadata: Metadata,
        snapshotters: Mapping[str, Snapshotter],
        limits: Limits,
        options: CheckOptions,
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._snapshotters = snapshotters
        self._limits = limits
        self._quick = options.quick
        self._pace = Pace(options.max_rate)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._verdicts: dict[File, asyncio.Task[list[str]]] = {}

    async def check(self, namespace: str, image: Image) -> CheckReport:
        """What is wrong with ``image``; what is damaged, and what is not, is remembered.

        Layers that were discarded when they had been unpacked are not missed.

        Raises:
            StoreIO: the disk cannot be read; that is no finding about an image.
        """
        try:
            problems = [
                *await self._check_blobs(namespace, image),
                *await self._check_snapshots(namespace, image),
            ]
            await self._remember()
        finally:
            await self._end_those_left()
        return CheckReport(
            image_id=str(image.record.id),
            names=tuple(name.name for name in image.names),
            problems=tuple(dict.fromkeys(problems)),
        )

    # Blobs.

    async def _check_blobs(self, namespace: str, image: Image) -> list[str]:
        targets = [name.target.digest for name in image.names]
        problems = await self._each([*targets, image.record.manifest])
        try:
            manifest = await self._manifest(image)
        except StoreIO:
            raise
        except OrlopError as error:
            return [*problems, error.message]
        kept = await self._kept_layers(namespace, manifest)
        return problems + await self._each([manifest.config.digest, *kept])

    async def _manifest(self, image: Image) -> manifests.Manifest:
        digest = image.record.manifest
        raw = await asyncio.to_thread(self._store.read, digest, self._limits.manifest_bytes)
        manifest = manifests.parse(
            raw, media_type="", limits=self._limits, algorithm=digest.algorithm
        )
        if isinstance(manifest, manifests.Index):
            raise StoreCorrupt(f"manifest {digest}: is an index")
        return manifest

    async def _kept_layers(self, namespace: str, manifest: manifests.Manifest) -> list[Digest]:
        """The layers whose blobs are to be here: those that the manifest's record refers to."""
        record = await self._metadata.blob(namespace, manifest.digest)
        refers = {} if record is None else record.labels
        return [
            layer.digest
            for position, layer in enumerate(manifest.layers)
            if labels.gc_ref_layer(position) in refers
        ]

    async def _each(self, digests: list[Digest]) -> list[str]:
        verdicts = [self._verdict(one, self._blob(one)) for one in dict.fromkeys(digests)]
        return [problem for found in await asyncio.gather(*verdicts) for problem in found]

    def _blob(self, digest: Digest) -> Callable[[], list[str]]:
        def verify() -> list[str]:
            try:
                if not self._quick:
                    self._store.verify(digest, self._pace.spend)
                elif self._store.stat(digest) is None:
                    return [f"blob {digest}: not in the store"]
            except StoreIO:
                raise
            except OrlopError as error:
                return [error.message]
            return []

        return verify

    # Snapshots.

    async def _check_snapshots(self, namespace: str, image: Image) -> list[str]:
        record = image.record
        if not record.chain_id:
            return []
        snapshotter = self._snapshotters.get(record.snapshotter)
        if snapshotter is None:
            return [f"snapshotter {record.snapshotter} is not loaded"]
        try:
            chain = await self._metadata.chain(namespace, record.snapshotter, record.chain_id)
        except NotFound as error:
            return [error.message]
        verdicts = [
            self._verdict((snapshotter.name, one.directory), self._tree(snapshotter, one))
            for one in chain
        ]
        return [problem for found in await asyncio.gather(*verdicts) for problem in found]

    def _tree(self, snapshotter: Snapshotter, record: SnapshotRecord) -> Callable[[], list[str]]:
        manifest = "" if self._quick else record.labels.get(labels.SNAPSHOT_MANIFEST, "")
        return lambda: snapshotter.staging.verify(record.directory, manifest, self._pace.spend)

    # Verdicts.

    def _verdict(self, file: File, verify: Callable[[], list[str]]) -> asyncio.Task[list[str]]:
        if file not in self._verdicts:
            self._verdicts[file] = asyncio.create_task(self._take_turn(verify))
        return self._verdicts[file]

    async def _take_turn(self, verify: Callable[[], list[str]]) -> list[str]:
        async with self._turns:
            return await asyncio.to_thread(verify)

    async def _remember(self) -> None:
        """Note what was found; only a look at the bytes shows that a file is sound."""
        bad = {file for file, task in self._verdicts.items() if task.done() and task.result()}
        sound = set() if self._quick else self._verdicts.keys() - bad
        known = await self._metadata.damage()
        found, healed = _damage(bad), _damage(sound)
        news = Damage(found.blobs - known.blobs, found.trees - known.trees)
        gone = Damage(healed.blobs & known.blobs, healed.trees & known.trees)
        if news != Damage() or gone != Damage():
            await self._metadata.note_damage(news, gone)

    async def _end_those_left(self) -> None:
        left = [task for task in self._verdicts.values() if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _damage(files: set[File]) -> Damage:
    return Damage(
        frozenset(one for one in files if not isinstance(one, tuple)),
        frozenset(one for one in files if isinstance(one, tuple)),
    )
