"""Images mounted for somebody: a snapshot each, that lives as long as the mount.

A read-only mount is a view of the image's chain, a writable one an active
snapshot that is dropped with the mount. A writable one whose layer is to be kept is
a view, too, under a directory of the user's. All carry a label that keeps them, and
so the chain below them, from being collected, and says where they are mounted:
what was left by a crash or a reboot is found by it.
"""

from __future__ import annotations

import asyncio
import os
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from orlop.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from orlop.images import kept_layer
from orlop.images.completion import to_the_end
from orlop.model import labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orlop.ports.metadata import Image, SnapshotRecord
    from orlop.ports.mounting import Mounter
    from orlop.ports.snapshots import Snapshotter

_LAYER: Final = "orlop/mount.layer"


class ImageMounts:
    """Mounts images on directories.

    Args:
        snapshotters: by name.
        mounter: the kernel's mounts.
    """

    def __init__(self, snapshotters: Mapping[str, Snapshotter], mounter: Mounter) -> None:
        self._snapshotters = snapshotters
        self._mounter = mounter
        self._turn = asyncio.Lock()

    async def mount(
        self, namespace: str, image: Image, target: str, *, writable: bool, layer: str = ""
    ) -> None:
        """See ``ImageService.mount``. A mount that is cancelled is undone."""
        target = await _resolved(target)
        if layer:
            layer = await _resolved(layer)
        async with self._turn:
            await to_the_end(
                self._mount(namespace, image, target, writable=writable, layer=layer),
                undo=lambda: self._unmount([namespace], target),
            )

    async def unmount(self, namespaces: Iterable[str], target: str) -> None:
        """See ``ImageService.unmount``.

        Args:
            namespaces: that the image may belong to.
            target: where it is mounted.
        """
        target = await _resolved(target)
        async with self._turn:
            await to_the_end(self._unmount(namespaces, target))

    async def _mount(
        self, namespace: str, image: Image, target: str, *, writable: bool, layer: str
    ) -> None:
        snapshotter = self._snapshotter(image.record.snapshotter)
        if not image.record.chain_id:
            raise FailedPrecondition(f"image {image.record.id} has no layers to mount")
        own = {labels.GC_ROOT: "mounted", labels.MOUNT_TARGET: target}
        if layer:
            await self._require_free(namespace, layer)
            await asyncio.to_thread(kept_layer.claim, layer, image.record.chain_id)
            own[_LAYER] = layer
        start = snapshotter.prepare if writable and not layer else snapshotter.view
        try:
            mounts = await start(namespace, _key(target), image.record.chain_id, own)
        except AlreadyExists:
            if await asyncio.to_thread(self._mounter.is_mounted, target):
                raise AlreadyExists(
                    f"an image is mounted on {target} already", hint=f"orlop unmount {target}"
                ) from None
            await snapshotter.remove(namespace, _key(target))
            mounts = await start(namespace, _key(target), image.record.chain_id, own)
        try:
            if layer:
                mounts = [kept_layer.over(mounts, layer)]
            await asyncio.to_thread(self._mounter.mount, mounts, target)
        except BaseException:
            await snapshotter.remove(namespace, _key(target))
            raise

    async def _require_free(self, namespace: str, layer: str) -> None:
        """Two mounts with one layer would spoil it. Raises FailedPrecondition."""
        for snapshotter in self._snapshotters.values():
            for record in await snapshotter.walk(namespace, _LAYER):
                if record.labels[_LAYER] != layer:
                    continue
                if not await asyncio.to_thread(self._is_lost, record):
                    raise FailedPrecondition(
                        f"layer {layer} is mounted on {record.labels[labels.MOUNT_TARGET]} already",
                        hint=f"orlop unmount {record.labels[labels.MOUNT_TARGET]}",
                    )

    async def _unmount(self, namespaces: Iterable[str], target: str) -> None:
        found = await self._find(namespaces, target)
        if found is None:
            raise NotFound(f"orlop has mounted no image on {target}")
        namespace, snapshotter = found
        if await asyncio.to_thread(self._mounter.is_mounted, target):
            await asyncio.to_thread(self._mounter.unmount, target)
        await snapshotter.remove(namespace, _key(target))

    async def _find(self, namespaces: Iterable[str], target: str) -> tuple[str, Snapshotter] | None:
        for namespace in namespaces:
            for snapshotter in self._snapshotters.values():
                try:
                    await snapshotter.stat(namespace, _key(target))
                except NotFound:
                    continue
                return namespace, snapshotter
        return None

    async def forget_lost(self, namespace: str) -> None:
        """At start: drop the snapshots of mounts that are gone."""
        for snapshotter in self._snapshotters.values():
            records = await snapshotter.walk(namespace, labels.MOUNT_TARGET)
            for key in await asyncio.to_thread(self._lost, records):
                await snapshotter.remove(namespace, key)

    def _lost(self, records: Iterable[SnapshotRecord]) -> list[str]:
        """Keys of those that are mounted no more."""
        return [record.key for record in records if self._is_lost(record)]

    def _is_lost(self, record: SnapshotRecord) -> bool:
        return not self._mounter.is_mounted(record.labels[labels.MOUNT_TARGET])

    def _snapshotter(self, name: str) -> Snapshotter:
        found = self._snapshotters.get(name)
        if found is None:
            raise FailedPrecondition(
                f"the image is unpacked in snapshotter {name}, which is not loaded"
            )
        return found


async def _resolved(target: str) -> str:
    """The directory itself, whichever links lead to it."""
    if not os.path.isabs(target):
        raise InvalidArgument(f"{target!r} is no absolute path")
    return await asyncio.to_thread(os.path.realpath, target)


def _key(target: str) -> str:
    return f"mount-{sha256(target.encode('utf-8', 'surrogateescape')).hexdigest()}"
