"""Files of a root file system that strangers have filled, as its own processes see them."""

from __future__ import annotations

from typing import Protocol


class RootFiles(Protocol):
    """Looks into mounted images. Methods block; call them from a thread.

    Paths are resolved inside ``root``: links and ``..`` lead nowhere else.
    """

    def read(self, root: str, path: str, *, limit: int) -> bytes:
        """A whole regular file; b"" if there is none.

        Raises:
            ImageInvalid: it is something else.
            LimitExceeded: it has more than ``limit`` bytes.
        """

    def make_directory(self, root: str, path: str) -> None:
        """Make a directory, and those above it, unless they are there; owned by root, 0755.

        Raises:
            ImageInvalid: something else is in the way.
        """

    def remove(self, directory: str, name: str) -> None:
        """Remove the directory ``name`` of ``directory`` with all that is in it, if it is there.

        Raises:
            FailedPrecondition: it cannot be removed.
        """
