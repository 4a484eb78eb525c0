"""The timeline of a pull as a picture (SVG) and as a document (JSON).

A row for the pull, with what it waited for, and a row for each layer: its download
above, its unpacking below, both filled as the bytes came. The picture needs nothing
beside itself and follows the reader's light or dark scheme.
"""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, Final

from orlop.cli import render
from orlop.cli.critical import WORDS, critical_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orlop.cli.critical import Cause
    from orlop.ports.observe import Activity, LayerProgress, PullProgress, Span

_WIDTH: Final = 1000
_LEFT: Final = 220
_RIGHT: Final = 130
_TOP: Final = 84
_BOTTOM: Final = 44
_ROW: Final = 34
_BAR: Final = 11
_TICKS: Final = 8
"""About so many on the axis."""
_NAME: Final = 90
"""Characters of a reference that are shown."""

_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.dim { fill: #59636e; }
.back { fill: #ffffff; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.band { fill: #f6f8fa; }
.faint { fill-opacity: 0.3; }
.registry { fill: #8250df; }
.download { fill: #0969da; }
.unpack { fill: #bc4c00; }
.settle { fill: #bf8700; }
.sync { fill: #1a7f37; }
.disk { fill: #1b7c83; }
.idle { fill: #8c959f; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .dim { fill: #9198a1; }
  .back { fill: #0d1117; }
  .grid { stroke: #3d444d; }
  .band { fill: #151b23; }
  .registry { fill: #ab7df8; }
  .download { fill: #4493f8; }
  .unpack { fill: #f0883e; }
  .settle { fill: #d29922; }
  .sync { fill: #3fb950; }
  .disk { fill: #39c5cf; }
  .idle { fill: #6e7681; }
}
"""

_LEGEND: Final = (
    ("resolve", "registry"),
    ("download", "download"),
    ("unpack", "unpack"),
    ("settle", "settle"),
    ("sync", "sync"),
    ("publish", "disk"),
    ("wait", "idle"),
)
_CLASS: Final[Mapping[Activity, str]] = {
    "resolving": "registry",
    "waiting": "idle",
    "downloading": "download",
    "pausing": "idle",
    "unpacking": "unpack",
    "settling": "settle",
    "syncing": "sync",
    "publishing": "disk",
}
_CAUSE_CLASS: Final[Mapping[Cause, str]] = {
    "registry": "registry",
    "turn": "idle",
    "processor": "unpack",
    "writing": "disk",
    "sync": "sync",
    "other": "idle",
}
_UPPER: Final = frozenset({"waiting", "downloading", "pausing"})


def document(picture: PullProgress) -> dict[str, object]:
    """The timeline as JSON: seconds since the pull began, and bytes of compressed blobs."""
    return {
        "reference": picture.reference,
        "platform": picture.platform,
        "digest": str(picture.resolved) if picture.resolved else None,
        "phase": picture.phase,
        "error": picture.error,
        "seconds": round(picture.elapsed, 6),
        "layers": [
            {"digest": str(layer.digest), "bytes": layer.size, "phase": layer.phase}
            for layer in picture.layers
        ],
        "spans": [_span_json(span) for span in picture.spans],
        "waited": [
            {"for": wait.cause, "start": round(wait.start, 6), "end": round(wait.end, 6)}
            for wait in critical_path(picture)
        ],
    }


def svg(picture: PullProgress) -> str:
    """The timeline as a picture; valid XML whatever the names are."""
    height = _TOP + _ROW * (1 + len(picture.layers)) + _BOTTOM
    scale = _Scale(picture.elapsed)
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{_text(f'Timeline of the pull of {picture.reference}')}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>',
        *_head(picture),
        *_bands(1 + len(picture.layers)),
        *_axis(scale, height - _BOTTOM),
        *_own(picture, scale),
        *_layers(picture, scale),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Scale:
    """Seconds as places from left to right."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(seconds, 1e-3)
        raw = self.seconds / _TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        self.tick = next(power * step for step in (1, 2, 5, 10) if power * step >= raw * 0.999)

    def x(self, at: float) -> float:
        """Where a moment is."""
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(at / self.seconds, 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Moments that are written at the axis."""
        return [self.tick * number for number in range(int(self.seconds / self.tick + 1e-6) + 1)]

    def label(self, at: float) -> str:
        """A moment in words, as fine as the ticks are."""
        digits = max(0, -math.floor(math.log10(self.tick) + 1e-9))
        return f"{at:.{digits}f} s"


def _head(picture: PullProgress) -> Iterator[str]:
    name = picture.reference
    shown = name if len(name) <= _NAME else f"{name[:_NAME]}…"
    yield _label(16, 26, shown, "title")
    came = sum(span.bytes for span in picture.spans if span.activity == "downloading")
    facts = [
        f"{picture.phase} in {picture.elapsed:.2f} s",
        f"{len(picture.layers)} layers",
        f"{render.size(came)} downloaded",
        picture.platform,
    ]
    yield _label(16, 46, " · ".join(facts), "dim")
    at = _LEFT
    for name, kind in _LEGEND:
        yield f'<rect class="{kind}" x="{at}" y="58" width="12" height="12" rx="2"/>'
        yield _label(at + 17, 68, name)
        at += 34 + 7 * len(name)


def _bands(rows: int) -> Iterator[str]:
    for row in range(0, rows, 2):
        yield (
            f'<rect class="band" x="8" y="{_TOP + row * _ROW}"'
            f' width="{_WIDTH - 16}" height="{_ROW}"/>'
        )


def _axis(scale: _Scale, bottom: int) -> Iterator[str]:
    for tick in scale.ticks():
        x = scale.x(tick)
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom + 5}"/>'
        yield _label(x, bottom + 20, scale.label(tick), "dim", anchor="middle")


def _own(picture: PullProgress, scale: _Scale) -> Iterator[str]:
    yield _label(16, _TOP + 15, "pull")
    yield _label(16, _TOP + 28, "what it waited for", "dim")
    for span in picture.spans:
        if span.layer is None:
            yield _bar(scale, span.start, span.end, _TOP + 5, _CLASS[span.activity], _told(span))
    for wait in critical_path(picture):
        words = f"waited for {WORDS[wait.cause]}: {_seconds(wait.end - wait.start)}"
        yield _bar(scale, wait.start, wait.end, _TOP + 18, _CAUSE_CLASS[wait.cause], words)
    yield _label(_WIDTH - _RIGHT + 10, _TOP + 21, f"{picture.elapsed:.2f} s")


def _layers(picture: PullProgress, scale: _Scale) -> Iterator[str]:
    told = set()
    for number, layer in enumerate(picture.layers, start=1):
        top = _TOP + _ROW * number
        # A layer that an image has twice is downloaded and shown once.
        spans = [one for one in picture.spans if one.layer == layer.digest]
        spans.sort(key=lambda one: one.activity != "waiting")  # what is done covers it
        spans = [] if layer.digest in told else spans
        told.add(layer.digest)
        yield _label(16, top + 15, f"{number}  {layer.digest.short}")
        yield _label(16, top + 28, _size(layer), "dim")
        for span in spans:
            yield from _activity(span, scale, top)
        for place, activity in ((top + 15, "downloading"), (top + 28, "unpacking")):
            if rate := _rate(spans, activity):
                yield _label(_WIDTH - _RIGHT + 10, place, rate, "dim")


def _activity(span: Span, scale: _Scale, top: int) -> Iterator[str]:
    """A bar; faint with a filled curve where the growth is known."""
    y = top + (5 if span.activity in _UPPER else 18)
    kind = _CLASS[span.activity]
    if len(span.growth) < 2 or not span.bytes:
        yield _bar(scale, span.start, span.end, y, kind, _told(span))
        return
    yield _bar(scale, span.start, span.end, y, f"{kind} faint", _told(span))
    floor = y + _BAR
    points = [(span.start, 0), *span.growth, (span.end, span.bytes)]
    curve = " ".join(
        f"{scale.x(at):.1f},{floor - _BAR * min(1.0, total / span.bytes):.1f}"
        for at, total in points
    )
    yield (
        f'<polygon class="{kind}" points="{scale.x(span.start):.1f},{floor} {curve}'
        f' {scale.x(span.end):.1f},{floor}"><title>{_text(_told(span))}</title></polygon>'
    )


def _bar(scale: _Scale, start: float, end: float, y: int, kind: str, told: str) -> str:
    x = scale.x(start)
    width = max(1.0, scale.x(end) - x)
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}">'
        f"<title>{_text(told)}</title></rect>"
    )


def _label(x: float, y: int, text: str, kind: str = "", *, anchor: str = "") -> str:
    extra = f' class="{kind}"' if kind else ""
    extra += f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:g}" y="{y}"{extra}>{_text(text)}</text>'


def _text(text: str) -> str:
    """Text as XML may have it; control characters are written out."""
    return html.escape(render.printable(text))


def _told(span: Span) -> str:
    """What the reader sees who points at a bar."""
    words = f"{span.activity} {_seconds(span.seconds)}, from {_seconds(span.start)}"
    if span.bytes:
        words += f", {render.size(span.bytes)}"
    if span.host:
        words += f" from {span.host}"
    return (
        f"{words}, {_seconds(span.writing)} held up by hashing and writing"
        if span.writing > 0.01
        else words
    )


def _size(layer: LayerProgress) -> str:
    size = render.size(layer.size)
    return f"{size}, was here" if layer.phase == "present" else size


def _rate(spans: Sequence[Span], activity: str) -> str:
    own = [span for span in spans if span.activity == activity]
    seconds, count = sum(one.seconds for one in own), sum(one.bytes for one in own)
    return f"{render.size(round(count / seconds))}/s" if seconds > 0 and count else ""


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f} s"


def _span_json(span: Span) -> dict[str, object]:
    return {
        "activity": span.activity,
        "layer": str(span.layer) if span.layer else None,
        "start": round(span.start, 6),
        "end": round(span.end, 6),
        "bytes": span.bytes,
        "host": span.host,
        "writing_seconds": round(span.writing, 6),
        "growth": [[round(at, 6), total] for at, total in span.growth],
    }
