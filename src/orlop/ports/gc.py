"""Garbage collection, as the rest of the service sees it.

A pull decides what is missing, and what it found must still be there when it
publishes. While a ``Protection`` is held, what it names is not collected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from orlop.model.digest import Digest
    from orlop.ports.service import GCReport


class Protection(Protocol):
    """Names that must stay, for as long as the ``async with`` that made it lasts."""

    async def add(
        self, digests: Iterable[Digest] = (), *, snapshots: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Protect blobs, and snapshots by (snapshotter, key), whether they are here or not.

        From its return on, what is looked up stays.
        """


class Protector(Protocol):
    """Hands out protections."""

    def protect(self) -> AbstractAsyncContextManager[Protection]:
        """A new one, empty."""


class GarbageCollector(Protector, Protocol):
    """Removes what nothing refers to."""

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        """Collect every namespace; in a dry run only say what would go.

        Raises:
            Unavailable: the store keeps changing; try again later.
            OrlopError: a file could not be deleted.
        """
