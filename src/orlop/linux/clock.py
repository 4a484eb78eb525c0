"""The clock of the machine.

The only place that asks for the time; everybody else is handed a
``orlop.ports.clock.Clock``.
"""

from __future__ import annotations

import time


class SystemClock:
    """Implements ``orlop.ports.clock.Clock`` with the kernel's clocks."""

    __slots__ = ()

    def now(self) -> int:
        """Wall-clock time in nanoseconds since the Unix epoch."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds that never go back, from an arbitrary start."""
        return time.monotonic()
