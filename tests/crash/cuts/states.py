"""Every disk that a power cut can leave, from a record of what the disk was told. Pure.

All that was written before a flush is there. Of what came after the last flush any part
may be there, for a disk with a cache may keep it in any order; what overlaps keeps its
order. The last write may have been torn, and the sectors around the tear may hold
garbage. A state is a few numbers; ``changes`` makes bytes of it.

Kinds of states:

* ``flush``: at each flush, all of the epoch.
* ``prefix``: the first writes of an epoch, in order.
* ``drop`` and ``keep``: all but one, and only one.
* ``some``: a random part, in units of 4 KiB.
* ``torn`` and ``garbled``: the first writes, the last of them in part, at a sector or at
  4 KiB; what is not there is old, or garbage.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from tests.crash.cuts.log import Write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.crash.cuts.log import Epoch

Kind = Literal["flush", "prefix", "drop", "keep", "some", "torn", "garbled"]

BLOCK: Final = 4096
TORN: Final[tuple[Kind, ...]] = ("torn", "garbled")


@dataclass(frozen=True, slots=True, order=True)
class State:
    """One disk.

    Attributes:
        epoch: whose writes may be lost; those before it are there.
        cut: how many of its writes the disk had got.
        kind: how to choose among them.
        choice: ``drop``, ``keep``: which write; ``some``: seed; ``torn``, ``garbled``: how
            many bytes of the last write are there.
    """

    epoch: int
    cut: int
    kind: Kind
    choice: int = 0


def systematic(epochs: Sequence[Epoch], sector: int) -> Iterator[State]:
    """All states that are no matter of chance, the simplest ones of an epoch first.

    Args:
        sector: what the disk writes in one piece, in bytes.
    """
    for number, epoch in enumerate(epochs):
        count = len(epoch.writes)
        yield State(number, count, "flush")
        for cut in range(count):
            yield State(number, cut, "prefix")
            yield from _torn(number, cut + 1, epoch.writes[cut], sector)
        if count > 1:
            for one in range(count):
                yield State(number, count, "drop", one)
                yield State(number, count, "keep", one)


def _torn(number: int, cut: int, last: Write, sector: int) -> Iterator[State]:
    size = len(last.data)
    places = {
        there
        for unit in (sector, BLOCK)
        if size > unit
        for there in (unit, size // 2 // unit * unit, size - unit)
    }
    for there in sorted(places - {0}):
        yield State(number, cut, "torn", there)
        yield State(number, cut, "garbled", there)


def chosen(epochs: Sequence[Epoch], count: int, *, seed: int, sector: int) -> list[State]:
    """``count`` states: those of ``systematic``, or a part of them, then random ones.

    The same arguments give the same states, in the order of their epochs.
    """
    dice = random.Random(seed)
    found = list(systematic(epochs, sector))
    if len(found) > count:
        return sorted(dice.sample(found, count))
    # An epoch with twice as many blocks has many times more subsets; half of that is asked for.
    weights = [sum(len(write.data) for write in epoch.writes) ** 0.5 for epoch in epochs]
    if not any(weights):
        return found
    for number in dice.choices(range(len(epochs)), weights, k=count - len(found)):
        writes = len(epochs[number].writes)
        found.append(State(number, dice.randint(1, writes), "some", dice.getrandbits(32)))
    return sorted(found)


def changes(epoch: Epoch, state: State, *, sector: int) -> list[Write]:
    """What to write on the disk of the epoch's beginning, in order, to have the state."""
    writes = epoch.writes[: state.cut]
    if state.kind == "drop":
        return [write for number, write in enumerate(writes) if number != state.choice]
    if state.kind == "keep":
        return [writes[state.choice]]
    if state.kind == "some":
        return _some(writes, state.choice)
    if state.kind in TORN:
        return [*writes[:-1], *_tear(writes[-1], state, sector)]
    return list(writes)


def _some(writes: Sequence[Write], seed: int) -> list[Write]:
    dice = random.Random(seed)
    share = dice.choice((0.1, 0.5, 0.5, 0.9))
    return [piece for write in writes for piece in _pieces(write) if dice.random() < share]


def _pieces(write: Write) -> Iterator[Write]:
    for start in range(0, len(write.data), BLOCK):
        yield Write(write.offset + start, write.data[start : start + BLOCK])


def _tear(write: Write, state: State, sector: int) -> Iterator[Write]:
    yield Write(write.offset, write.data[: state.choice])
    if state.kind == "garbled":
        # One sector is caught in the middle; those behind it have not been touched.
        garbage = random.Random(state.choice).randbytes(min(sector, len(write.data) - state.choice))
        yield Write(write.offset + state.choice, garbage)
