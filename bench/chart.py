"""Draws the medians of a measurement as a picture; pure.

    python -m bench.chart RESULT.json PICTURE.svg

A bar a peer, its spread as a line across its end, the ratio to the first peer beside
it; below, the versions and the machine. It follows the reader's light or dark scheme.
"""

from __future__ import annotations

import argparse
import html
import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_WIDTH: Final = 860
_LEFT: Final = 130
_BARS: Final = 520
_ROW: Final = 34
_TOP: Final = 60
_LINE: Final = 17
_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.dim { font-size: 11px; fill: #59636e; }
.back { fill: #ffffff; }
.own { fill: #0969da; }
.peer { fill: #8c959f; }
.spread { stroke: #1f2328; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .dim { fill: #9198a1; }
  .back { fill: #0d1117; }
  .own { fill: #4493f8; }
  .peer { fill: #6e7681; }
  .spread { stroke: #f0f6fc; }
}
"""


def svg(facts: Mapping[str, str], times: Mapping[str, Sequence[float]]) -> str:
    """The picture.

    Args:
        facts: What a reader must know, by name: the image, the machine, the versions.
        times: Seconds of every pull, by peer; the first is what the others are compared with.
    """
    lines = [f"{name}: {fact}" for name, fact in facts.items() if name != "image"]
    height = _TOP + _ROW * len(times) + 14 + _LINE * len(lines) + 10
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>Seconds to pull an image, by program</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>',
        _text(16, 26, "Seconds to pull an image (median; the line is the spread)", "title"),
        _text(16, 44, facts.get("image", ""), "dim"),
        *_bars(times),
    ]
    start = _TOP + _ROW * len(times) + 22
    parts += [_text(16, start + _LINE * row, line, "dim") for row, line in enumerate(lines)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bars(times: Mapping[str, Sequence[float]]) -> Iterator[str]:
    longest = max((max(seconds) for seconds in times.values()), default=1.0)
    scale = _BARS / longest
    first = next(iter(times.values()), ())
    for row, (peer, seconds) in enumerate(times.items()):
        y = _TOP + _ROW * row
        median = statistics.median(seconds)
        kind = "own" if peer.startswith("orlop") else "peer"
        yield _text(16, y + 19, peer)
        yield (
            f'<rect class="{kind}" x="{_LEFT}" y="{y + 4}" rx="2"'
            f' width="{median * scale:.1f}" height="{_ROW - 12}"/>'
        )
        low, high = (_LEFT + scale * end for end in (min(seconds), max(seconds)))
        middle = y + _ROW / 2 - 2
        yield (f'<line class="spread" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>')
        words = f"{median:.2f} s"
        if row:
            # Within each round: neighbours in time met the same machine.
            ratio = statistics.median(a / b for a, b in zip(first, seconds, strict=True))
            words += f"  ({ratio:.2f} times as fast)"
        yield _text(round(_LEFT + 10 + scale * max(seconds)), y + 19, words)


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    extra = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{extra}>{html.escape(text)}</text>'


def draw(document: Mapping[str, Any]) -> str:
    """The picture of a document that ``bench.pull`` has written."""
    times: dict[str, list[float]] = {}
    for sample in document["samples"]:
        times.setdefault(sample["peer"], []).append(sample["seconds"])
    facts = {name: str(fact) for name, fact in document.items() if name != "samples"}
    return svg(facts, times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.chart", description="Draw a measurement.")
    parser.add_argument("result", type=Path, help="what bench.pull --json has written")
    parser.add_argument("picture", type=Path, help="an SVG file")
    arguments = parser.parse_args()
    arguments.picture.write_text(draw(json.loads(arguments.result.read_text())), encoding="utf-8")


if __name__ == "__main__":
    main()
