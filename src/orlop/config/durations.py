"""Durations in Go's notation, as containerd's documents write them.

Pure. A duration is a whole number of nanoseconds; ``5m0s`` and ``300ms`` are
its text. The grammar and the range (64 bits) are those of Go's
``time.ParseDuration`` and ``Duration.String``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orlop.errors import InvalidArgument
from orlop.model.quote import quote

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,  # micro sign
    "\u03bcs": 10**3,  # Greek letter mu
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_LIMIT = 2**63
# Long enough for every sensible text; keeps hostile ones from costing time.
_MAX_TEXT = 128


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A span of time.

    Attributes:
        nanoseconds: its length; negative ones can be written, as in Go.
    """

    nanoseconds: int

    def __post_init__(self) -> None:
        if not -_LIMIT <= self.nanoseconds < _LIMIT:
            raise InvalidArgument("a duration must be shorter than 292 years")

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read Go's notation: ``0``, ``1.5h``, ``1h2m3.5s``, ``300ms``.

        Raises:
            InvalidArgument: the text is empty, has no unit, or is too long a time.
        """
        sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
        if rest == "0":
            return cls(0)
        total, position = 0, 0
        while position < len(rest) <= _MAX_TEXT:
            part = _PART.match(rest, position)
            if part is None or not (part[1] or part[2]):
                break
            unit = _UNITS[part[3]]
            total += int(part[1] or "0") * unit
            fraction = part[2] or ""
            total += int(fraction or "0") * unit // 10 ** len(fraction)
            position = part.end()
        if not rest or position < len(rest):
            raise InvalidArgument(
                f"not a duration: {quote(text)}",
                hint='write numbers with units, such as "5m0s", "1h30m" or "300ms"; "0s" is zero',
            )
        return cls(sign * total)

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return self.nanoseconds / 10**9

    def __str__(self) -> str:
        """Write it as Go does; ``parse`` reads back exactly the same duration."""
        sign = "-" if self.nanoseconds < 0 else ""
        size = abs(self.nanoseconds)
        if size == 0:
            return "0s"
        for unit, name in ((1, "ns"), (10**3, "\u00b5s"), (10**6, "ms")):
            if size < 1000 * unit:
                return f"{sign}{_decimal(size, unit)}{name}"
        minutes, rest = divmod(size, 60 * 10**9)
        hours, minutes = divmod(minutes, 60)
        text = f"{_decimal(rest, 10**9)}s"
        if hours:
            text = f"{hours}h{minutes}m{text}"
        elif minutes:
            text = f"{minutes}m{text}"
        return sign + text


def _decimal(size: int, unit: int) -> str:
    """``size / unit`` without rounding; ``unit`` is a power of ten."""
    whole, rest = divmod(size, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{rest:0{len(str(unit)) - 1}d}".rstrip("0")
