"""What pulls are made of: the rooms, the limits, and what all pulls share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.model.limits import DEFAULTS, Limits
from orlop.pull.download import Download, Speed, Terms
from orlop.pull.flights import Flights
from orlop.pull.processing import NOTHING, Processing
from orlop.pull.processors import Processors
from orlop.pull.publish import ImagePublisher
from orlop.pull.rate import TokenBucket
from orlop.pull.shared_lock import SharedLock
from orlop.pull.slots import Pool
from orlop.pull.space import Ledger

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
    from orlop.pull.layer import Layer

_SMALLEST_PART: Final = 512
_PARALLEL: Final = 4
"""Parts at once when the number of downloads is not limited."""
_BURST_SECONDS: Final = 0.25


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
        require_access: a registry has to show that it may give what another repository
            has brought into the store.
        min_rate: bytes per second below which a pull is cancelled; 0 is none.
        max_rate: bytes per second of all downloads together; 0 is no limit.
        part_bytes: size of the parts of a layer that are fetched side by side; below
            512 a layer is fetched in one piece.
    """

    progress_timeout: float = 300.0
    concurrent_downloads: int = 3
    total_downloads: int = 0
    concurrent_unpacks: int = 0
    keep_layers: bool = True
    annotate_snapshots: bool = False
    processing: Processing = NOTHING
    require_access: bool = True
    min_rate: int = 0
    max_rate: int = 0
    part_bytes: int = 0
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
    """What all pulls have together: flights, slots, space and the one who publishes."""

    def __init__(self, parts: Parts, settings: PullSettings) -> None:
        self.downloads: Flights[Download] = Flights()
        self.layers: Flights[Layer] = Flights()
        self.documents: Flights[Document] = Flights()
        self.processors = Processors(parts.spool, settings.limits)
        self.ledger = Ledger()
        self._clock = parts.clock
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
        self.total_downloads = Pool(settings.total_downloads)
        # Blobs that are here already wait for no download: they need a limit, too.
        self.unpacks = Pool(settings.concurrent_unpacks or settings.total_downloads)
        self.terms = _terms(settings, self.ledger, self._clock)


def _terms(settings: PullSettings, ledger: Ledger, clock: Clock) -> Terms:
    rate = settings.max_rate
    limit = settings.concurrent_downloads
    parallel = limit if limit > 0 else _PARALLEL
    part = min(settings.part_bytes, settings.limits.parts_bytes // parallel)
    return Terms(
        now=clock.monotonic,
        ledger=ledger,
        speed=Speed(TokenBucket(rate, rate * _BURST_SECONDS), clock) if rate else None,
        part_bytes=part if part >= _SMALLEST_PART else 0,
        parallel=parallel,
    )
