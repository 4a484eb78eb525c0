"""What pulls are made of: the rooms, the limits, and what all pulls share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.model.limits import DEFAULTS, Limits
from orlop.pull.flights import Flights
from orlop.pull.processing import NOTHING, Processing
from orlop.pull.processors import Processors
from orlop.pull.publish import ImagePublisher
from orlop.pull.shared_lock import SharedLock
from orlop.pull.slots import Slots, semaphore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.ports.clock import Clock
    from orlop.ports.content import BlobStore
    from orlop.ports.gc import Protector
    from orlop.ports.metadata import Metadata
    from orlop.ports.observe import Observer
    from orlop.ports.registry import Registry
    from orlop.ports.unpack import Unpacker
    from orlop.ports.verify import ImageVerifier
    from orlop.pull.barrier import Barrier
    from orlop.pull.documents import Document
    from orlop.pull.download import Download
    from orlop.pull.layer import Layer


@dataclass(frozen=True, slots=True)
class PullSettings:
    """Limits of the pull; see ``docs/configuration.md``.

    Attributes:
        progress_timeout: seconds without a byte after which a pull is cancelled; 0 never.
        concurrent_downloads: layers of one image; 0 or less is no limit.
        total_downloads: layers of all images together; 0 is no limit.
        concurrent_unpacks: workers of all images together; 0 is no limit.
        keep_layers: blobs of layers stay in the store when they are unpacked.
        annotate_snapshots: snapshots are labelled with the image and layer they come from.
        processing: programs that layers go through.
    """

    progress_timeout: float = 300.0
    concurrent_downloads: int = 3
    total_downloads: int = 0
    concurrent_unpacks: int = 0
    keep_layers: bool = True
    annotate_snapshots: bool = False
    processing: Processing = NOTHING
    limits: Limits = DEFAULTS


@dataclass(frozen=True, slots=True)
class Parts:
    """The rooms that the pull works with.

    Attributes:
        barrier: None leaves it out.
        free_bytes: space that is left for blobs.
        isolated: a namespace may not use what only others have pulled.
        spool: directory for what stream processors write, on a file system that has
            room for layers; None is the system's for temporary files.
    """

    registry: Registry
    store: BlobStore
    metadata: Metadata
    unpacker: Unpacker
    protector: Protector
    observer: Observer
    clock: Clock
    barrier: Barrier | None
    free_bytes: Callable[[], int]
    isolated: bool = False
    verifiers: Sequence[ImageVerifier] = ()
    spool: str | None = None


class Shared:
    """What all pulls have together: flights, slots and the one who publishes."""

    def __init__(self, parts: Parts, settings: PullSettings) -> None:
        self.downloads: Flights[Download] = Flights()
        self.layers: Flights[Layer] = Flights()
        self.documents: Flights[Document] = Flights()
        self.processors = Processors(parts.spool, settings.limits)
        self.limit(settings)
        self.places = SharedLock()
        self.publisher = ImagePublisher(
            store=parts.store,
            metadata=parts.metadata,
            barrier=parts.barrier,
            places=self.places,
            clock=parts.clock,
            annotate=settings.annotate_snapshots,
        )

    def limit(self, settings: PullSettings) -> None:
        """Count afresh from now on; who holds a slot keeps it, and is not counted again."""
        self.total_downloads = semaphore(settings.total_downloads)
        # Blobs that are here already wait for no download: they need a limit, too.
        self.unpacks = Slots(semaphore(settings.concurrent_unpacks or settings.total_downloads))
