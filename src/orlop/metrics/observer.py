"""An ``Observer`` that counts.

It has a registry of its own, so that a program which embeds orlop keeps its
own metrics apart. The number of time series has a bound: names come from those
who pull, and a client must not be able to fill the memory with them.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from orlop.errors import Code

if TYPE_CHECKING:
    from orlop.model.digest import Digest
    from orlop.ports.observe import PullEnded

OTHER: Final = "other"
"""Label value that stands for all names beyond the bound."""

# A node talks to a handful of registries; containers' attributes have a dozen kinds.
_MAX_NAMES: Final = 64
_PULL_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_UNPACK_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_CODES: Final = {code.value: code.name.lower() for code in Code}


class PrometheusObserver:
    """Counts pulls, layers and bytes; see ``orlop.ports.observe.Observer``.

    May be used from any thread. All times are in seconds, all sizes in bytes.

    Attributes:
        registry: holds the metrics; ``exposition`` writes them.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._registries = _BoundedNames()
        self._kinds = _BoundedNames()
        self._running = Gauge(
            "orlop_pulls_in_progress", "Pulls that run now.", registry=self.registry
        )
        self._pulls = Counter(
            "orlop_pulls",
            "Pulls that ended, by registry and by code (ok, or the kind of error).",
            ("registry", "code"),
            registry=self.registry,
        )
        self._pull_seconds = Histogram(
            "orlop_pull_seconds",
            "Duration of pulls, by registry and by whether they succeeded.",
            ("registry", "outcome"),
            buckets=_PULL_SECONDS,
            registry=self.registry,
        )
        self._downloaded = Counter(
            "orlop_downloaded_bytes",
            "Bytes received from registries.",
            ("registry",),
            registry=self.registry,
        )
        self._layers = Counter(
            "orlop_layers",
            "Layers of pulled images, by whether they were downloaded or present.",
            ("source",),
            registry=self.registry,
        )
        self._unpack_seconds = Histogram(
            "orlop_layer_unpack_seconds",
            "Duration of unpacking a layer.",
            buckets=_UNPACK_SECONDS,
            registry=self.registry,
        )
        self._unpacked = Counter(
            "orlop_unpacked_bytes",
            "Uncompressed bytes of unpacked layers.",
            registry=self.registry,
        )
        self._dropped = Counter(
            "orlop_attributes_dropped",
            "File attributes of layers that were left out on purpose, by kind.",
            ("kind",),
            registry=self.registry,
        )
        # Both sources exist from the start, so that a rate has a beginning.
        self._downloaded_layers = self._layers.labels("downloaded")
        self._present_layers = self._layers.labels("present")

    def pull_started(self, reference: str) -> None:  # noqa: ARG002 - a label of its own would be unbounded
        """One more pull runs; each is followed by one ``pull_ended``."""
        self._running.inc()

    def pull_ended(self, event: PullEnded) -> None:
        """A pull is over."""
        registry = self._registries.bounded(event.registry)
        code = _CODES.get(event.code, "unknown") if event.code else "ok"
        self._running.dec()
        self._pulls.labels(registry, code).inc()
        self._pull_seconds.labels(registry, "failed" if event.code else "ok").observe(event.seconds)
        self._downloaded.labels(registry).inc(max(0, event.bytes_downloaded))
        self._downloaded_layers.inc(max(0, event.layers_downloaded))
        self._present_layers.inc(max(0, event.layers_present))

    def layer_unpacked(self, digest: Digest, seconds: float, uncompressed: int) -> None:  # noqa: ARG002 - ditto
        """A layer has become files."""
        self._unpack_seconds.observe(seconds)
        self._unpacked.inc(max(0, uncompressed))

    def attribute_dropped(self, kind: str, count: int) -> None:
        """``count`` attributes of one kind were left out."""
        self._dropped.labels(self._kinds.bounded(kind)).inc(max(0, count))

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format, UTF-8."""
        return generate_latest(self.registry)


class _BoundedNames:
    """Lets the first names through and calls all further ones ``OTHER``."""

    __slots__ = ("_lock", "_names")

    def __init__(self) -> None:
        self._lock = Lock()
        self._names: set[str] = set()

    def bounded(self, name: str) -> str:
        with self._lock:
            if name not in self._names:
                if len(self._names) >= _MAX_NAMES:
                    return OTHER
                self._names.add(name)
        return name
