"""What can be watched while the service works.

Two ways to watch: ``PullProgress`` is a picture of one pull at one moment,
taken as often as somebody wants one; ``Observer`` is told when something ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from orlop.model.digest import Digest

PullPhase = Literal["queued", "resolving", "pulling", "syncing", "publishing", "done", "failed"]
LayerPhase = Literal["waiting", "downloading", "unpacking", "staged", "present"]
Activity = Literal[
    "resolving",  # asking the registry, planning
    "waiting",  # for a slot
    "downloading",
    "pausing",  # before a registry that failed is asked again
    "unpacking",
    "settling",  # taking from the layers below what is theirs to tell
    "syncing",
    "publishing",
]
"""What a pull, or one of its layers, does for some time."""


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """One layer of a running pull; sizes in bytes of the compressed blob."""

    digest: Digest
    size: int
    phase: LayerPhase
    downloaded: int
    unpacked: int


@dataclass(frozen=True, slots=True)
class Span:
    """One activity from its start to its end, in seconds since the pull began.

    Attributes:
        layer: whose it is; None is the pull's own.
        bytes: of the compressed blob that it has moved on.
        host: where they come from.
        writing: seconds of it in which what had arrived waited to be hashed and written.
        growth: ``bytes`` at some moments, both growing.
    """

    activity: Activity
    start: float
    end: float
    layer: Digest | None = None
    bytes: int = 0
    host: str = ""
    writing: float = 0.0
    growth: tuple[tuple[float, int], ...] = ()

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One pull at one moment. ``elapsed`` in seconds; ``error`` is set when it failed.

    ``spans`` tell where the time went; they are in the last picture of a pull alone.
    """

    reference: str
    platform: str
    phase: PullPhase
    elapsed: float
    layers: tuple[LayerProgress, ...] = ()
    resolved: Digest | None = None
    error: str = ""
    spans: tuple[Span, ...] = ()

    @property
    def total(self) -> int:
        """Bytes of all layers that were not here when the pull began."""
        return sum(layer.size for layer in self.layers if layer.phase != "present")

    @property
    def downloaded(self) -> int:
        """Bytes of those layers that are here now."""
        return sum(layer.downloaded for layer in self.layers if layer.phase != "present")


@dataclass(frozen=True, slots=True)
class PullEnded:
    """A pull is over, well or not. ``code`` is "" for success, else ``errors.Code.value``."""

    reference: str
    registry: str
    code: str
    seconds: float
    bytes_downloaded: int
    layers_downloaded: int
    layers_present: int


class Observer(Protocol):
    """Told what happened; must return at once and never raise."""

    def pull_started(self, reference: str) -> None:
        """A pull began."""

    def pull_ended(self, event: PullEnded) -> None:
        """A pull is over."""

    def layer_unpacked(self, digest: Digest, seconds: float, uncompressed: int) -> None:
        """A worker has finished a layer of so many bytes."""

    def attribute_dropped(self, kind: str, count: int) -> None:
        """Attributes of one kind were left out of a layer on purpose."""


class _Nobody:
    """Looks away."""

    def pull_started(self, reference: str) -> None:
        pass

    def pull_ended(self, event: PullEnded) -> None:
        pass

    def layer_unpacked(self, digest: Digest, seconds: float, uncompressed: int) -> None:
        pass

    def attribute_dropped(self, kind: str, count: int) -> None:
        pass


NOBODY: Observer = _Nobody()
"""An observer for when nobody watches."""
