"""Checking images: is all of it here, and is it what its names say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orlop.errors import NotFound, OrlopError, StoreCorrupt, StoreIO
from orlop.model import labels
from orlop.model import manifest as manifests
from orlop.model.limits import DEFAULTS, Limits
from orlop.ports.service import CheckReport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orlop.model.digest import Digest
    from orlop.ports.content import Provider
    from orlop.ports.metadata import Image, Metadata
    from orlop.ports.snapshots import Snapshotter


class ImageCheck:
    """Verifies images one at a time; nothing is changed.

    Args:
        tree_exists: True when the directory of a snapshot's tree is there.
    """

    def __init__(
        self,
        *,
        store: Provider,
        metadata: Metadata,
        snapshotters: Mapping[str, Snapshotter],
        tree_exists: Callable[[str], bool],
        limits: Limits = DEFAULTS,
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._snapshotters = snapshotters
        self._tree_exists = tree_exists
        self._limits = limits

    async def check(self, namespace: str, image: Image) -> CheckReport:
        """Read and hash every blob of ``image``, and look at every snapshot.

        Layers that were discarded when they had been unpacked are not missed.

        Raises:
            StoreIO: the disk cannot be read; that is no finding about an image.
        """
        problems = [
            *await self._check_blobs(namespace, image),
            *await self._check_snapshots(namespace, image),
        ]
        return CheckReport(
            image_id=str(image.record.id),
            names=tuple(name.name for name in image.names),
            problems=tuple(problems),
        )

    async def _check_blobs(self, namespace: str, image: Image) -> list[str]:
        targets = [name.target.digest for name in image.names]
        problems = [await self._problem(digest) for digest in [*targets, image.record.manifest]]
        try:
            manifest = await self._manifest(image)
        except StoreIO:
            raise
        except OrlopError as error:
            return _each_once([*problems, error.message])
        digests = [manifest.config.digest, *await self._kept_layers(namespace, manifest)]
        problems += [await self._problem(digest) for digest in dict.fromkeys(digests)]
        return _each_once(problems)

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

    async def _problem(self, digest: Digest) -> str:
        try:
            await asyncio.to_thread(self._store.verify, digest)
        except StoreIO:
            raise
        except OrlopError as error:
            return error.message
        return ""

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
        trees = [snapshotter.staging.tree(snapshot.directory) for snapshot in chain]
        missing = [tree for tree in trees if not await asyncio.to_thread(self._tree_exists, tree)]
        return [f"snapshot directory {tree} is missing" for tree in missing]


def _each_once(problems: list[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, problems)))
