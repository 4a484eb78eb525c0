"""Decides whether a pull has stalled. Told the time; never asks for it.

A pull is stalled when at least one request is in flight and no byte of any has
arrived for the timeout, counted from the later of the last byte and the moment
at which the pull went from no request to one. A request counts from its
sending until its body's last byte has been read: queues, unpacking, syncing and
a slow disk are never counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_LONGEST_INTERVAL = 10.0


@dataclass(slots=True)
class Watchdog:
    """The state of one pull's traffic.

    Attributes:
        timeout: seconds without a byte that are too many; 0 means never.
    """

    timeout: float
    in_flight: int = field(default=0, init=False)
    received: int = field(default=0, init=False)
    _since: float = field(default=0.0, init=False)

    @property
    def interval(self) -> float:
        """Seconds between two looks; 0 when there is nothing to look for."""
        return min(_LONGEST_INTERVAL, self.timeout / 2)

    def request_started(self, now: float) -> None:
        """A request was sent."""
        if not self.in_flight:
            self._since = now
        self.in_flight += 1

    def request_finished(self) -> None:
        """The last byte of a body was read, or the request failed."""
        self.in_flight -= 1

    def bytes_received(self, count: int, now: float) -> None:
        """``count`` bytes arrived."""
        self.received += count
        self._since = now

    def silent(self, now: float) -> float:
        """Seconds since anything arrived while something was awaited; 0 when idle."""
        return now - self._since if self.in_flight else 0.0

    def stalled(self, now: float) -> bool:
        """True when the pull must be cancelled."""
        return self.timeout > 0 and self.in_flight > 0 and self.silent(now) >= self.timeout
