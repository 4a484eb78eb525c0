"""Time, as a value that somebody hands in."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Tells the time; tests hand in one that they turn by hand."""

    def now(self) -> int:
        """Wall-clock time in nanoseconds since the Unix epoch; for display and records."""

    def monotonic(self) -> float:
        """Seconds that never go back; for timeouts and durations."""
