"""What a power cut may leave of a disk: three models, from the strictest to file systems of today.

``Weak`` promises what POSIX does: of what was not synced, any part may be there, but a
rename is all or nothing. ``Ext4`` and ``Xfs`` have a journal: names and attributes are
there in the order in which they were made, up to some instant. With ext4 a file has no
length before its data has been written; with XFS here the length may be there without, and
then zeros are read. In every model one block that was being written may hold garbage.

A model is fed the calls that were made, one by one, and always knows what is durable and
what is pending; ``states`` chooses parts of that by chance, all of them where they are few.
Pure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final, cast

from tests.crash.sim.disk import BLOCK, NONE

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping, Sequence

    from tests.crash.sim.disk import Call, Cell, Change, Value

GARBAGE: Final = b"\xa5\x5a" * (BLOCK // 2)
_OF_A_FILE: Final = frozenset({"data", "size"})
_PATIENCE: Final = 3
"""Draws for each state that is wanted, since some are drawn twice."""

_GARBLED: Final = 0.2
"""Share of the states in which a block holds garbage, if one was being written."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A part of what is pending.

    Attributes:
        kept: positions of the changes that reached the disk.
        garbled: of a change of a block among them, which holds garbage; -1 is none.
    """

    kept: tuple[int, ...]
    garbled: int = -1


class Picture:
    """What is on a disk, as cells; choices are laid over it for a while.

    Attributes:
        cells: the same dictionary for ever.
        digest: of all cells, made anew with each that changes.
    """

    def __init__(self, cells: Mapping[Cell, Value]) -> None:
        self.cells = dict(cells)
        self.digest = 0

    def apply(self, cells: Sequence[tuple[Cell, Value]]) -> list[tuple[Cell, Value]]:
        """Change cells; returns what undoes it, in the order to do it in."""
        undo: list[tuple[Cell, Value]] = []
        for cell, value in cells:
            self._set(cell, value or None if cell[0] == "entry" else value, undo)
            if cell[0] == "entry":
                listing: Cell = ("names", cell[1], 0)
                names = cast("frozenset[str]", self.cells.get(listing) or NONE)
                name = {cast("str", cell[2])}
                self._set(listing, names | name if value else names - name, undo)
        undo.reverse()
        return undo

    def _set(self, cell: Cell, value: Value, undo: list[tuple[Cell, Value]]) -> None:
        old = self.cells.get(cell)
        if old is value:
            return
        undo.append((cell, old))
        self.cells[cell] = value
        if cell[0] != "names":  # which follow from the entries
            self.digest ^= hash((cell, old)) ^ hash((cell, value))

    @contextmanager
    def changed(self, cells: Sequence[tuple[Cell, Value]]) -> Iterator[None]:
        """Have them changed as long as the block lasts."""
        digest = self.digest
        undo = self.apply(cells)
        try:
            yield
        finally:
            self.cells.update(undo)
            self.digest = digest


class Model(ABC):
    """See the module.

    Args:
        cells: what is durable at the beginning.

    Attributes:
        durable: what any power cut leaves.
        pending: what it may leave, in the order in which it was done.
    """

    name: str

    def __init__(self, cells: Mapping[Cell, Value]) -> None:
        self.durable = Picture(cells)
        self.pending: list[Change] = []

    def feed(self, call: Call) -> None:
        """A call was made."""
        self.pending += call.changes
        if call.barrier < 0 or not self.pending:
            return
        reached = self.reached(call.barrier) if call.barrier else [True] * len(self.pending)
        for change, there in zip(self.pending, reached, strict=True):
            if there:
                self.durable.apply(change.cells)
        self.pending = [
            change for change, there in zip(self.pending, reached, strict=True) if not there
        ]

    @abstractmethod
    def reached(self, inode: int) -> list[bool]:
        """Which of the pending changes a barrier on one inode makes durable."""

    @abstractmethod
    def possible(self, kept: Sequence[bool]) -> tuple[int, ...]:
        """The largest part of ``kept`` that a power cut can leave, as positions."""

    def cells(self, choice: Choice) -> list[tuple[Cell, Value]]:
        """The cells that a choice changes, in order."""
        found: list[tuple[Cell, Value]] = []
        for position in choice.kept:
            change = self.pending[position]
            if position == choice.garbled:
                found += [(cell, GARBAGE) for cell, _ in change.cells]
            else:
                found += change.cells
        return found

    def states(self, chance: random.Random, count: int) -> list[Choice]:
        """At most so many different choices; all there are if that is not more."""
        found: dict[Choice, None] = {}
        length = len(self.pending)
        if not length:
            return [Choice(())]
        if 2**length <= count:
            for bits in range(2**length):
                found[Choice(self.possible([bool(bits >> at & 1) for at in range(length)]))] = None
        for _ in range(_PATIENCE * count):
            if len(found) >= count:
                break
            found[self._garbled(chance, self.possible(self._drawn(chance)))] = None
        return list(found)[:count]

    def _drawn(self, chance: random.Random) -> list[bool]:
        """A part of what is pending, in one of several ways."""
        length = len(self.pending)
        until = chance.randrange(length + 1)
        style = chance.randrange(6)
        if style == 0:
            return [at < until for at in range(length)]
        if style == 1:
            return [at != until for at in range(length)]
        if style == 2:
            return [at == until for at in range(length)]
        share = chance.choice((0.1, 0.5, 0.9))
        if style == 3:
            return [chance.random() < share for _ in range(length)]
        if style == 4:  # the journal up to an instant, of data some
            return [
                chance.random() < share if change.sort in _OF_A_FILE else at < until
                for at, change in enumerate(self.pending)
            ]
        inodes = sorted({inode for change in self.pending for inode in change.inodes})
        whole = {inode: chance.random() < share for inode in inodes}
        return [whole[change.inodes[0]] for change in self.pending]

    def _garbled(self, chance: random.Random, kept: tuple[int, ...]) -> Choice:
        if chance.random() >= _GARBLED:
            return Choice(kept)
        blocks = [position for position in kept if self.pending[position].sort == "data"]
        return Choice(kept, chance.choice(blocks) if blocks else -1)


class Weak(Model):
    """Nothing is in order but what is one name's."""

    name = "weak"

    def reached(self, inode: int) -> list[bool]:
        reached = [inode in change.inodes[: _owners(change)] for change in self.pending]
        wanted: set[Cell] = set()
        for at in reversed(range(len(reached))):
            change = self.pending[at]
            names = {cell for cell, _ in change.cells if cell[0] == "entry"}
            reached[at] = reached[at] or not wanted.isdisjoint(names)
            if reached[at]:
                wanted |= names
        return reached

    def possible(self, kept: Sequence[bool]) -> tuple[int, ...]:
        lost: set[Cell] = set()
        found = []
        for at, change in enumerate(self.pending):
            names = [cell for cell, _ in change.cells if cell[0] == "entry"]
            if kept[at] and lost.isdisjoint(names):
                found.append(at)
            else:
                lost.update(names)
        return tuple(found)


