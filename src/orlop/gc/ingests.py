"""Partial downloads that nobody continues; ``expired`` is pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orlop.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.ports.content import IngestStatus

_NANOSECONDS = 1_000_000_000


class Ingests(Protocol):
    """What is needed of ``orlop.ports.content.Ingester``."""

    def status(self) -> list[IngestStatus]:
        """All ingests, open or not."""

    def abort(self, ref: str) -> None:
        """Delete a closed ingest. Raises NotFound, Unavailable."""


def expired(ingests: Iterable[IngestStatus], *, now: int, seconds: float) -> Sequence[str]:
    """References of those that nothing was written to for so long.

    Args:
        ingests: all of them.
        now: nanoseconds since the Unix epoch.
        seconds: how long they are kept; 0 is for ever.
    """
    if seconds <= 0:
        return ()
    before = now - round(seconds * _NANOSECONDS)
    return [ingest.ref for ingest in ingests if max(ingest.updated_at, ingest.started_at) < before]


def delete_expired(store: Ingests, *, now: int, seconds: float) -> int:
    """Delete those; returns how many that were. Blocks.

    One that somebody has opened again is left alone.

    Raises:
        OrlopError: the disk.
    """
    deleted = 0
    for ref in expired(store.status(), now=now, seconds=seconds):
        try:
            store.abort(ref)
        except (NotFound, Unavailable):
            continue
        deleted += 1
    return deleted
