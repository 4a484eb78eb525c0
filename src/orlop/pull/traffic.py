"""Traffic: which pulls a request or a byte counts for.

A download may serve several pulls. Each pull has one meter, around its
watchdog; a download tells all meters that are attached to it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.ports.clock import Clock
    from orlop.pull.watchdog import Verdict, Watchdog


class Meter:
    """One pull's traffic (``orlop.ports.registry.Traffic``), with the hosts it waits for.

    A request whose body nobody reads at the moment is not waited for.
    """

    def __init__(self, watchdog: Watchdog, clock: Clock) -> None:
        self.watchdog = watchdog
        self._clock = clock
        self._hosts: dict[str, int] = {}

    @property
    def hosts(self) -> list[str]:
        """Hosts that bytes are waited for from."""
        return sorted(self._hosts)

    def look(self) -> Verdict:
        """Whether the pull must be cancelled now; see ``Watchdog.look``."""
        return self.watchdog.look(self._clock.monotonic())

    def request_started(self, host: str) -> None:
        """A request was sent to ``host``."""
        self._hosts[host] = self._hosts.get(host, 0) + 1
        self.watchdog.request_started(self._clock.monotonic())

    def request_finished(self, host: str) -> None:
        """A request to ``host`` is over."""
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
        self.watchdog.request_finished(self._clock.monotonic())

    def request_paused(self, host: str) -> None:
        """Nobody reads on."""
        self.request_finished(host)

    def request_resumed(self, host: str) -> None:
        """Its body is read on."""
        self.request_started(host)

    def received(self, count: int) -> None:
        """``count`` bytes arrived."""
        self.watchdog.bytes_received(count, self._clock.monotonic())


class SharedTraffic:
    """The traffic of one download, for all pulls that wait for it.

    Attributes:
        host: that was asked last.
    """

    def __init__(self) -> None:
        self.host = ""
        self._meters: list[Meter] = []
        self._hosts: list[str] = []  # one element a request that is waited for

    @contextmanager
    def attached(self, meter: Meter) -> Iterator[None]:
        """Count for ``meter`` too, as long as the ``with`` lasts."""
        for host in self._hosts:
            meter.request_started(host)
        self._meters.append(meter)
        try:
            yield
        finally:
            self._meters.remove(meter)
            for host in self._hosts:
                meter.request_finished(host)

    def request_started(self, host: str) -> None:
        """See ``orlop.ports.registry.Traffic``."""
        self.host = host
        self._hosts.append(host)
        for meter in self._meters:
            meter.request_started(host)

    def request_finished(self, host: str) -> None:
        """See ``orlop.ports.registry.Traffic``."""
        self._hosts.remove(host)
        for meter in self._meters:
            meter.request_finished(host)

    def request_paused(self, host: str) -> None:
        """See ``orlop.ports.registry.Traffic``."""
        self.request_finished(host)

    def request_resumed(self, host: str) -> None:
        """See ``orlop.ports.registry.Traffic``."""
        self.request_started(host)

    def received(self, count: int) -> None:
        """See ``orlop.ports.registry.Traffic``."""
        for meter in self._meters:
            meter.received(count)
