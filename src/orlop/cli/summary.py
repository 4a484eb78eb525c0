"""What a pull says at its end: how much, how fast, and what it waited for.

Three lines on standard error, and the same as fields of ``-o json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.cli import render
from orlop.cli.critical import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.cli.critical import Summary
    from orlop.ports.metadata import Image

_WORTH: Final = 0.02
"""Parts of the time that are not worth a word."""


def lines(name: str, image: Image, figures: Summary) -> Iterator[str]:
    """A finished pull in words.

    Args:
        name: as the user gave it.
        image: what was pulled.
        figures: of the pull.
    """
    parts = [f"{render.size(figures.downloaded)} downloaded"]
    if figures.present:
        parts.append(f"{render.size(figures.present)} here before")
    if not figures.downloaded:
        parts = ["all of it was here"]
    unpacked = render.size(image.record.unpacked_bytes)
    yield f"pulled {name}: {', '.join(parts)}, {unpacked} on disk"
    yield f"took {_time(figures.seconds)}{_speeds(figures)}"
    if waited := _waited(figures):
        yield waited


def fields(figures: Summary) -> dict[str, object]:
    """The same as JSON: bytes, seconds, and bytes per second or null."""
    return {
        "seconds": round(figures.seconds, 3),
        "downloaded_bytes": figures.downloaded,
        "present_bytes": figures.present,
        "download_seconds": round(figures.download_seconds, 3),
        "unpack_seconds": round(figures.unpack_seconds, 3),
        "download_rate": _rate(figures),
        "waited": {cause: round(seconds, 3) for cause, seconds in figures.waited.items()},
    }


def _rate(figures: Summary) -> int | None:
    if not figures.downloaded or not figures.download_seconds:
        return None
    return round(figures.downloaded / figures.download_seconds)


def _speeds(figures: Summary) -> str:
    parts = []
    if rate := _rate(figures):
        parts.append(f"downloading {_time(figures.download_seconds)} at {render.size(rate)}/s")
    if figures.unpack_seconds:
        parts.append(f"unpacking {_time(figures.unpack_seconds)}")
    return f": {', '.join(parts)}" if parts else ""


def _waited(figures: Summary) -> str:
    worth = [
        f"{WORDS[cause]} {_time(seconds)}"
        for cause, seconds in figures.waited.items()
        if seconds >= _WORTH * figures.seconds
    ]
    return f"waited for {', '.join(worth)}" if worth else ""


def _time(seconds: float) -> str:
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else render.duration(seconds)
