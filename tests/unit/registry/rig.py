"""What the tests of the registry room share: a traffic log, a clock, clients."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orlop.model.reference import Reference
from orlop.registry.client import RegistryClient
from orlop.registry.retry import RetryPolicy
from orlop.registry.settings import RegistrySettings
from orlop.testing.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from orlop.ports.registry import Credentials
    from orlop.registry.remote import HTTPRemote
    from orlop.testing.fake_registry import FakeRegistry

__all__ = ["QUICK", "Authority", "Client", "HandClock", "TrafficLog", "client", "until"]

QUICK = RetryPolicy(attempts=3, base=0.001, cap=0.002, longest_wait=0.05)


@dataclass
class TrafficLog:
    """A ``Traffic`` that remembers."""

    started: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    bytes: int = 0
    paused: int = 0

    def request_started(self, host: str) -> None:
        self.started.append(host)

    def request_finished(self, host: str) -> None:
        self.finished.append(host)

    def request_paused(self, host: str) -> None:
        self.paused += 1

    def request_resumed(self, host: str) -> None:
        self.paused -= 1

    def received(self, count: int) -> None:
        assert count > 0
        self.bytes += count

    @property
    def in_flight(self) -> int:
        """Requests that are not finished, be they paused or not."""
        assert len(self.finished) <= len(self.started)
        return len(self.started) - len(self.finished)


@dataclass
class HandClock:
    """A ``Clock`` that is turned by hand; but what is waited for passes, too."""

    seconds: float = 1_000_000.0
    _made: float = field(default_factory=time.monotonic)

    def now(self) -> int:
        return int(self.seconds * 1e9)

    def monotonic(self) -> float:
        return self.seconds + time.monotonic() - self._made


@dataclass
class Client:
    """A registry client with all that surrounds it."""

    registry: RegistryClient
    traffic: TrafficLog
    clock: HandClock

    def remote(
        self,
        fake: FakeRegistry | str,
        name: str = "library/app:latest",
        *,
        credentials: Credentials | None = None,
    ) -> HTTPRemote:
        address = fake if isinstance(fake, str) else fake.address
        reference = Reference.parse(f"{address}/{name}")
        return self.registry.remote(reference, credentials=credentials, traffic=self.traffic)


@contextlib.asynccontextmanager
async def client(
    settings: RegistrySettings | None = None,
    *,
    jitter: Callable[[], float] = lambda: 0.5,
    warn: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Client]:
    """A client that is quick to retry; afterwards nothing may be in flight."""
    settings = replace(settings or RegistrySettings(), retry=QUICK)
    clock, traffic = HandClock(), TrafficLog()
    registry = RegistryClient(settings, clock=clock, jitter=jitter, warn=warn)
    try:
        yield Client(registry, traffic, clock)
    finally:
        await registry.close()
    assert traffic.in_flight == 0
    assert sorted(traffic.started) == sorted(traffic.finished)
    assert traffic.paused == 0


async def until(condition: Callable[[], bool]) -> None:
    """Wait, briefly, for something that nobody announces."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)
