"""``ImageService``: the library's front door, and what CRI and control call.

It decides what a call means (which image, platform, snapshotter, namespace) and
hands the work to the rooms behind the ports.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from orlop.errors import (
    InvalidArgument,
    InvalidReference,
    NotFound,
    StoreCorrupt,
    Unavailable,
    Unimplemented,
)
from orlop.images import find as finding
from orlop.model import labels
from orlop.model import manifest as manifests
from orlop.model.image import parse_config
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.platform import Platform
from orlop.model.reference import from_user
from orlop.ports.pull import PullRequest
from orlop.ports.service import CheckReport, FsUsage, GCReport, ImageDetail, PullOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orlop.images.check import ImageCheck
    from orlop.images.mounts import ImageMounts
    from orlop.images.settings import ServiceSettings
    from orlop.ports.clock import Clock
    from orlop.ports.content import Provider
    from orlop.ports.gc import GarbageCollector
    from orlop.ports.metadata import Image, Metadata
    from orlop.ports.observe import PullProgress
    from orlop.ports.pull import Puller
    from orlop.ports.snapshots import Snapshotter


class LocalImageService:
    """Implements ``orlop.ports.service.ImageService`` on this machine's store.

    Made by ``orlop.app``; lives as long as the parts that it was given.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        puller: Puller,
        store: Provider,
        metadata: Metadata,
        snapshotters: Mapping[str, Snapshotter],
        collector: GarbageCollector,
        mounts: ImageMounts,
        checker: ImageCheck,
        clock: Clock,
        limits: Limits = DEFAULTS,
    ) -> None:
        self._settings = settings
        self._puller = puller
        self._store = store
        self._metadata = metadata
        self._snapshotters = snapshotters
        self._collector = collector
        self._mounts = mounts
        self._checker = checker
        self._clock = clock
        self._limits = limits
        self._pinned = _pinned(settings)

    def reload(self, settings: ServiceSettings) -> None:
        """Use other settings from the next call on.

        Raises:
            InvalidArgument: a pinned name is no reference; nothing has changed.
        """
        self._pinned = _pinned(settings)
        self._settings = settings

    # Pulling.

    async def pull(
        self,
        reference: str,
        options: PullOptions | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        """See the port."""
        options = options or PullOptions()
        parsed = from_user(reference)
        platform, snapshotter = self._target(options)
        request = PullRequest(
            parsed, platform, snapshotter, self._namespace(options.namespace), options.credentials
        )
        return await self._puller.pull(request, progress)

    async def running(self) -> Sequence[PullProgress]:
        """See the port."""
        return self._puller.pulls()

    def _target(self, options: PullOptions) -> tuple[Platform, Snapshotter]:
        """Platform and snapshotter: the caller's, else the runtime handler's, else ours."""
        platform, name = options.platform, options.snapshotter
        if options.runtime_handler:
            runtime = self._settings.runtimes.get(options.runtime_handler)
            if runtime is None:
                raise InvalidArgument(
                    f"unknown runtime handler {options.runtime_handler!r}",
                    hint="name it under runtime_platforms in the configuration",
                )
            platform = platform or runtime.platform
            name = name or runtime.snapshotter
        name = name or self._settings.snapshotter
        snapshotter = self._snapshotters.get(name)
        if snapshotter is None:
            known = ", ".join(sorted(self._snapshotters))
            raise InvalidArgument(f"unknown snapshotter {name!r}", hint=f"loaded are: {known}")
        wanted = Platform.parse(platform) if platform else self._settings.platform
        return wanted, snapshotter

    # Looking.

    async def find(self, text: str, namespace: str = "") -> Image | None:
        """See the port."""
        return await finding.find(self._metadata, self._namespace(namespace), text)

    async def images(self, filter_text: str = "", namespace: str = "") -> list[Image]:
        """See the port."""
        if not filter_text:
            return await self._metadata.images(self._namespace(namespace))
        image = await self.find(filter_text, namespace)
        return [] if image is None else [image]

    async def detail(self, text: str, namespace: str = "") -> ImageDetail:
        """See the port."""
        image = await self._require(text, namespace)
        raw = await asyncio.to_thread(
            self._store.read, image.record.manifest, self._limits.manifest_bytes
        )
        manifest = manifests.parse(
            raw, media_type="", limits=self._limits, algorithm=image.record.manifest.algorithm
        )
        if not isinstance(manifest, manifests.Manifest):
            raise StoreCorrupt(f"manifest {image.record.manifest} of {text} is an index")
        raw = await asyncio.to_thread(self._store.read, image.record.id, self._limits.config_bytes)
        return ImageDetail(
            image,
            manifest,
            parse_config(raw, limits=self._limits, algorithm=image.record.id.algorithm),
        )

    def pinned(self, image: Image) -> bool:
        """See the port."""
        return any(
            name.name in self._pinned
            or name.labels.get(labels.CRI_PINNED) == labels.CRI_PINNED_VALUE
            for name in image.names
        )

    async def filesystems(self) -> list[FsUsage]:
        """See the port."""
        snapshotter = self._snapshotters[self._settings.snapshotter]
        usage = await self._metadata.usage()
        return [FsUsage(snapshotter.root, self._clock.now(), usage)]

    # Removing.

    async def remove(self, text: str, namespace: str = "") -> bool:
        """See the port."""
        image = await self.find(text, namespace)
        if image is None:
            return False
        await self._metadata.remove_image(self._namespace(namespace), image.record.id)
        await self._free_space()
        return True

    async def remove_name(self, text: str, namespace: str = "") -> bool:
        """See the port."""
        space = self._namespace(namespace)
        name = await finding.name_of(self._metadata, space, text)
        image = name and await self._metadata.image_by_name(space, name)
        if not name or not image:
            return await self.remove(text, namespace)
        doomed = _removed_with(image, name)
        if doomed >= {other.name for other in image.names} - {str(image.record.id)}:
            return await self.remove(str(image.record.id), namespace)
        for one in sorted(doomed):
            await self._metadata.remove_name(space, one)
        await self._free_space()
        return True

    async def _free_space(self) -> None:
        # What a busy store keeps for now, a later collection removes: the name is gone.
        with suppress(Unavailable):
            await self._collector.collect()

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        """See the port."""
        return await self._collector.collect(dry_run=dry_run)

    # Mounting and checking.

    async def mount(
        self, text: str, target: str, *, writable: bool = False, namespace: str = ""
    ) -> None:
        """See the port."""
        image = await self._require(text, namespace)
        await self._mounts.mount(self._namespace(namespace), image, target, writable=writable)

    async def unmount(self, target: str) -> None:
        """See the port."""
        namespaces = [self._settings.namespace, *await self._metadata.namespaces()]
        await self._mounts.unmount(dict.fromkeys(namespaces), target)

    async def check(self, text: str = "", *, repair: bool = False) -> list[CheckReport]:
        """See the port."""
        if repair:
            raise Unimplemented(
                "repairing images is not possible yet",
                hint="remove the damaged image and pull it again",
            )
        found = [await self._require(text)] if text else await self.images()
        reports = [await self._check(image) for image in found]
        return [report for report in reports if report is not None]

    async def _check(self, image: Image) -> CheckReport | None:
        """What is wrong with an image; None when it has been removed meanwhile."""
        namespace = self._settings.namespace
        report = await self._checker.check(namespace, image)
        if report.problems and await self._metadata.image_by_id(namespace, image.record.id) is None:
            return None
        return report

    # Inside.

    def _namespace(self, namespace: str) -> str:
        return namespace or self._settings.namespace

    async def _require(self, text: str, namespace: str = "") -> Image:
        image = await self.find(text, namespace)
        if image is None:
            raise NotFound(f"image {text!r} is not here", hint=f"pull it first: orlop pull {text}")
        return image


def _pinned(settings: ServiceSettings) -> frozenset[str]:
    return frozenset(_normalised(name) for name in settings.pinned if name)


def _normalised(name: str) -> str:
    try:
        return str(from_user(name))
    except InvalidReference as error:
        raise InvalidArgument(f"pinned image {name!r}: {error.message}") from error


def _removed_with(image: Image, name: str) -> set[str]:
    """The names that go with ``name``: a repository's digests do not outlive its last tag.

    ``docker rmi`` does the same: who removes the only tag means the image.
    """
    repository = from_user(name).name
    siblings = {other.name for other in image.names if other.name.startswith(f"{repository}@")}
    tags = {other.name for other in image.names if other.name.startswith(f"{repository}:")}
    return {name} | siblings if tags == {name} else {name}