class _Journalled(Model):
    """Metadata is there in order."""

    ordered: frozenset[str]

    def possible(self, kept: Sequence[bool]) -> tuple[int, ...]:
        found = []
        ended = False
        for at, change in enumerate(self.pending):
            if change.sort in self.ordered:
                ended = ended or not kept[at]
                if not ended:
                    found.append(at)
            elif kept[at]:
                found.append(at)
        return tuple(found)


class Ext4(_Journalled):
    """A barrier commits the whole journal; a file grows when its data has been written."""

    name = "ext4"
    ordered = frozenset({"entries", "attributes"})

    def reached(self, inode: int) -> list[bool]:
        return [change.sort in self.ordered or change.inodes[0] == inode for change in self.pending]

    def possible(self, kept: Sequence[bool]) -> tuple[int, ...]:
        whole = list(kept)
        positions = range(len(self.pending))
        for _, call in groupby(positions, lambda at: self.pending[at].call):
            members = list(call)
            if self.pending[members[-1]].sort == "size" and not all(kept[at] for at in members):
                for at in members:
                    whole[at] = False
        return super().possible(whole)


class Xfs(_Journalled):
    """A barrier commits the journal up to what it is about; a file may grow without data."""

    name = "xfs"
    ordered = frozenset({"entries", "attributes", "size"})

    def reached(self, inode: int) -> list[bool]:
        last = -1
        for at, change in enumerate(self.pending):
            if change.sort in self.ordered and inode in change.inodes:
                last = at
        return [
            at <= last if change.sort in self.ordered else change.inodes[0] == inode
            for at, change in enumerate(self.pending)
        ]


def _owners(change: Change) -> int:
    """How many of a change's inodes may be synced to make it durable: not the one it names."""
    return len(change.inodes) - 1 if change.sort == "entries" else 1


MODELS: Final[Mapping[str, type[Model]]] = {model.name: model for model in (Weak, Ext4, Xfs)}
