"""What a pull waited for, and how fast it was: reads its spans, does nothing.

The critical path is found from its end: what ended last was waited for, and before
that what had to end before it could begin. A layer that is unpacked while it
downloads waits for the registry until all its bytes are here, and for the processor
from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orlop.ports.observe import Activity, PullProgress, Span

Cause = Literal["registry", "turn", "processor", "writing", "sync", "other"]

WORDS: Final[Mapping[Cause, str]] = {
    "registry": "the registry",
    "turn": "a free slot",
    "processor": "unpacking",
    "writing": "hashing and writing",
    "sync": "the sync to disk",
    "other": "other work",
}
"""What each cause is called, after "waited for"."""

_CAUSES: Final[Mapping[Activity, Cause]] = {
    "resolving": "registry",
    "downloading": "registry",
    "pausing": "registry",
    "unpacking": "processor",
    "settling": "writing",
    "syncing": "sync",
    "publishing": "writing",
}
_TOUCH: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Wait:
    """A part of the critical path, in seconds since the pull began."""

    cause: Cause
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A pull in figures.

    Attributes:
        seconds: from its begin to its end.
        downloaded: bytes that came over the network.
        present: bytes of blobs of layers that were here before.
        download_seconds: in which at least one layer was being downloaded.
        unpack_seconds: in which at least one layer was being unpacked.
        waited: seconds of the critical path by cause, the longest first.
    """

    seconds: float
    downloaded: int
    present: int
    download_seconds: float
    unpack_seconds: float
    waited: Mapping[Cause, float]


def summary(picture: PullProgress) -> Summary:
    """Add up the last picture of a pull."""
    waited: dict[Cause, float] = {}
    for wait in critical_path(picture):
        waited[wait.cause] = waited.get(wait.cause, 0.0) + wait.end - wait.start
    wanted = sum({layer.digest: layer.size for layer in picture.layers}.values())
    downloads = [span for span in picture.spans if span.activity == "downloading"]
    downloaded = sum(span.bytes for span in downloads)
    unpacks = [span for span in picture.spans if span.activity == "unpacking"]
    return Summary(
        seconds=picture.elapsed,
        downloaded=downloaded,
        present=max(0, wanted - downloaded),
        download_seconds=covered(downloads),
        unpack_seconds=covered(unpacks),
        waited=dict(sorted(waited.items(), key=lambda one: -one[1])),
    )


def critical_path(picture: PullProgress) -> list[Wait]:
    """What was waited for from the begin to the end, without a gap, in order of time.

    A pull without spans has none.
    """
    if not picture.spans:
        return []
    waits = list(_backwards(picture.spans, picture.elapsed))
    waits.reverse()
    return waits


def _backwards(spans: Sequence[Span], end: float) -> Iterator[Wait]:
    works = [span for span in spans if span.activity not in {"waiting", "pausing"}]
    at = end
    while at > _TOUCH:
        before = [one for one in works if one.end <= at + _TOUCH and one.start < at - _TOUCH]
        last = max(before, key=lambda one: (one.end, one.start), default=None)
        done = min(last.end, at) if last is not None else 0.0
        if at - done > _TOUCH:
            yield Wait(_gap(spans, done, at), done, at)
        if last is None:
            return
        yield from _one(spans, last, done)
        at = _begin(spans, last)


def _one(spans: Sequence[Span], last: Span, end: float) -> Iterator[Wait]:
    """One activity that was waited for; an unpack with the download that it followed."""
    download = _followed(spans, last)
    if download is None:
        yield from _by_cause(last, end)
        return
    if end > download.end:
        yield Wait("processor", download.end, end)
    yield from _by_cause(download, download.end)


def _begin(spans: Sequence[Span], last: Span) -> float:
    download = _followed(spans, last)
    return download.start if download is not None else last.start


def _followed(spans: Sequence[Span], last: Span) -> Span | None:
    """The download that ended while ``last``, an unpack of the same layer, went on."""
    if last.activity != "unpacking":
        return None
    same = (
        one
        for one in spans
        if one.activity == "downloading"
        and one.layer == last.layer
        and last.start < one.end <= last.end + _TOUCH
        and one.start < last.end - _TOUCH
    )
    return max(same, key=lambda one: one.end, default=None)


def _by_cause(span: Span, end: float) -> Iterator[Wait]:
    """The span, latest part first: what had arrived and had to be written comes last."""
    written = min(span.writing, end - span.start)
    if written > 0:
        yield Wait("writing", end - written, end)
    if end - written > span.start:
        yield Wait(_CAUSES[span.activity], span.start, end - written)


def _gap(spans: Sequence[Span], start: float, end: float) -> Cause:
    """Why nothing was done between ``start`` and ``end``."""
    middle = (start + end) / 2
    idle = {one.activity for one in spans if one.start <= middle <= one.end}
    if "pausing" in idle:
        return "registry"
    return "turn" if "waiting" in idle else "other"


def covered(spans: Iterable[Span]) -> float:
    """Seconds in which at least one of them went on."""
    seconds = reached = 0.0
    for span in sorted(spans, key=lambda one: one.start):
        seconds += max(0.0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return seconds
