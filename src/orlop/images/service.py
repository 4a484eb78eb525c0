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
    NotFound,
    StoreCorrupt,
    StoreFull,
    Unavailable,
)
from orlop.images import find as finding
from orlop.images.check import CheckOptions
from orlop.images.exporting import choose
from orlop.images.importing import take_images
from orlop.images.leases import ImageLeases
from orlop.images.pinning import label_pinned
from orlop.images.runtimes import DEFAULT, Runtimes
from orlop.images.usage import StoreUsage
from orlop.model import labels
from orlop.model import manifest as manifests
from orlop.model.image import parse_config
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.pins import Pins
from orlop.model.reference import from_user
from orlop.ports.pull import PullRequest
from orlop.ports.service import (
    CheckReport,
    ExportOptions,
    GCReport,
    ImageDetail,
    ImportOptions,
    LeaseOptions,
    PullOptions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from orlop.images.exporting import Exporter
    from orlop.images.mounts import ImageMounts
    from orlop.images.repair import ImageRepair
    from orlop.images.settings import ServiceSettings
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.ports.archive import Archives
    from orlop.ports.clock import Clock
    from orlop.ports.content import Provider
    from orlop.ports.gc import DiskUsage, Explanation, GarbageCollector
    from orlop.ports.metadata import Image, ImageListing, Metadata
    from orlop.ports.observe import PullProgress
    from orlop.ports.pull import Origin, Puller
    from orlop.ports.service import FsUsage, HeldLease
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
        repairs: ImageRepair,
        archives: Archives,
        exporter: Exporter,
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
        self._repairs = repairs
        self._archives = archives
        self._exporter = exporter
        self._clock = clock
        self._limits = limits
        self._runtimes = Runtimes.configured(settings, snapshotters)
        self._pins = Pins(settings.pinned)
        self._for_node: tuple[ImageListing | None, tuple[Image, ...]] = (None, ())
        self._leases = ImageLeases(metadata, snapshotters, clock)
        self._usage = StoreUsage(
            metadata,
            snapshotters,
            clock,
            content=settings.content_root,
            seconds=settings.stats_seconds,
        )

    def reload(self, settings: ServiceSettings) -> None:
        """Use other settings from the next call on; labels of pinned images follow at a start.

        Raises:
            InvalidArgument: a pinned name, a platform or a snapshotter makes no sense;
                nothing has changed.
        """
        runtimes = Runtimes.configured(settings, self._snapshotters)
        self._pins = Pins(settings.pinned)
        self._runtimes = runtimes
        self._settings = settings
        self._for_node = (None, ())  # pins and handlers may be others

    async def start(self) -> None:
        """Have the store's labels say what the configuration says; call it once, first."""
        with suppress(StoreFull):  # the answers of ``pinned`` are right without them
            await label_pinned(self._pins, self._metadata, self._settings.namespace)

    # Pulling.

    async def pull(
        self,
        reference: str,
        options: PullOptions | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        """See the port."""
        options = options or PullOptions()
        return await self._take(from_user(reference), options, progress=progress)

    async def _take(
        self,
        reference: Reference | None,
        options: PullOptions,
        *,
        origin: Origin | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        platform, snapshotter = self._target(options)
        request = PullRequest(
            reference,
            platform,
            snapshotter,
            self._namespace(options.namespace),
            options.credentials,
            self._pins,
            origin,
        )
        try:
            return await self._puller.pull(request, progress)
        finally:
            self._usage.forget()

    # Archives.

    async def import_images(
        self,
        source: int,
        options: ImportOptions | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> list[Image]:
        """See the port."""
        wanted = options or ImportOptions()

        async def take(name: Reference | None, origin: Origin, platform: str) -> Image:
            target = PullOptions(
                platform=platform, snapshotter=wanted.snapshotter, namespace=wanted.namespace
            )
            return await self._take(name, target, origin=origin, progress=progress)

        async with self._archives.opened(source) as archive:
            return await take_images(archive, wanted, take)

    async def export(
        self, texts: Sequence[str], target: int, options: ExportOptions | None = None
    ) -> None:
        """See the port."""
        options = options or ExportOptions()
        chosen = [
            choose(text, await self._require_all(text, options.namespace), options, self._runtimes)
            for text in texts
        ]
        await self._exporter.export(chosen, target, options.format)

    async def running(self) -> Sequence[PullProgress]:
        """See the port."""
        return self._puller.pulls()

    def _target(self, options: PullOptions) -> tuple[Platform, Snapshotter]:
        """Platform and snapshotter: the caller's, else the runtime handler's, else ours."""
        target = self._runtimes.wanted(
            options.runtime_handler, platform=options.platform, snapshotter=options.snapshotter
        )
        snapshotter = self._snapshotters.get(target.snapshotter)
        if snapshotter is None:
            known = ", ".join(sorted(self._snapshotters))
            raise InvalidArgument(
                f"unknown snapshotter {target.snapshotter!r}", hint=f"loaded are: {known}"
            )
        return target.platform, snapshotter

    # Looking.

    async def find(self, text: str, namespace: str = "") -> Image | None:
        """See the port."""
        return self._runtimes.prefer(await self._find_all(text, namespace))

    async def images(self, filter_text: str = "", namespace: str = "") -> list[Image]:
        """See the port."""
        if not filter_text:
            return await self._metadata.images(self._namespace(namespace))
        return await self._find_all(filter_text, namespace)

    async def images_for_node(self, filter_text: str = "") -> Sequence[Image]:
        """See the port."""
        if filter_text:
            return await self._whole(await self._find_all(filter_text))
        listing = await self._metadata.listing(self._settings.namespace)
        known, images = self._for_node
        if listing is not known:
            images = tuple(_undamaged(listing.images, listing.damaged))
            self._for_node = (listing, images)
        return images

    async def find_for(self, text: str, runtime_handler: str) -> Image | None:
        """See the port."""
        images = await self._whole(await self._find_all(text))
        found = self._runtimes.choose(images, runtime_handler)
        if found is None and runtime_handler == DEFAULT and _are_named_by_id(images, text):
            return images[0]
        return found

    def runtime_handler(self, image: Image) -> str:
        """See the port."""
        return self._runtimes.handler(image)

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
        pinned_by_label = any(
            name.labels.get(labels.CRI_PINNED) == labels.CRI_PINNED_VALUE
            and labels.PINNED_BY not in name.labels
            for name in image.names
        )
        return pinned_by_label or self._pins.cover(
            (name.name for name in image.names), image.record.manifest
        )

    async def filesystems(self) -> list[FsUsage]:
        """See the port. What was reported a short while ago is reported again."""
        return await self._usage.report(self._runtimes.target(DEFAULT).snapshotter)

    # Removing.

    async def remove(self, text: str, namespace: str = "") -> bool:
        """See the port."""
        return await self._remove_all(await self._find_all(text, namespace), namespace)

    async def remove_for(self, text: str, runtime_handler: str) -> bool:
        """See the port."""
        image = self._runtimes.choose(await self._find_all(text), runtime_handler)
        if image is None:
            return False
        record = image.record
        await self._metadata.remove_image(self._settings.namespace, record.id, record.snapshotter)
        await self._free_space()
        return True

    async def _remove_all(self, images: Sequence[Image], namespace: str) -> bool:
        if images:
            ids = dict.fromkeys(image.record.id for image in images)
            await self._metadata.remove_together(self._namespace(namespace), ids=ids)
            await self._free_space()
        return bool(images)

    async def remove_name(self, text: str, namespace: str = "") -> bool:
        """See the port."""
        space = self._namespace(namespace)
        name = await finding.name_of(self._metadata, space, text)
        if name is None:
            return await self.remove(text, namespace)
        images = await self._metadata.images_by_name(space, name)
        doomed = {image.record.id: _removed_with(image, name) for image in images}
        ends = [image for image in images if doomed[image.record.id] >= _references(image)]
        kept = [doomed[image.record.id] for image in images if image not in ends]
        await self._metadata.remove_together(
            space,
            names=sorted(set.intersection(*kept)) if kept else (),
            ids=dict.fromkeys(image.record.id for image in ends),
        )
        await self._free_space()
        return True

    async def _free_space(self) -> None:
        # What a busy store keeps for now, a later collection removes: the name is gone.
        with suppress(Unavailable):
            await self.collect()

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        """See the port."""
        try:
            return await self._collector.collect(dry_run=dry_run)
        finally:
            self._usage.forget()

    async def why(self, text: str, namespace: str = "") -> Sequence[Explanation]:
        """See the port."""
        return await self._collector.why(text, namespace)

    async def disk_usage(self, namespace: str = "") -> DiskUsage:
        """See the port."""
        return await self._collector.disk_usage(self._namespace(namespace))

    async def leases(self, namespace: str = "") -> Sequence[HeldLease]:
        """See the port."""
        return await self._leases.every(self._namespace(namespace))

    async def add_lease(
        self, texts: Sequence[str], options: LeaseOptions | None = None, namespace: str = ""
    ) -> HeldLease:
        """See the port."""
        space = self._namespace(namespace)
        return await self._leases.add(space, texts, options or LeaseOptions())

    async def remove_lease(self, id_: str, namespace: str = "") -> None:
        """See the port."""
        await self._leases.remove(self._namespace(namespace), id_)
        await self._free_space()

    # Mounting and checking.

    async def mount(
        self,
        text: str,
        target: str,
        *,
        writable: bool = False,
        layer: str = "",
        namespace: str = "",
    ) -> None:
        """See the port."""
        image = await self._require(text, namespace)
        space = self._namespace(namespace)
        await self._mounts.mount(space, image, target, writable=writable, layer=layer)

    async def unmount(self, target: str) -> None:
        """See the port."""
        namespaces = [self._settings.namespace, *await self._metadata.namespaces()]
        await self._mounts.unmount(dict.fromkeys(namespaces), target)

    async def check(
        self, text: str = "", *, repair: bool = False, quick: bool = False, max_rate: int = 0
    ) -> list[CheckReport]:
        """See the port."""
        found = await self._find_all(text) if text else await self.images()
        if text and not found:
            raise _missing(text)
        try:
            return await self._repairs.check(
                self._settings.namespace,
                found,
                CheckOptions(repair=repair, quick=quick, max_rate=max_rate),
                pins=self._pins,
            )
        finally:
            self._usage.forget()

    # Inside.

    async def _whole(self, images: list[Image]) -> list[Image]:
        """The images that are not known to be damaged."""
        damaged = await self._metadata.damaged_images(self._settings.namespace)
        return _undamaged(images, damaged)

    def _namespace(self, namespace: str) -> str:
        return namespace or self._settings.namespace

    async def _find_all(self, text: str, namespace: str = "") -> list[Image]:
        return await finding.find(self._metadata, self._namespace(namespace), text)

    async def _require_all(self, text: str, namespace: str) -> list[Image]:
        images = await self._find_all(text, namespace)
        if not images:
            raise _missing(text)
        return images

    async def _require(self, text: str, namespace: str = "") -> Image:
        image = await self.find(text, namespace)
        if image is None:
            raise _missing(text)
        return image


def _undamaged(images: Iterable[Image], damaged: Collection[tuple[str, str]]) -> list[Image]:
    if not damaged:
        return list(images)
    return [one for one in images if (str(one.record.id), one.record.snapshotter) not in damaged]


def _missing(text: str) -> NotFound:
    return NotFound(f"image {text!r} is not here", hint=f"pull it first: orlop pull {text}")


def _are_named_by_id(images: Sequence[Image], text: str) -> bool:
    start = text.removeprefix("sha256:")
    return any(image.record.id.hex.startswith(start) for image in images)


def _references(image: Image) -> set[str]:
    """All names of an image but its id."""
    return {name.name for name in image.names} - {str(image.record.id)}


def _removed_with(image: Image, name: str) -> set[str]:
    """The names that go with ``name``: a repository's digests do not outlive its last tag.

    ``docker rmi`` does the same: who removes the only tag means the image.
    """
    repository = from_user(name).name
    siblings = {other.name for other in image.names if other.name.startswith(f"{repository}@")}
    tags = {other.name for other in image.names if other.name.startswith(f"{repository}:")}
    return {name} | siblings if tags == {name} else {name}
