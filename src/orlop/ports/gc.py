"""Garbage collection, as the rest of the service sees it.

A pull decides what is missing, and what it found must still be there when it
publishes. While a ``Protection`` is held, what it names is not collected.

What is kept has a reason: an ``Explanation`` has the references that lead to a thing
from whatever keeps it. What would be freed is known before anything is removed:
``DiskUsage`` has the bytes that an image has to itself, and those it shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from orlop.model.digest import Digest
    from orlop.ports.service import GCReport

ThingKind = Literal["name", "image", "content", "snapshot"]
"""An image name, the record of an image, a blob, a snapshot."""

KeeperKind = Literal["name", "lease", "label", "snapshot", "pull"]
"""An image name, a lease, the label ``containerd.io/gc.root``, work on a snapshot, a pull."""


@dataclass(frozen=True, slots=True)
class Link:
    """One thing in a chain.

    Attributes:
        by: how the one before refers to it: a label, or ``image``, ``target``,
            ``manifest``, ``config``, ``unpacked`` and ``parent``; "" for the first.
        kind: what it is.
        id: a name, ``SNAPSHOTTER/ID`` of an image, a digest, ``SNAPSHOTTER/KEY``.
    """

    by: str
    kind: ThingKind
    id: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Why something is kept: from what keeps it to the thing itself.

    Attributes:
        keeper: what it is that keeps the first link.
        id: a name, a lease's id, a label, the kind of work (``active``, ``view``), or
            the reference that is pulled.
        detail: where a snapshot is mounted; "" when nobody says.
        expires_at: nanoseconds since the Unix epoch; 0 for never.
        links: first what is kept for its own sake, last the thing.
    """

    keeper: KeeperKind
    id: str
    detail: str
    expires_at: int
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What keeps one thing in one namespace; the shortest chain from each keeper.

    Without a chain the thing goes with the next collection.

    Attributes:
        bytes: that it occupies by itself: a blob's length, a snapshot's own files.
        chains: shortest first.
    """

    namespace: str
    kind: ThingKind
    id: str
    bytes: int
    chains: tuple[Chain, ...]

    @property
    def expires_at(self) -> int:
        """When the last keeper's time is over; 0 for never, and for what nothing keeps."""
        times = [chain.expires_at for chain in self.chains]
        return max(times) if times and all(times) else 0


@dataclass(frozen=True, slots=True)
class ImageUsage:
    """What one image occupies, in all of its snapshotters.

    Attributes:
        names: all of them, sorted.
        bytes: its documents, layers and snapshots.
        unique_bytes: what removing it with all its names would free; the rest is shared
            with other images or namespaces, or kept by something else.
    """

    id: Digest
    names: tuple[str, ...]
    snapshotters: tuple[str, ...]
    bytes: int
    unique_bytes: int


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """What the images of a namespace occupy; everything is counted once in the sums.

    Attributes:
        images: those that free most first.
        image_bytes: all images together.
        kept_bytes: what no image needs, but a lease, a mount, a label or a pull.
        garbage_bytes: what the next collection frees.
        elsewhere_bytes: what other namespaces have alone.
        trash_bytes: what was removed and is not off the disk yet, at most; in no other sum.
    """

    namespace: str
    images: tuple[ImageUsage, ...]
    image_bytes: int
    kept_bytes: int
    garbage_bytes: int
    elsewhere_bytes: int
    trash_bytes: int

    @property
    def bytes(self) -> int:
        """All that is not in the trash."""
        return self.image_bytes + self.kept_bytes + self.garbage_bytes + self.elsewhere_bytes


class Protection(Protocol):
    """Names that must stay, for as long as the ``async with`` that made it lasts."""

    async def add(
        self, digests: Iterable[Digest] = (), *, snapshots: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Protect blobs, and snapshots by (snapshotter, key), whether they are here or not.

        From its return on, what is looked up stays.
        """


class Protector(Protocol):
    """Hands out protections."""

    def protect(self, owner: str = "") -> AbstractAsyncContextManager[Protection]:
        """A new one, empty.

        Args:
            owner: who needs it, for people: the reference of a pull.
        """

    async def make_room(self) -> None:
        """Have what was removed off the disk when this returns.

        Raises:
            OrlopError: something could not be deleted.
        """


class Explainer(Protocol):
    """Says what keeps what, and what removing something would free; changes nothing."""

    async def why(self, text: str, namespace: str = "") -> Sequence[Explanation]:
        """What keeps the things that ``text`` names.

        Args:
            text: an image as users name it, a digest or the start of one, the key of a
                snapshot, or ``SNAPSHOTTER/KEY``.
            namespace: "" looks into all of them.

        Raises:
            NotFound: nothing is called so.
            InvalidArgument: several digests start with it.
        """

    async def disk_usage(self, namespace: str) -> DiskUsage:
        """What images occupy, alone and together."""


class GarbageCollector(Protector, Explainer, Protocol):
    """Removes what nothing refers to."""

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        """Collect every namespace; in a dry run only say what would go.

        Raises:
            OrlopError: a file could not be deleted.
        """
