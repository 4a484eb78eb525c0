"""Whether the disk may still be trusted.

Once a write or a barrier has failed with ``StoreIO``, the page cache may show
what the disk does not have. From then on every change is refused until the
process starts again and recovers. Never decides what to do about it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from orlop.errors import StoreIO
from orlop.linux.files import translated

if TYPE_CHECKING:
    from collections.abc import Iterator


class Health:
    """Remembers the first failure of the disk; shared by a store and its ingests."""

    __slots__ = ("_failure",)

    def __init__(self) -> None:
        self._failure: StoreIO | None = None

    @property
    def failed(self) -> bool:
        """True once the disk has failed."""
        return self._failure is not None

    @contextmanager
    def changing(self, doing: str) -> Iterator[None]:
        """Guard a block that changes the disk, and translate its ``OSError``.

        Args:
            doing: what the block does, as a verb phrase.

        Raises:
            StoreIO: the disk fails in the block, or failed before.
            OrlopError: as ``orlop.linux.files.translated`` says.
        """
        if self._failure is not None:
            raise StoreIO(
                f"the disk failed before ({self._failure}): {doing}", hint=self._failure.hint
            )
        try:
            with translated(doing):
                yield
        except StoreIO as error:
            self._failure = error
            raise
