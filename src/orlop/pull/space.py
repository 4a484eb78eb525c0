"""The ledger of disk space: what running pulls will still write.

Pure. Each pull enters its layers before the first byte is asked for, so that two
pulls that fit alone but not together do not both begin. A layer that several pulls
share counts once.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import StoreFull

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

_MEGABYTE: Final = 1_000_000


@dataclass(slots=True)
class _Entry:
    left: int
    holders: int = 0


class Ledger:
    """Bytes of layers that are still to come, for all pulls together."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, _Entry] = {}

    @property
    def outstanding(self) -> int:
        """Bytes that running pulls will still write."""
        return sum(entry.left for entry in self._entries.values())

    @contextmanager
    def entered(self, subject: str, left: Mapping[Hashable, int], *, free: int) -> Iterator[None]:
        """Claim the bytes that are left of each layer, as long as the ``with`` lasts.

        Args:
            subject: the pull, to name in a message.
            left: bytes by layer; what is entered already is not claimed again.
            free: bytes that the file system has now.

        Raises:
            StoreFull: there is too little, after what the others have claimed.
        """
        wanted = sum(count for layer, count in left.items() if layer not in self._entries)
        claimed = self.outstanding
        missing = wanted + claimed - free
        if wanted and missing > 0:
            others = f", other pulls still need {_text(claimed)}" if claimed else ""
            raise StoreFull(
                f"pull of {subject} needs {_text(wanted)} for its layers alone,"
                f" {_text(free)} are free{others}: {_text(missing)} are missing",
                hint="remove images, or give the store a larger file system",
            )
        for layer, count in left.items():
            self._entries.setdefault(layer, _Entry(count)).holders += 1
        try:
            yield
        finally:
            for layer in left:
                entry = self._entries[layer]
                entry.holders -= 1
                if not entry.holders:
                    del self._entries[layer]

    def set_left(self, layer: Hashable, left: int) -> None:
        """Tell how much of a layer is still to come; of one that nobody entered, nothing."""
        if (entry := self._entries.get(layer)) is not None:
            entry.left = left


def _text(count: int) -> str:
    return f"{count / _MEGABYTE:.1f} MB"
