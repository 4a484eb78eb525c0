"""Decides how long a reader rests so that all together read no faster than allowed.

Pure; told the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """A bucket that fills with ``rate`` tokens a second; one token is one byte.

    What is taken has arrived already, so the bucket may owe: who takes rests until
    the debt of everybody before, and its own, is paid.

    Attributes:
        rate: bytes per second, more than 0.
        burst: bytes that may be read at once after a rest.
    """

    rate: float
    burst: float
    _level: float = field(init=False)
    _at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._level = self.burst

    def take(self, count: int, now: float) -> float:
        """Take ``count`` bytes; the seconds to rest before the next are read."""
        if self._at is not None:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
        self._at = now
        self._level -= count
        return max(0.0, -self._level / self.rate)
