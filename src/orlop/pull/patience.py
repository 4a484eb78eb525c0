"""Decides how often a broken download is taken up again, and after which pause.

Pure: told whether it moved, and a random value. As long as a download moves it is
taken up again without end; connections that bring nothing new are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Patience:
    """The patience with one download.

    Attributes:
        tries: connections in a row that may bring no new byte.
        base: seconds; the pause after the first of them, doubled with each.
        cap: seconds; no pause is longer.
    """

    tries: int = 8
    base: float = 0.25
    cap: float = 5.0
    _futile: int = field(default=0, init=False)

    def pause(self, *, moved: bool, jitter: float) -> float | None:
        """Seconds until the next try; None to give up.

        Half of a pause is random, so that those who broke together come back apart.

        Args:
            moved: the connection that has just ended brought something new.
            jitter: random value from 0 to 1.
        """
        self._futile = 0 if moved else self._futile + 1
        if self._futile >= self.tries:
            return None
        longest = min(self.cap, self.base * 2.0 ** min(max(self._futile - 1, 0), 32))
        return longest * (1 + jitter) / 2
