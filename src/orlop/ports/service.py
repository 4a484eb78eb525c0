"""The image service, as its doors see it: CRI, control and the library call nothing else.

Implemented by ``orlop.images``. Every text that names an image (``text``) may be
an image id with or without ``sha256:``, an unambiguous prefix of one, a
reference as users write it, or one with a digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.model.image import ImageConfig
    from orlop.model.manifest import Manifest
    from orlop.ports.gc import DiskUsage, Explanation
    from orlop.ports.metadata import Image, Usage
    from orlop.ports.observe import PullProgress
    from orlop.ports.registry import Credentials


@dataclass(frozen=True, slots=True)
class PullOptions:
    """How to pull. Empty fields mean what the configuration says.

    Attributes:
        platform: ``os/arch[/variant]``.
        snapshotter: name of a loaded snapshotter.
        runtime_handler: CRI's handler; selects platform and snapshotter.
        namespace: "" is the service's own (``k8s.io``).
    """

    platform: str = ""
    snapshotter: str = ""
    runtime_handler: str = ""
    namespace: str = ""
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class ImageDetail:
    """Everything about one image."""

    image: Image
    manifest: Manifest
    config: ImageConfig


@dataclass(frozen=True, slots=True)
class FsUsage:
    """What the store occupies on the file system at ``mountpoint``; time in ns since the epoch."""

    mountpoint: str
    timestamp: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What ``check`` found for one image; no problems means it is whole."""

    image_id: str
    names: tuple[str, ...]
    problems: tuple[str, ...]
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class GCReport:
    """What a collection removed (or, in a dry run, would remove)."""

    images: int
    blobs: int
    snapshots: int
    bytes: int


class ImageService(Protocol):
    """Pulls, lists, mounts and removes images."""

    async def pull(
        self,
        reference: str,
        options: PullOptions | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        """Fetch an image, or find that it is here; complete and durable when this returns.

        ``progress`` is called on the event loop, about ten times a second and once at the end.

        Raises:
            OrlopError: of any kind; see the tree.
        """

    async def find(self, text: str, namespace: str = "") -> Image | None:
        """The image that ``text`` names; None if none does, also when ``text`` makes no sense.

        Of several images of one name it is the one that a pull without options gives.

        Raises:
            InvalidArgument: ``text`` is a prefix of several ids.
        """

    async def images(self, filter_text: str = "", namespace: str = "") -> list[Image]:
        """All images, sorted by id; with a filter, those that it names.

        An id that is unpacked in several snapshotters is an image in each.
        """

    async def detail(self, text: str, namespace: str = "") -> ImageDetail:
        """Documents of an image. Raises NotFound, StoreCorrupt."""

    def pinned(self, image: Image) -> bool:
        """True when the configuration protects one of its names from collection by kubelet."""

    async def remove(self, text: str, namespace: str = "") -> bool:
        """Remove an image with all its names and free its space. False if there was none.

        A name of several images removes them all, an id removes it from all snapshotters.
        """

    async def remove_name(self, text: str, namespace: str = "") -> bool:
        """Remove one name (an id: the image); the image goes with its last name."""

    async def mount(
        self, text: str, target: str, *, writable: bool = False, namespace: str = ""
    ) -> None:
        """Mount an image's tree on the directory ``target``.

        A writable mount gets a layer of its own that ``unmount`` drops.

        Raises:
            NotFound: no such image, or ``target`` is no directory.
            PermissionDenied: mounting needs root.
        """

    async def unmount(self, target: str) -> None:
        """Undo ``mount``. Raises NotFound if nothing of ours is mounted there."""

    async def filesystems(self) -> list[FsUsage]:
        """Usage per file system, default snapshotter's first; sums, no walk."""

    async def check(self, text: str = "", *, repair: bool = False) -> list[CheckReport]:
        """Verify one image, or all: every blob is read and hashed, every snapshot is there."""

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        """Remove what nothing refers to."""

    async def why(self, text: str, namespace: str = "") -> Sequence[Explanation]:
        """What keeps an image, a blob or a snapshot; see ``orlop.ports.gc.Explainer``.

        Without a namespace it looks into all of them. Raises NotFound, InvalidArgument.
        """

    async def disk_usage(self, namespace: str = "") -> DiskUsage:
        """What images occupy, and what removing each of them would free."""

    async def running(self) -> Sequence[PullProgress]:
        """Pictures of the pulls that run now."""


class NodeImageService(ImageService, Protocol):
    """What CRI's door needs beyond that: images as runtime handlers see them.

    A handler selects platform and snapshotter; "" is the default one. All work in the
    service's own namespace.
    """

    def runtime_handler(self, image: Image) -> str:
        """The handler under which an image is listed."""

    async def find_for(self, text: str, runtime_handler: str) -> Image | None:
        """The image that ``text`` means to a handler; None when it has none of that name.

        An id also finds, for the default handler, an image that is for another one.

        Raises:
            InvalidArgument: no such handler, or ``text`` is a prefix of several ids.
        """

    async def remove_for(self, text: str, runtime_handler: str) -> bool:
        """Remove the image that ``text`` means to a handler, and nobody else's.

        Raises:
            InvalidArgument: as ``find_for``.
        """
