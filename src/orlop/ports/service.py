"""The image service, as its doors see it: CRI, control and the library call nothing else.

Implemented by ``orlop.images``. Every text that names an image (``text``) may be
an image id with or without ``sha256:``, an unambiguous prefix of one, a
reference as users write it, or one with a digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.model.image import ImageConfig
    from orlop.model.manifest import Manifest
    from orlop.ports.gc import DiskUsage, Explanation
    from orlop.ports.metadata import Image, Lease, Resource, Usage
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
class LeaseOptions:
    """A lease that is to be made.

    Attributes:
        id: what it is called; "" has one made up.
        seconds: how long it lasts; 0 is until it is removed.
        flat: it keeps what it lists, and of snapshots the parents; not what that refers to.
            Of an image these are its files without its layers' blobs.
    """

    id: str = ""
    seconds: float = 0
    flat: bool = False


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease, and what it lists, by kind and id."""

    lease: Lease
    resources: tuple[Resource, ...]


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What to take from an archive. Empty fields mean what the archive or the configuration says.

    Attributes:
        name: of the image, if the archive has a single one; as users write it.
        base_name: repository of images that the archive calls by a mere tag.
        platforms: each ``os/arch[/variant]``.
        all_platforms: every platform that is in the archive, instead.
        snapshotter: name of a loaded snapshotter.
        namespace: "" is the service's own.
    """

    name: str = ""
    base_name: str = ""
    platforms: tuple[str, ...] = ()
    all_platforms: bool = False
    snapshotter: str = ""
    namespace: str = ""


ArchiveFormat = Literal["oci", "docker"]
"""``oci``: a layout, which Docker reads, too. ``docker``: what old programs read."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to write into an archive.

    Attributes:
        format: of the archive.
        platforms: each ``os/arch[/variant]``; none means what a pull gives.
        all_platforms: every platform of an image that is here, instead.
        namespace: "" is the service's own.
    """

    format: ArchiveFormat = "oci"
    platforms: tuple[str, ...] = ()
    all_platforms: bool = False
    namespace: str = ""


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
    """What ``check`` found for one image; no problems means it is whole.

    ``repaired`` says that the problems are gone, ``unrepaired`` why they are not.
    """

    image_id: str
    names: tuple[str, ...]
    problems: tuple[str, ...]
    repaired: bool = False
    unrepaired: str = ""


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

    async def import_images(
        self,
        source: int,
        options: ImportOptions | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> list[Image]:
        """Take images from an archive, one after the other, as a pull takes them.

        Those that were complete before a failure stay. An image without a name is known
        by its id.

        Args:
            source: descriptor of a file, of a directory with an OCI layout, or of a pipe;
                stays the caller's. Bytes are read here, wherever the service is.
            options: what to take.
            progress: as for ``pull``, of each image.

        Raises:
            ImageInvalid: it is no archive of images, or a hostile one.
            OrlopError: as ``pull``.
        """

    async def export(
        self, texts: Sequence[str], target: int, options: ExportOptions | None = None
    ) -> None:
        """Write images into an archive; the same images make the same bytes.

        Args:
            texts: name them; what is a tag becomes the image's name in the archive.
            target: descriptor of a file, pipe or socket; stays the caller's.
            options: what to write.

        Raises:
            NotFound: one of them is not here.
            NoMatchingPlatform: it is not here for a platform.
            FailedPrecondition: layers of it were discarded, or the target takes no more
                bytes.
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
        self,
        text: str,
        target: str,
        *,
        writable: bool = False,
        layer: str = "",
        namespace: str = "",
    ) -> None:
        """Mount an image's tree on the directory ``target``.

        A writable mount gets a layer of its own that ``unmount`` drops, or, with
        ``layer``, one that is kept.

        Args:
            text: names the image.
            target: an existing directory.
            writable: allow writing.
            layer: an existing directory in which everything that is written is kept, for
                the same image only; implies ``writable``. It can be mounted again later.
            namespace: of the image.

        Raises:
            NotFound: no such image, or ``target`` or ``layer`` is no directory.
            PermissionDenied: mounting needs root.
            FailedPrecondition: ``layer`` belongs to another image, or is mounted.
        """

    async def unmount(self, target: str) -> None:
        """Undo ``mount``. Raises NotFound if nothing of ours is mounted there."""

    async def filesystems(self) -> list[FsUsage]:
        """Usage per file system, default snapshotter's first; sums, no walk."""

    async def check(
        self, text: str = "", *, repair: bool = False, quick: bool = False, max_rate: int = 0
    ) -> list[CheckReport]:
        """Verify one image, or all: blobs by their digests, trees by their manifests.

        What is damaged is remembered: pulls make it again, and kubelet is not shown images
        that no container can be started from. Trees without a manifest, of an older
        orlop, are only looked for.

        Args:
            text: names one image; "" is all.
            repair: fetch or unpack again what is damaged.
            quick: look whether everything is there, and read no layer.
            max_rate: bytes per second to read at most; 0 is no limit.

        Raises:
            NotFound: no such image.
            StoreIO: the disk cannot be read.
        """

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        """Remove what nothing refers to."""

    async def why(self, text: str, namespace: str = "") -> Sequence[Explanation]:
        """What keeps an image, a blob or a snapshot; see ``orlop.ports.gc.Explainer``.

        Without a namespace it looks into all of them. Raises NotFound, InvalidArgument.
        """

    async def disk_usage(self, namespace: str = "") -> DiskUsage:
        """What images occupy, and what removing each of them would free."""

    async def leases(self, namespace: str = "") -> Sequence[HeldLease]:
        """All leases with what they keep, by id, the expired ones too."""

    async def add_lease(
        self, texts: Sequence[str], options: LeaseOptions | None = None, namespace: str = ""
    ) -> HeldLease:
        """Keep things from being collected, whatever else becomes of them.

        Args:
            texts: each names an image, a blob by its whole digest, or a snapshot by its key
                or ``SNAPSHOTTER/KEY``. An image is kept by its manifest and its topmost
                snapshot: without a name it is listed no more, but the next pull of it finds
                all of it here.
            options: of the lease.
            namespace: "" is the service's own.

        Raises:
            NotFound: nothing here is called so.
            AlreadyExists: the id is taken.
            InvalidArgument: the id, the time or a text makes no sense.
        """

    async def remove_lease(self, id_: str, namespace: str = "") -> None:
        """Remove a lease, and what nothing else keeps. Raises NotFound."""

    async def running(self) -> Sequence[PullProgress]:
        """Pictures of the pulls that run now."""


class NodeImageService(ImageService, Protocol):
    """What CRI's door needs beyond that: images as runtime handlers see them.

    A handler selects platform and snapshotter; "" is the default one. All work in the
    service's own namespace.
    """

    def runtime_handler(self, image: Image) -> str:
        """The handler under which an image is listed."""

    async def images_for_node(self, filter_text: str = "") -> Sequence[Image]:
        """As ``images``, without those that are known to be damaged.

        Without a filter it is the same object for as long as these images, and what
        ``pinned`` and ``runtime_handler`` say of them, are the same: whoever derives
        something from the list may keep that with it.
        """

    async def find_for(self, text: str, runtime_handler: str) -> Image | None:
        """The image that ``text`` means to a handler; None when it has none of that name.

        One that is known to be damaged is not here.

        An id also finds, for the default handler, an image that is for another one.

        Raises:
            InvalidArgument: no such handler, or ``text`` is a prefix of several ids.
        """

    async def remove_for(self, text: str, runtime_handler: str) -> bool:
        """Remove the image that ``text`` means to a handler, and nobody else's.

        Raises:
            InvalidArgument: as ``find_for``.
        """
