"""An event loop whose order of things follows from a seed: no thread, no time of its own.

What others run in threads runs between two steps of the loop, sooner or later by chance.
When everybody waits, the clock moves to where somebody wakes up.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

_LONGEST: Final = 3
"""Steps of the loop that a piece of work may be put off, at most."""


class _Waiting(selectors.BaseSelector):
    """Waits for nothing but time, which is told at once that it has passed."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def register(self, fileobj: object, events: int, data: object = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)  # type: ignore[arg-type]

    def unregister(self, fileobj: object) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)  # type: ignore[arg-type]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nobody for time")
        self._loop.pass_time(timeout)
        return []

    def get_map(self) -> Mapping[object, selectors.SelectorKey]:  # type: ignore[override]
        return {}


class SimulatedLoop(asyncio.SelectorEventLoop):
    """See the module.

    Args:
        chance: puts work off; None does it at once.
    """

    def __init__(self, chance: random.Random | None = None) -> None:
        self._now = 0.0
        self._chance = chance
        super().__init__(_Waiting(self))

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def pass_time(self, seconds: float) -> None:
        """For the selector."""
        self._now += max(0.0, seconds)

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., object], *args: object
    ) -> asyncio.Future[object]:
        """Do it on the loop, whoever was to do it."""
        del executor
        future = self.create_future()
        steps = self._chance.randrange(_LONGEST + 1) if self._chance else 0
        self._work(steps, future, func, *args)
        return future

    def _work(
        self,
        steps: int,
        future: asyncio.Future[object],
        func: Callable[..., object],
        *args: object,
    ) -> None:
        if steps:
            self.call_soon(self._work, steps - 1, future, func, *args)
            return
        if future.cancelled():
            return
        try:
            result = func(*args)
        except BaseException as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        else:
            future.set_result(result)
