"""An image service in memory, for tests of what stands in front of one.

``MemoryService`` implements ``orlop.ports.service.NodeImageService`` with dictionaries.
Its *shelf* is what a pull can find, its *images* are what it has. Pulls are
quick and report every phase; a test makes one fail (``failures``) or wait
(``hold``), and reads what was asked in ``calls``. Nothing is fetched, unpacked
or mounted, and nothing touches the disk.
"""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from orlop.errors import (
    AuthFailed,
    InvalidArgument,
    InvalidReference,
    NoMatchingPlatform,
    NotFound,
    OrlopError,
    StoreCorrupt,
)
from orlop.model.image import parse_config
from orlop.model.manifest import Manifest, parse
from orlop.model.platform import Platform, rank
from orlop.model.reference import from_user
from orlop.ports.gc import Chain, DiskUsage, Explanation, ImageUsage, Link
from orlop.ports.metadata import Image, ImageName, ImageRecord, Target, Usage
from orlop.ports.observe import LayerProgress, PullProgress, Span
from orlop.ports.service import (
    CheckReport,
    ExportOptions,
    FsUsage,
    GCReport,
    ImageDetail,
    ImportOptions,
    PullOptions,
)
from orlop.testing.images import build_image
from orlop.testing.layers import file
from orlop.testing.memory_leases import NOW, MemoryLeases

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orlop.model.digest import Digest
    from orlop.model.reference import Reference
    from orlop.ports.observe import LayerPhase, PullPhase
    from orlop.testing.images import BuiltImage

_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")


@dataclass(frozen=True, slots=True)
class Call:
    """One call that the service got, with its arguments in the order of its signature."""

    method: str
    arguments: tuple[object, ...]


def shelf() -> dict[str, BuiltImage]:
    """Some images to pull, by canonical reference; two tags are the same image."""
    box = build_image([[file("bin/box", b"box" * 1000)]], config={"config": {"User": "1000:1000"}})
    application = build_image(
        [[file("bin/box", b"box" * 1000)], [file("srv/data", bytes(5000))]],
        config={"config": {"User": "www-data", "Labels": {"tier": "front"}}},
    )
    return {
        "docker.io/library/busybox:latest": box,
        "docker.io/library/busybox:1.37": box,
        "registry.example/team/app:v1": application,
        "private.example/secret:latest": build_image([[file("secret", b"secret")]]),
    }


