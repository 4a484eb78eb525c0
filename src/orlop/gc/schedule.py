"""When to collect; pure, told the time.

A collection is wanted after a deletion, after many changes of other kinds, once
after the start, and now and then for what expires. It is due when it is wanted
and enough time has passed since the one before: a collection that took d seconds
is followed by d * (1 / ``pause_threshold`` - 1) seconds without one, so that
collecting takes no larger share of the time than that. Only ``deletion_threshold``
does without this rest.

Times are seconds of a clock that never goes back.

Source of the settings: containerd, docs/garbage-collection.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SHORTEST: Final = 0.005
"""Seconds that every collection counts for: very short ones would follow one another."""

_REST: Final = 1.0
"""Seconds between collections when ``pause_threshold`` is 0."""

_MOST: Final = 0.5
"""Largest ``pause_threshold``; larger ones mean this."""

_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 300.0
"""Seconds until a collection that failed is tried again, doubled each time up to this."""


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """When to collect.

    Attributes:
        pause_threshold: share of the time that collections may take, up to 0.5.
        deletion_threshold: deletions that make one due at once; 0 is off.
        mutation_threshold: changes that make one wanted; 0 is off.
        schedule_delay: seconds from the moment when one is wanted.
        startup_delay: seconds from the start until the first one may be; 0 is no
            collection for the start's sake.
        period: seconds after which one is due although nothing has happened.
    """

    pause_threshold: float = 0.02
    deletion_threshold: int = 0
    mutation_threshold: int = 100
    schedule_delay: float = 0.0
    startup_delay: float = 0.1
    period: float = 3600.0


class Schedule:
    """The state; ask ``due`` after each call of the others.

    Args:
        now: when it starts.
    """

    def __init__(self, settings: ScheduleSettings, *, now: float) -> None:
        self._settings = settings
        self._deletions = 0
        self._mutations = 0
        self._failures = 0
        self._wanted: float | None = now if settings.startup_delay > 0 else None
        self._urgent: float | None = None
        self._rest_until = now + max(settings.startup_delay, 0.0)
        self._last = now

    @property
    def due(self) -> float:
        """When to collect next; it may be past."""
        times = [max(self._last + self._settings.period, self._rest_until)]
        if self._wanted is not None:
            times.append(max(self._wanted + self._settings.schedule_delay, self._rest_until))
        if self._urgent is not None and not self._failures:
            times.append(self._urgent + self._settings.schedule_delay)
        return min(times)

    def changed(self, *, deletion: bool, now: float) -> None:
        """Something was stored, or something was removed, that garbage may come of."""
        settings = self._settings
        self._mutations += 1
        self._deletions += deletion
        if self._deletions or 0 < settings.mutation_threshold <= self._mutations:
            self._wanted = now if self._wanted is None else self._wanted
        if 0 < settings.deletion_threshold <= self._deletions:
            self._urgent = now if self._urgent is None else self._urgent

    def begun(self) -> None:
        """A collection begins, whoever asked for it; it takes all that happened so far."""
        self._deletions = self._mutations = 0
        self._wanted = self._urgent = None

    def ended(self, *, begun: float, now: float) -> None:
        """It has ended well."""
        self._failures = 0
        self._last = now
        self._rest_until = now + self._rest(now - begun)

    def failed(self, *, begun: float, now: float) -> None:
        """It has not: it is tried again, later each time."""
        retry = min(_RETRY * 2.0**self._failures, _LONGEST_RETRY)
        self._failures = min(self._failures + 1, 16)
        self._last = now
        self._wanted = now if self._wanted is None else self._wanted
        self._rest_until = now + max(retry, self._rest(now - begun))

    def _rest(self, took: float) -> float:
        threshold = min(self._settings.pause_threshold, _MOST)
        if threshold <= 0:
            return _REST
        return max(took, _SHORTEST) * (1 / threshold - 1)
