"""Decides whether a pull has stalled. Told the time; never asks for it.

Time counts only while somebody waits for the network: from the sending of a
request until the head of its answer is there, and while its body is being read.
Queues, back-off, unpacking, syncing, a slow disk and a rate limit of our own are
never counted. A pull is *silent* when something is waited for and no byte of
anything arrives, counted from the later of the last byte and the moment at which
it went from waiting for nothing to waiting. It is *slow* when it gets fewer bytes
than it should for the time that it waited, averaged over a window of such time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["", "silent", "slow"]

_LONGEST_INTERVAL = 10.0
_WINDOW = 60.0
"""Seconds that the rate is averaged over when there is no timeout."""
_SAMPLES = 32
"""Samples in a window; the window is exact to that part of it."""


@dataclass(slots=True)
class Watchdog:
    """The state of one pull's traffic.

    Attributes:
        timeout: seconds without a byte that are too many; 0 means never.
        min_rate: bytes per second that are too few below; 0 means none.
        in_flight: requests whose answer, or more of it, is waited for.
        received: bytes that arrived.
    """

    timeout: float
    min_rate: float = 0.0
    in_flight: int = field(default=0, init=False)
    received: int = field(default=0, init=False)
    _since: float = field(default=0.0, init=False)
    _waited: float = field(default=0.0, init=False)
    _counted: float = field(default=0.0, init=False)
    _samples: deque[tuple[float, int]] = field(default_factory=deque, init=False)

    @property
    def window(self) -> float:
        """Seconds of waiting that the rate is averaged over."""
        return self.timeout or _WINDOW

    @property
    def interval(self) -> float:
        """Seconds between two looks; 0 when there is nothing to look for."""
        if not self.timeout and not self.min_rate:
            return 0.0
        return min(_LONGEST_INTERVAL, self.window / 2)

    def request_started(self, now: float) -> None:
        """Something is waited for: a request was sent, or its body is read on."""
        if not self.in_flight:
            self._since = self._counted = now
        self.in_flight += 1

    def request_finished(self, now: float) -> None:
        """It is waited for no longer: the last byte was read, nobody reads on, or it failed."""
        self._count(now)
        self.in_flight -= 1

    def bytes_received(self, count: int, now: float) -> None:
        """``count`` bytes arrived."""
        self.received += count
        self._since = now

    def silent(self, now: float) -> float:
        """Seconds since anything arrived while something was awaited; 0 when idle."""
        return now - self._since if self.in_flight else 0.0

    def stalled(self, now: float) -> bool:
        """True when the pull must be cancelled because nothing arrives."""
        return self.timeout > 0 and self.in_flight > 0 and self.silent(now) >= self.timeout

    def look(self, now: float) -> Verdict:
        """Whether the pull must be cancelled, and why; call it every ``interval``."""
        self._count(now)
        if self.stalled(now):
            return "silent"
        return "slow" if self.min_rate > 0 and self._is_slow() else ""

    def _count(self, now: float) -> None:
        if self.in_flight:
            self._waited += now - self._counted
            self._counted = now

    def _is_slow(self) -> bool:
        """Compare with the youngest sample that is a whole window of waiting old."""
        samples = self._samples
        if not samples:
            samples.append((0.0, 0))
        while len(samples) > 1 and samples[1][0] <= self._waited - self.window:
            samples.popleft()
        waited, received = self._waited - samples[0][0], self.received - samples[0][1]
        if self._waited - samples[-1][0] >= self.window / _SAMPLES:
            samples.append((self._waited, self.received))
        return waited >= self.window and received < self.min_rate * waited
