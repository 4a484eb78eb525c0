"""Waiting for many descriptors, a few at a time."""

from __future__ import annotations

import selectors
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from _typeshed import FileDescriptorLike

_ALONE: Final = 16
"""Turns in a row that descriptors which come first may have for themselves."""


class FairSelector(selectors.EpollSelector):
    """Reports few descriptors at once: those that were reported longest ago.

    An event loop that has many busy connections takes as long for one turn as all of
    them need, and what is rarely ready (a client's call, a timer) waits for several
    turns. With few connections a turn it waits for those few only, and comes first. What
    is left out is reported the next time: epoll(7) is level-triggered here.

    Descriptors that come first are reported alone, so that what they bring is done before
    the others have their turn; after some turns the others have one all the same.

    Args:
        most: descriptors that ``select`` returns, from 1.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._turn = 0
        self._reported: dict[int, int] = {}
        self._first: set[int] = set()
        self._come_first = False
        self._alone = 0

    @contextmanager
    def first(self) -> Iterator[None]:
        """Descriptors that are registered while the block runs come first, from then on."""
        self._come_first = True
        try:
            yield
        finally:
            self._come_first = False

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: object = None
    ) -> selectors.SelectorKey:
        """See ``selectors.BaseSelector.register``."""
        key = super().register(fileobj, events, data)
        if self._come_first:
            self._first.add(key.fd)
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """See ``selectors.BaseSelector.unregister``."""
        key = super().unregister(fileobj)
        self._first.discard(key.fd)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See ``selectors.BaseSelector.select``."""
        ready = super().select(timeout)
        first = [one for one in ready if one[0].fd in self._first]
        if first and self._alone < _ALONE:
            self._alone += 1
            return first
        self._alone = 0
        if len(ready) > self._most:
            ready = longest_ago(ready, self._reported, self._most)
        self._turn += 1
        for key, _ in ready:
            self._reported[key.fd] = self._turn
        return ready


def longest_ago(
    ready: Sequence[tuple[selectors.SelectorKey, int]], reported: Mapping[int, int], most: int
) -> list[tuple[selectors.SelectorKey, int]]:
    """The ``most`` of those that are ready that were reported longest ago, or never."""
    return sorted(ready, key=lambda one: reported.get(one[0].fd, 0))[:most]
