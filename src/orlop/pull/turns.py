"""Decides whose turn it is: one after the other, however much each of them wants.

Pure. Those who wait stand in lanes; the lanes take turns, and within a lane the
first to come is the first to go. So the one layer of a small image waits for at
most one layer of each other pull, and not for all layers of a large one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

T = TypeVar("T")


class Turns(Generic[T]):
    """Who waits, by lane."""

    def __init__(self) -> None:
        # Lanes with somebody in them, the next one first.
        self._lanes: dict[Hashable, deque[T]] = {}

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def join(self, lane: Hashable, one: T) -> None:
        """Stand at the end of a lane; a lane that was empty is the last one."""
        self._lanes.setdefault(lane, deque()).append(one)

    def leave(self, lane: Hashable, one: T) -> None:
        """Wait no longer; nothing happens when it was called already."""
        waiting = self._lanes.get(lane)
        if waiting is not None and one in waiting:
            waiting.remove(one)
            if not waiting:
                del self._lanes[lane]

    def call(self) -> T | None:
        """Take out whose turn it is; None when nobody waits."""
        for lane, waiting in self._lanes.items():
            one = waiting.popleft()
            del self._lanes[lane]
            if waiting:
                self._lanes[lane] = waiting  # behind all others
            return one
        return None
