"""Mounting: recipes become mounts on a directory, and end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.ports.snapshots import Mount


class Mounter(Protocol):
    """The kernel's mounts. Methods block; call them from a thread."""

    def mount(self, mounts: Sequence[Mount], target: str) -> None:
        """Mount on the directory ``target``.

        Raises:
            NotFound: ``target`` is no directory.
            PermissionDenied: mounting needs root.
            FailedPrecondition: the kernel refused.
        """

    def unmount(self, target: str) -> None:
        """Undo the topmost mount on ``target``.

        Raises:
            NotFound: nothing is mounted there.
            FailedPrecondition: it is busy.
        """

    def is_mounted(self, target: str) -> bool:
        """True when something is mounted exactly on ``target``."""
