"""What is known about hosts: which are down, and when each may be asked again.

Pure; told the time, in seconds of a clock that only goes forward. Shared by all
pulls, so that a dead mirror costs its time-out once and not once a blob, and so
that one "too many requests" slows everybody who asks that host.

Each host has a *circuit breaker* and a *gate*. The breaker is closed while the
host is well. It opens when no connection can be made, or when several answers in
a row break off: the host then comes last. After a rest it is half-open: one
request may probe it, for the others it is still down. Nobody is ever refused: a
host that is down is asked when all others have failed. The gate is closed for as
long as the host asks for patience (Retry-After, RFC 9110 10.2.3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

T = TypeVar("T")

State = Literal["closed", "open", "half-open"]


_LONGEST_SILENCE = 30.0
_SHARE = 0.5
"""Of the time without progress that a pull may have: the rest is for another host."""


def longest_silence(progress_timeout: float) -> float:
    """Seconds without a byte after which a host is given up for another one.

    Args:
        progress_timeout: seconds after which the whole pull is cancelled; 0 is never.
    """
    if not progress_timeout:
        return _LONGEST_SILENCE
    return min(_LONGEST_SILENCE, progress_timeout * _SHARE)


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """When a host is down, and for how long.

    Attributes:
        breaks: answers that break off, one after the other, until it is down.
        rest: seconds until a host that is down is probed; doubled with each probe that fails.
        longest_rest: seconds; the bound of that.
        probe: seconds after which a probe of which nothing is heard is forgotten.
        longest_gate: seconds; a host that asks for more gets no gate.
        hosts: records that are kept.
    """

    breaks: int = 3
    rest: float = 5.0
    longest_rest: float = 60.0
    probe: float = 30.0
    longest_gate: float = 900.0
    hosts: int = 1024


@dataclass(slots=True)
class HostHealth:
    """The record of one host; a new one says that it is well."""

    policy: HealthPolicy
    _broken: int = field(default=0, init=False)
    _opened: int = field(default=0, init=False)  # times in a row
    _rests_until: float = field(default=0.0, init=False)
    _probed_until: float = field(default=0.0, init=False)
    _gate: float = field(default=0.0, init=False)

    def state(self, now: float) -> State:
        """The breaker's state."""
        if not self._opened:
            return "closed"
        return "open" if now < self._rests_until else "half-open"

    def prefers(self, now: float) -> bool:
        """True when it may be asked before others; takes the probe when it is half-open."""
        state = self.state(now)
        if state != "half-open":
            return state == "closed"
        if now < self._probed_until:
            return False
        self._probed_until = now + self.policy.probe
        return True

    def unreachable(self, now: float) -> None:
        """No connection, or no answer at all."""
        self._open(now)

    def broke(self, now: float) -> None:
        """An answer broke off, or said that the host is failing."""
        self._broken += 1
        if self._broken >= self.policy.breaks:
            self._open(now)

    def answered(self) -> None:
        """The head of a good answer is here: it is up. What breaks off counts on."""
        self._opened = 0
        self._probed_until = 0.0
        # Once more, and it is down again.
        self._broken = min(self._broken, self.policy.breaks - 1)

    def completed(self) -> None:
        """A good answer is here to its end."""
        self.answered()
        self._broken = 0

    def close_gate(self, now: float, seconds: float) -> None:
        """The host asks not to be asked for so long; the latest moment of all counts."""
        if seconds <= self.policy.longest_gate:  # nobody means years
            self._gate = max(self._gate, now + seconds)

    def wait(self, now: float) -> float:
        """Seconds until the host may be asked; 0 at once."""
        return max(0.0, self._gate - now)

    def is_well(self, now: float) -> bool:
        """True when there is nothing to remember."""
        return not self._opened and not self._broken and now >= self._gate

    def _open(self, now: float) -> None:
        if self._opened and now < self._rests_until:
            return  # the others that were under way then
        policy = self.policy
        self._rests_until = now + min(
            policy.longest_rest, policy.rest * 2.0 ** min(self._opened, 32)
        )
        self._opened += 1
        self._probed_until = 0.0


class HealthBook:
    """The records of all hosts, by whatever names them."""

    def __init__(self, policy: HealthPolicy | None = None) -> None:
        self._policy = policy or HealthPolicy()
        self._hosts: dict[Hashable, HostHealth] = {}

    def __len__(self) -> int:
        return len(self._hosts)

    def of(self, host: Hashable, now: float) -> HostHealth:
        """The record of ``host``, to tell something."""
        found = self._hosts.get(host)
        if found is None:
            if len(self._hosts) >= self._policy.hosts:
                self._forget(now)
            found = self._hosts[host] = HostHealth(self._policy)
        return found

    def known(self, host: Hashable) -> HostHealth | None:
        """The record of ``host``, if there is anything to remember."""
        return self._hosts.get(host)

    def wait(self, host: Hashable, now: float) -> float:
        """Seconds until ``host`` may be asked; 0 at once."""
        found = self._hosts.get(host)
        return found.wait(now) if found is not None else 0.0

    def any_well(self, hosts: Iterable[Hashable], now: float) -> bool:
        """True when one of them is up, as far as is known."""
        found = (self._hosts.get(host) for host in hosts)
        return any(one is None or one.state(now) == "closed" for one in found)

    def in_order(self, hosts: Iterable[T], now: float, host_of: Callable[[T], Hashable]) -> list[T]:
        """The same hosts in the same order, but those that are down last."""
        well: list[T] = []
        down: list[T] = []
        for host in hosts:
            found = self._hosts.get(host_of(host))
            (well if found is None or found.prefers(now) else down).append(host)
        return well + down

    def _forget(self, now: float) -> None:
        """Make room: those that are well, else the oldest record."""
        for host in [host for host, found in self._hosts.items() if found.is_well(now)]:
            del self._hosts[host]
        if len(self._hosts) >= self._policy.hosts:
            del self._hosts[next(iter(self._hosts))]


class Report:
    """Writes into the book how one request to one host fares.

    Args:
        book: of all hosts.
        host: who is asked.
        time: tells the time.
    """

    __slots__ = ("_book", "_host", "_time")

    def __init__(self, book: HealthBook, host: Hashable, time: Callable[[], float]) -> None:
        self._book = book
        self._host = host
        self._time = time

    def unreachable(self) -> None:
        """No connection, or no answer at all."""
        now = self._time()
        self._book.of(self._host, now).unreachable(now)

    def broke(self) -> None:
        """The answer broke off, or said that the host is failing."""
        now = self._time()
        self._book.of(self._host, now).broke(now)

    def answered(self) -> None:
        """The head of a good answer is here."""
        if (found := self._book.known(self._host)) is not None:
            found.answered()

    def completed(self) -> None:
        """The good answer is here to its end."""
        if (found := self._book.known(self._host)) is not None:
            found.completed()
