"""Records where the time of a piece of work goes; pure, told the time.

A recorder belongs to the work, a download say, which several pulls may share; each
of them cuts its own part out of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.ports.observe import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.model.digest import Digest
    from orlop.ports.observe import Activity

_SPANS: Final = 100
"""A download over a line that breaks all the time is not remembered break by break."""
_POINTS: Final = 64
"""Points of a curve; a picture shows no more."""
_FINEST: Final = 0.02
"""Seconds between two points, at first."""


class Recorder:
    """What one piece of work does, one activity after the other.

    All times are of one monotonic clock, in seconds, and never go back.
    """

    def __init__(self) -> None:
        self._open: _Open | None = None
        self._closed: list[_Open] = []

    def begin(self, activity: Activity, now: float) -> None:
        """Do something else from ``now`` on."""
        if len(self._closed) >= _SPANS:
            return  # the last one goes on
        self.end(now)
        self._open = _Open(activity, now)

    def end(self, now: float) -> None:
        """Do nothing from ``now`` on."""
        if self._open is not None:
            self._open.end = now
            self._closed.append(self._open)
            self._open = None

    def moved(self, total: int, now: float, *, host: str = "") -> None:
        """What goes on has come to ``total`` bytes, which ``host`` gave."""
        if self._open is not None:
            self._open.host = host
            self._open.moved(total, now)

    def held(self, seconds: float) -> None:
        """For so long what goes on has waited for bytes to be hashed and written."""
        if self._open is not None:
            self._open.writing += seconds

    def spans(self, start: float, end: float, *, layer: Digest | None = None) -> Iterator[Span]:
        """What was done between ``start`` and ``end``, in seconds after ``start``."""
        last = (self._open,) if self._open is not None else ()
        for one in (*self._closed, *last):
            if one.start <= end and (one.end is None or one.end >= start):
                yield one.cut(start, end, layer)


class _Open:
    """An activity that may be going on."""

    def __init__(self, activity: Activity, start: float) -> None:
        self.activity: Activity = activity
        self.start = start
        self.end: float | None = None
        self.host = ""
        self.writing = 0.0
        self._bytes = 0
        self._points: list[tuple[float, int]] = []
        self._finest = _FINEST

    def moved(self, total: int, now: float) -> None:
        """See ``Recorder.moved``."""
        self._bytes = total
        if self._points and now < self._points[-1][0] + self._finest:
            return
        self._points.append((now, total))
        if len(self._points) > _POINTS:
            del self._points[1::2]
            self._finest *= 2

    def cut(self, start: float, end: float, layer: Digest | None) -> Span:
        """The part of it between two moments."""
        own = (max(self.start, start), min(end if self.end is None else self.end, end))
        before = max((total for at, total in self._points if at < start), default=0)
        within = [(at, total) for at, total in self._points if start <= at <= end]
        return Span(
            activity=self.activity,
            start=own[0] - start,
            end=own[1] - start,
            layer=layer,
            bytes=max(0, self._bytes - before),
            host=self.host,
            writing=min(self.writing, own[1] - own[0]),
            growth=tuple((at - start, total - before) for at, total in within),
        )
