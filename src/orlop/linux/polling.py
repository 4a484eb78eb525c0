"""Waiting for many descriptors, a few at a time."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class FairSelector(selectors.EpollSelector):
    """Reports few descriptors at once: those that were reported longest ago.

    An event loop that has many busy connections takes as long for one turn as all of
    them need, and what is rarely ready (a client's call, a timer) waits for several
    turns. With few connections a turn it waits for those few only, and comes first. What
    is left out is reported the next time: epoll(7) is level-triggered here.

    Args:
        most: descriptors that ``select`` returns, from 1.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._turn = 0
        self._reported: dict[int, int] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See ``selectors.BaseSelector.select``."""
        ready = super().select(timeout)
        if len(ready) > self._most:
            ready = longest_ago(ready, self._reported, self._most)
        self._turn += 1
        for key, _ in ready:
            self._reported[key.fd] = self._turn
        return ready


def longest_ago(
    ready: Sequence[tuple[selectors.SelectorKey, int]], reported: dict[int, int], most: int
) -> list[tuple[selectors.SelectorKey, int]]:
    """The ``most`` of those that are ready that were reported longest ago, or never."""
    return sorted(ready, key=lambda one: reported.get(one[0].fd, 0))[:most]
