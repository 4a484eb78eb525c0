"""Blobs and trees on their way into the store, between finished and published.

Pulls that run at the same time share them, and each may be the one to publish.
These two know how far that has gone: who publishes next needs only the rest,
and whoever releases last knows what there is to remove. They do no I/O.
"""

from __future__ import annotations

import asyncio
import enum
from typing import TYPE_CHECKING

from orlop.errors import Unavailable

if TYPE_CHECKING:
    from orlop.model.digest import Digest
    from orlop.ports.content import Ingest
    from orlop.ports.metadata import Usage
    from orlop.ports.snapshots import Staged


class _At(enum.Enum):
    """Where a pending blob is."""

    INGEST = enum.auto()
    LEAVING = enum.auto()
    STORE = enum.auto()
    NOWHERE = enum.auto()


class PendingBlob:
    """A blob in its ingest, which whoever made this keeps open until it is published.

    Attributes:
        subject: names it in messages.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self._at = _At.INGEST
        self._ingest: Ingest | None = None
        self._decided = asyncio.Event()

    @property
    def ingest(self) -> Ingest | None:
        """The ingest that its maker must close, if there is one."""
        return self._ingest if self._at is _At.INGEST else None

    @property
    def stored(self) -> bool:
        """True when it has become a blob."""
        return self._at is _At.STORE

    def opened(self, ingest: Ingest) -> None:
        """Tell which ingest it is in."""
        self._ingest = ingest

    def take(self) -> Ingest | None:
        """Its ingest, for publishing; None when it is a blob already.

        Whoever takes it says ``published`` or ``lost`` afterwards.

        Raises:
            Unavailable: it was lost.
        """
        if self._at is _At.STORE:
            return None
        self.require()
        assert self._ingest is not None
        self._at = _At.LEAVING
        return self._ingest

    def published(self) -> None:
        """It has become a blob; its ingest is closed."""
        self._decide(_At.STORE)

    def lost(self) -> None:
        """Publishing failed; its ingest is closed."""
        self._decide(_At.NOWHERE)

    def _decide(self, at: _At) -> None:
        self._at = at
        self._decided.set()

    async def in_store(self) -> bool:
        """True when it must be read from the store; waits while somebody publishes it.

        When False, ``ingest`` is open, and stays so until the event loop's next step.

        Raises:
            Unavailable: it was lost.
        """
        if self._at is _At.LEAVING:
            await self._decided.wait()
        self.require()
        return self._at is _At.STORE

    def require(self) -> None:
        """Make sure that it is somewhere.

        Raises:
            Unavailable: it was lost.
        """
        if self._at is _At.NOWHERE:
            raise Unavailable(f"another pull could not publish it: {self.subject}")


class TreeState(enum.Enum):
    """How far a tree has come; what is on disk follows from it."""

    STAGED = enum.auto()
    """In staging."""
    MOVING = enum.auto()
    """In staging or under its final name: publishing failed half-way."""
    NAMED = enum.auto()
    """Under its final name, without a record."""
    RECORDED = enum.auto()
    """A snapshot, or nobody knows: it is the database's now."""


class PendingTree:
    """A staged tree.

    Attributes:
        staged: the tree.
        usage: what it occupies, when it is finished.
        manifest: digest of its manifest, when it is finished.
        state: how far it has come.
    """

    def __init__(self, staged: Staged) -> None:
        self.staged = staged
        self.usage: Usage | None = None
        self.manifest: Digest | None = None
        self.state = TreeState.STAGED
