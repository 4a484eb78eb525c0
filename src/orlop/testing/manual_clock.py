"""A clock that tests turn by hand."""

from __future__ import annotations

_BILLION = 1_000_000_000


class ManualClock:
    """Implements ``orlop.ports.clock.Clock``; stands still until ``advance`` is called.

    Args:
        now: wall-clock time to start at, in nanoseconds since the Unix epoch.
    """

    def __init__(self, now: int = 1_700_000_000 * _BILLION) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> int:
        """Wall-clock time in nanoseconds since the Unix epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks.

        Raises:
            ValueError: ``seconds`` is negative; use ``jump`` to set the wall clock back.
        """
        if seconds < 0:
            raise ValueError("time does not go back")
        self._monotonic += seconds
        self._now += round(seconds * _BILLION)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, forward or back, as an operator or NTP does."""
        self._now += round(seconds * _BILLION)
