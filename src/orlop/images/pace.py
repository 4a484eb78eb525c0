"""A budget of bytes per second for those who read in the background."""

from __future__ import annotations

import threading
import time


class Pace:
    """Makes threads that read together wait, so that they keep to a rate.

    Args:
        rate: bytes per second; 0 is no limit.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._mutex = threading.Lock()
        self._free_at = 0.0  # when all that was spent has been paid for

    def spend(self, count: int) -> None:
        """Wait until ``count`` bytes more are within the budget. Blocks the thread."""
        if not self._rate:
            return
        with self._mutex:
            now = time.monotonic()
            at = max(now, self._free_at)
            self._free_at = at + count / self._rate
        time.sleep(at - now)
