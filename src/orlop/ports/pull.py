"""The pull, as the image service sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.model.pins import Pins
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference
    from orlop.ports.metadata import Image
    from orlop.ports.observe import PullProgress
    from orlop.ports.registry import Credentials
    from orlop.ports.snapshots import Snapshotter


@dataclass(frozen=True, slots=True)
class PullRequest:
    """One pull, with everything decided that a caller may decide.

    ``pins`` are the images whose names are labelled as pinned.
    """

    reference: Reference
    platform: Platform
    snapshotter: Snapshotter
    namespace: str
    credentials: Credentials | None = None
    pins: Pins | None = None


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

    def pulls(self) -> Sequence[PullProgress]:
        """Pictures of the pulls that run now."""
