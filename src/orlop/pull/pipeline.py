"""The pull's front door: runs pulls, watches them, and reports on them.

Pulls that run at the same time share downloads (by digest) and layers (by chain
id); each resolves its reference with its own credentials first, so that nobody
gets what the registry would not give. A pull that ends early, for whatever
reason, leaves partial downloads for the next one and nothing else.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orlop.config.durations import Duration
from orlop.errors import OrlopError, Stalled, StoreFull, StoreIO
from orlop.pull.completion import settled
from orlop.pull.offline import Offline
from orlop.pull.parts import Parts, PullSettings, Shared
from orlop.pull.progress import Tracker
from orlop.pull.steps import Pull
from orlop.pull.traffic import Meter
from orlop.pull.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.ports.metadata import Image, Target
    from orlop.ports.observe import PullProgress
    from orlop.ports.pull import PullRequest
    from orlop.pull.watchdog import Verdict

__all__ = ["Parts", "Pipeline", "PullSettings"]

_TICK: Final = 0.1
_MEGABYTE: Final = 1_000_000
_NANOSECONDS: Final = 1_000_000_000


class Pipeline:
    """Runs pulls; lives as long as the service and is used from its event loop."""

    def __init__(self, parts: Parts, settings: PullSettings) -> None:
        self._parts = parts
        self._settings = settings
        self._shared = Shared(parts, settings)
        self._running: list[Tracker] = []

    def reload(self, settings: PullSettings) -> None:
        """Use other limits from the next pull on; those that run keep theirs."""
        self._settings = settings
        self._shared.limit(settings)

    def pulls(self) -> Sequence[PullProgress]:
        """Pictures of the pulls that run now."""
        return [tracker.picture() for tracker in self._running]

    async def pull(
        self, request: PullRequest, progress: Callable[[PullProgress], None] | None = None
    ) -> Image:
        """Pull one image; complete, visible and durable when this returns.

        ``progress`` is called about ten times a second, and once at the end.

        Raises:
            OrlopError: whatever went wrong; the store is as it was before.
        """
        return await self._run(self._parts, request, progress)

    async def repair(self, request: PullRequest, target: Target) -> Image:
        """See the port."""
        known = replace(self._parts, registry=Offline(target), verifiers=())
        try:
            return await self._run(known, request, None)
        except (StoreIO, StoreFull):
            raise
        except OrlopError:
            # Something that it needs is not here, or damaged, too.
            return await self._run(self._parts, request, None)

    async def _run(
        self,
        parts: Parts,
        request: PullRequest,
        progress: Callable[[PullProgress], None] | None,
    ) -> Image:
        tracker = Tracker(request.subject, str(request.platform), parts.clock)
        watchdog = Watchdog(self._settings.progress_timeout, self._settings.min_rate)
        meter = Meter(watchdog, parts.clock)
        one = Pull(parts, self._settings, self._shared, request, tracker, meter)
        parts.observer.pull_started(tracker.reference)
        self._running.append(tracker)
        try:
            image = await _watched(asyncio.ensure_future(one.run()), tracker, meter, progress)
        except BaseException as error:
            tracker.end("failed", str(error) or type(error).__name__)
            parts.observer.pull_ended(one.ended(_code(error)))
            raise
        else:
            tracker.end("done")
            parts.observer.pull_ended(one.ended(""))
            return image
        finally:
            self._running.remove(tracker)
            if progress is not None:
                progress(tracker.picture())


async def _watched(
    task: asyncio.Future[Image],
    tracker: Tracker,
    meter: Meter,
    progress: Callable[[PullProgress], None] | None,
) -> Image:
    """Wait for a pull, report on it, and end it when it stalls or the caller gives up."""
    every = meter.watchdog.interval
    if progress is not None:
        every = min(_TICK, every or _TICK)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=every or None)
            if task.done():
                break
            if progress is not None:
                progress(tracker.picture())
            if verdict := meter.look():
                raise _stalled(verdict, tracker.picture(), meter)
        return task.result()
    finally:
        task.cancel()
        await settled(task)


def _stalled(verdict: Verdict, picture: PullProgress, meter: Meter) -> Stalled:
    dog = meter.watchdog
    if verdict == "silent":
        why = f"no progress for {_duration(dog.timeout)}"
    else:
        why = f"less than {dog.min_rate:.0f} bytes/s for {_duration(dog.window)}"
    where = f", waiting for {', '.join(meter.hosts)}" if meter.hosts else ""
    here = sum(1 for layer in picture.layers if layer.downloaded == layer.size)
    return Stalled(
        f"{why}: {here} of {len(picture.layers)} layers,"
        f" {picture.downloaded / _MEGABYTE:.1f} of {picture.total / _MEGABYTE:.1f} MB{where}"
    )


def _duration(seconds: float) -> str:
    return str(Duration(round(seconds * _NANOSECONDS)))


def _code(error: BaseException) -> str:
    if isinstance(error, OrlopError):
        return error.code.value
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "internal"