class MemoryService(MemoryLeases):
    """An ``ImageService`` for tests.

    Args:
        available: what can be pulled, by canonical reference; ``shelf()`` if None.
        accounts: user name and password of registries that want one, by domain.

    Attributes:
        calls: what was asked, oldest first.
        failures: errors that pulls end with, by canonical reference.
        hold: pulls of these canonical references wait until the event is set.
        cancelled: canonical references of pulls that were cancelled.
        damaged: ids of images whose documents cannot be read.
        pins: ids of pinned images.
        mounts: image id and whether it is writable, by target.
        mountpoint: the file system that ``filesystems`` names.
        handlers: runtime handlers that pulls may name.
    """

    def __init__(
        self,
        available: Mapping[str, BuiltImage] | None = None,
        *,
        accounts: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        super().__init__()
        self._available = dict(shelf() if available is None else available)
        self._accounts = dict(accounts or {})
        self._images: dict[Digest, Image] = {}
        self._built: dict[Digest, BuiltImage] = {}
        self._running: dict[int, PullProgress] = {}
        self.calls: list[Call] = []
        self.failures: dict[str, OrlopError] = {}
        self.hold: dict[str, asyncio.Event] = {}
        self.cancelled: list[str] = []
        self.damaged: set[Digest] = set()
        self.pins: set[Digest] = set()
        self.mounts: dict[str, tuple[Digest, bool]] = {}
        self.mountpoint = "/"
        self.handlers = {"", "runc"}

    def put(self, reference: str, built: BuiltImage) -> Image:
        """Have an image without pulling it; ``reference`` is canonical."""
        named = from_user(reference)
        target = Target(built.media_type, built.digest, len(built.manifest))
        old = self._images.get(built.id)
        names = {name.name: name for name in old.names} if old else {}
        texts = [str(named), f"{named.name}@{built.digest}", str(built.id)]
        for text in texts:
            names[text] = ImageName(text, target, built.id, created_at=NOW, updated_at=NOW)
        image = Image(_record(built), tuple(names[text] for text in sorted(names)))
        self._images[built.id] = image
        self._built[built.id] = built
        return image

    def replace(self, image: Image) -> None:
        """Have an image that is here with another record or other names."""
        self._images[image.record.id] = image

    async def pull(
        self,
        reference: str,
        options: PullOptions | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        """See ``ImageService.pull``."""
        options = options or PullOptions()
        self.calls.append(Call("pull", (reference, options)))
        named = from_user(reference)
        key, show = len(self.calls), progress or (lambda _: None)
        start = PullProgress(str(named), options.platform or "linux/amd64", "queued", 0.0)
        try:
            self._running[key] = picture = start
            show(start)
            built = self._resolve(named, options)
            for picture in _pictures(start, built):
                self._running[key] = picture
                show(picture)
                await self._held(named)
            show(replace(picture, phase="done", spans=_spans(picture)))
            return self.put(str(named), built)
        except asyncio.CancelledError:
            self.cancelled.append(str(named))
            raise
        except OrlopError as error:
            show(replace(picture, phase="failed", error=error.message))
            raise
        finally:
            del self._running[key]

    async def find(self, text: str, namespace: str = "") -> Image | None:
        """See ``ImageService.find``."""
        self.calls.append(Call("find", (text, namespace)))
        return self._find(text)

    async def images_for_node(self, filter_text: str = "") -> list[Image]:
        """See ``NodeImageService.images_for_node``; ``damaged`` images are left out."""
        found = await self.images(filter_text)
        return [image for image in found if image.record.id not in self.damaged]

    async def find_for(self, text: str, runtime_handler: str) -> Image | None:
        """See ``NodeImageService.find_for``; all handlers have the same images."""
        self.calls.append(Call("find_for", (text, runtime_handler)))
        self._check_handler(runtime_handler)
        return self._find(text)

    def runtime_handler(self, image: Image) -> str:  # noqa: ARG002 - the port's signature
        """See ``NodeImageService.runtime_handler``."""
        return ""

    async def images(self, filter_text: str = "", namespace: str = "") -> list[Image]:
        """See ``ImageService.images``."""
        self.calls.append(Call("images", (filter_text, namespace)))
        if filter_text:
            found = self._find(filter_text)
            return [found] if found else []
        return [self._images[id_] for id_ in sorted(self._images)]

    async def detail(self, text: str, namespace: str = "") -> ImageDetail:
        """See ``ImageService.detail``."""
        self.calls.append(Call("detail", (text, namespace)))
        image = self._need(text)
        if image.record.id in self.damaged:
            raise StoreCorrupt(f"config {image.record.id} is damaged")
        built = self._built[image.record.id]
        manifest = parse(built.manifest, media_type=built.media_type)
        assert isinstance(manifest, Manifest)
        return ImageDetail(image, manifest, parse_config(built.config))

    def pinned(self, image: Image) -> bool:
        """See ``ImageService.pinned``."""
        return image.record.id in self.pins

    async def remove(self, text: str, namespace: str = "") -> bool:
        """See ``ImageService.remove``."""
        self.calls.append(Call("remove", (text, namespace)))
        image = self._find(text)
        if image is None:
            return False
        del self._images[image.record.id]
        return True

    async def remove_for(self, text: str, runtime_handler: str) -> bool:
        """See ``NodeImageService.remove_for``."""
        self._check_handler(runtime_handler)
        return await self.remove(text)

    async def remove_name(self, text: str, namespace: str = "") -> bool:
        """See ``ImageService.remove_name``."""
        self.calls.append(Call("remove_name", (text, namespace)))
        image = self._find(text)
        if image is None:
            return False
        gone = "" if _ID.fullmatch(text) else str(from_user(text))
        left = tuple(name for name in image.names if name.name != gone)
        if not gone or all(name.name == str(image.record.id) for name in left):
            del self._images[image.record.id]
        else:
            self._images[image.record.id] = replace(image, names=left)
        return True

    async def import_images(
        self,
        source: int,
        options: ImportOptions | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> list[Image]:
        """See ``ImageService.import_images``; the archive is a list of references to pull."""
        options = options or ImportOptions()
        self.calls.append(Call("import_images", (options,)))
        text = (await asyncio.to_thread(_read, source)).decode()
        return [await self.pull(name, None, progress) for name in text.split()]

    async def export(
        self, texts: Sequence[str], target: int, options: ExportOptions | None = None
    ) -> None:
        """See ``ImageService.export``; writes what ``import_images`` reads."""
        options = options or ExportOptions()
        self.calls.append(Call("export", (tuple(texts), options)))
        names = [self._need(text).names[0].name for text in texts]
        await asyncio.to_thread(os.write, target, "\n".join(names).encode())

    async def mount(
        self,
        text: str,
        target: str,
        *,
        writable: bool = False,
        layer: str = "",
        namespace: str = "",
    ) -> None:
        """See ``ImageService.mount``; only remembered."""
        self.calls.append(Call("mount", (text, target, writable, layer, namespace)))
        self.mounts[target] = (self._need(text).record.id, writable or bool(layer))

    async def unmount(self, target: str) -> None:
        """See ``ImageService.unmount``."""
        self.calls.append(Call("unmount", (target,)))
        if self.mounts.pop(target, None) is None:
            raise NotFound(f"nothing of ours is mounted on {target}")

    async def filesystems(self) -> list[FsUsage]:
        """See ``ImageService.filesystems``; sums of the images, 10 inodes each."""
        self.calls.append(Call("filesystems", ()))
        records = [image.record for image in self._images.values()]
        used = sum(record.content_bytes + record.unpacked_bytes for record in records)
        return [FsUsage(self.mountpoint, NOW, Usage(bytes=used, inodes=10 * len(records)))]

    async def check(
        self, text: str = "", *, repair: bool = False, quick: bool = False, max_rate: int = 0
    ) -> list[CheckReport]:
        """See ``ImageService.check``; ``damaged`` images have a problem until repaired."""
        self.calls.append(Call("check", (text, repair, quick, max_rate)))
        images = [self._need(text)] if text else list(self._images.values())
        reports = [self._report(image, repair=repair) for image in images]
        if repair:
            self.damaged.difference_update(image.record.id for image in images)
        return reports

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        """See ``ImageService.collect``; there is never anything to collect but a constant."""
        self.calls.append(Call("collect", (dry_run,)))
        return GCReport(images=0, blobs=2, snapshots=1, bytes=4096)

    async def why(self, text: str, namespace: str = "") -> Sequence[Explanation]:
        """See ``ImageService.why``; images are kept by their names, and nothing else is."""
        self.calls.append(Call("why", (text, namespace)))
        image = self._need(text)
        node = f"{image.record.snapshotter}/{image.record.id}"
        chains = tuple(
            Chain(
                "name",
                name.name,
                "",
                0,
                (Link("", "name", name.name), Link("image", "image", node)),
            )
            for name in image.names
        )
        return [Explanation(namespace or "k8s.io", "image", node, 0, chains)]

    async def disk_usage(self, namespace: str = "") -> DiskUsage:
        """See ``ImageService.disk_usage``; half of an image is shared with nobody."""
        self.calls.append(Call("disk_usage", (namespace,)))
        images = tuple(
            ImageUsage(
                id=image.record.id,
                names=tuple(name.name for name in image.names),
                snapshotters=(image.record.snapshotter,),
                bytes=image.record.content_bytes + image.record.unpacked_bytes,
                unique_bytes=image.record.unpacked_bytes,
            )
            for image in self._images.values()
        )
        used = sum(image.bytes for image in images)
        return DiskUsage(namespace or "k8s.io", images, used, 0, 4096, 0, 0)

    def pulls(self) -> Sequence[PullProgress]:
        """The pulls that run now, for a test that waits for one."""
        return tuple(self._running.values())

    async def running(self) -> Sequence[PullProgress]:
        """See ``ImageService.running``."""
        return self.pulls()

    async def _held(self, named: Reference) -> None:
        """Wait while a test holds the pull; otherwise let others run."""
        gate = self.hold.get(str(named))
        await (gate.wait() if gate else asyncio.sleep(0))

    def _resolve(self, named: Reference, options: PullOptions) -> BuiltImage:
        if str(named) in self.failures:
            raise self.failures[str(named)]
        self._admit(named, options)
        built = self._available.get(str(named))
        if built is None:
            raise NotFound(f"{named} is not in the registry")
        wanted = Platform.parse(options.platform) if options.platform else built.platform
        if rank(wanted, built.platform) is None:
            raise NoMatchingPlatform(f"{named} has no manifest for {wanted}")
        return built

    def _admit(self, named: Reference, options: PullOptions) -> None:
        self._check_handler(options.runtime_handler)
        account = self._accounts.get(named.domain)
        given = options.credentials
        if account and (given is None or (given.username, given.password) != account):
            raise AuthFailed(f"{named.domain} does not accept the credentials")

    def _check_handler(self, runtime_handler: str) -> None:
        if runtime_handler not in self.handlers:
            raise InvalidArgument(f'no runtime handler "{runtime_handler}"')

    def _find(self, text: str) -> Image | None:
        match = _ID.fullmatch(text)
        if match:
            found = [self._images[id_] for id_ in self._images if id_.hex.startswith(match[1])]
            if len(found) > 1:
                raise InvalidArgument(f'"{text}" is ambiguous: {len(found)} images start with it')
            if found:
                return found[0]
        try:
            name = str(from_user(text))
        except InvalidReference:
            return None
        images = self._images.values()
        return next((i for i in images if any(n.name == name for n in i.names)), None)

    def _need(self, text: str) -> Image:
        image = self._find(text)
        if image is None:
            raise NotFound(f"no image {text}")
        return image

    def _report(self, image: Image, *, repair: bool) -> CheckReport:
        hurt = image.record.id in self.damaged
        return CheckReport(
            image_id=str(image.record.id),
            names=tuple(name.name for name in image.names),
            problems=("the config is damaged",) if hurt else (),
            repaired=hurt and repair,
        )


def _record(built: BuiltImage) -> ImageRecord:
    content = len(built.manifest) + sum(map(len, built.blobs.values()))
    return ImageRecord(
        id=built.id,
        manifest=built.digest,
        platform=str(built.platform),
        snapshotter="overlayfs",
        chain_id=str(built.chain[-1]) if built.chain else "",
        user=parse_config(built.config).user,
        content_bytes=content,
        unpacked_bytes=sum(len(layer.tar) for layer in built.layers),
        synced=True,
        created_at=NOW,
    )


def _spans(picture: PullProgress) -> tuple[Span, ...]:
    """Where its time would have gone."""
    layers = [
        span
        for layer in picture.layers
        for span in (
            Span("downloading", 0.1, 0.3, layer.digest, layer.size, "registry.example", 0.01),
            Span("unpacking", 0.1, 0.4, layer.digest, layer.size, growth=((0.4, layer.size),)),
        )
    ]
    return (Span("resolving", 0.0, 0.1), *layers, Span("syncing", 0.4, picture.elapsed))


def _pictures(start: PullProgress, built: BuiltImage) -> list[PullProgress]:
    """What a pull shows after it was queued and before it is done."""
    steps: list[tuple[PullPhase, LayerPhase, float]] = [
        ("resolving", "waiting", 0.0),
        ("pulling", "downloading", 0.5),
        ("pulling", "unpacking", 1.0),
        ("syncing", "staged", 1.0),
        ("publishing", "staged", 1.0),
    ]
    pictures = []
    for number, (phase, layer_phase, part) in enumerate(steps, start=1):
        layers = tuple(
            LayerProgress(
                digest=layer.digest,
                size=len(layer.blob),
                phase=layer_phase,
                downloaded=int(part * len(layer.blob)),
                unpacked=len(layer.blob) if layer_phase == "staged" else 0,
            )
            for layer in built.layers
        )
        resolved = None if phase == "resolving" else built.digest
        pictures.append(
            replace(start, phase=phase, elapsed=number / 10, layers=layers, resolved=resolved)
        )
    return pictures


def _read(source: int) -> bytes:
    """All that comes from a descriptor."""
    found = b""
    while piece := os.read(source, 65536):
        found += piece
    return found
