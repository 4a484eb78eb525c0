"""Several observers as one, none of which can hurt a pull or the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orlop.model.digest import Digest
    from orlop.ports.observe import Observer, PullEnded


class Observers:
    """Implements ``orlop.ports.observe.Observer`` by telling all of several.

    One that raises has broken its promise: it is logged, and told nothing more.
    May be used from any thread as far as the observers may.

    Args:
        observers: by the name of the plugin that brought them.
    """

    def __init__(self, observers: Mapping[str, Observer]) -> None:
        self._observers = dict(observers)

    def pull_started(self, reference: str) -> None:
        """See the port."""
        self._tell(lambda one: one.pull_started(reference))

    def pull_ended(self, event: PullEnded) -> None:
        """See the port."""
        self._tell(lambda one: one.pull_ended(event))

    def layer_unpacked(self, digest: Digest, seconds: float, uncompressed: int) -> None:
        """See the port."""
        self._tell(lambda one: one.layer_unpacked(digest, seconds, uncompressed))

    def attribute_dropped(self, kind: str, count: int) -> None:
        """See the port."""
        self._tell(lambda one: one.attribute_dropped(kind, count))

    def _tell(self, what: Callable[[Observer], None]) -> None:
        for name, observer in list(self._observers.items()):
            try:
                what(observer)
            except Exception:  # noqa: BLE001 - foreign code may raise anything
                self._observers.pop(name, None)
                structlog.get_logger().exception("observer failed, told no more", observer=name)
