"""The pull, as the image service sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.model.pins import Pins
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.ports.metadata import Image, Target
    from orlop.ports.observe import PullProgress
    from orlop.ports.registry import Credentials, Remote, Traffic
    from orlop.ports.snapshots import Snapshotter


class Origin(Protocol):
    """Where one image comes from, if not from its registry."""

    @property
    def subject(self) -> str:
        """What to call an image that has no name, in messages and pictures."""

    @property
    def place(self) -> str:
        """Names what the image comes from, and nothing else ever."""

    def remote(self, traffic: Traffic) -> Remote:
        """A view of it for one pull; costs nothing until it is used."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """One pull, with everything decided that a caller may decide.

    Attributes:
        reference: the name that the image gets, and is asked for by; None only with an
            ``origin``: it is then known by its id alone.
        pins: the images whose names are labelled as pinned.
        origin: what is asked instead of the registry.
    """

    reference: Reference | None
    platform: Platform
    snapshotter: Snapshotter
    namespace: str
    credentials: Credentials | None = None
    pins: Pins | None = None
    origin: Origin | None = None

    @property
    def subject(self) -> str:
        """What to call it."""
        if self.reference is None and self.origin is not None:
            return self.origin.subject
        return str(self.reference)

    @property
    def registry(self) -> str:
        """Domain of the registry that it comes from; "" when it comes from elsewhere."""
        return "" if self.origin is not None or self.reference is None else self.reference.domain

    @property
    def repository(self) -> str:
        """Where it comes from: whoever may read there may have what is there."""
        if self.origin is not None or self.reference is None:
            return self.origin.place if self.origin is not None else ""
        return self.reference.name


class Puller(Protocol):
    """Runs pulls."""

    async def pull(
        self, request: PullRequest, progress: Callable[[PullProgress], None] | None = None
    ) -> Image:
        """Pull one image; complete, visible and durable when this returns.

        ``progress`` is called about ten times a second, and once at the end.

        Raises:
            OrlopError: whatever went wrong; the store is as it was before.
        """

    async def repair(self, request: PullRequest, target: Target) -> Image:
        """Make again what is damaged or missing of an image that is here.

        No registry is asked as long as the store has what is needed.

        Args:
            request: its reference names the image, best by its digest.
            target: what that reference meant when the image was pulled.

        Raises:
            OrlopError: as ``pull``.
        """

    def pulls(self) -> Sequence[PullProgress]:
        """Pictures of the pulls that run now."""
