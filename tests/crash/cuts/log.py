"""What a disk was told: writes, flushes, and marks of the test in between. Pure.

A record is one head (kind, offset, length) and the bytes that follow it. A flush asks
the disk to keep what was written before it; between two flushes lies an *epoch*, whose
writes a power cut may keep or lose one by one.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["write", "zero", "flush", "mark"]

_HEAD: Final = struct.Struct("<cQQ")
_CODES: Final[dict[Kind, bytes]] = {"write": b"W", "zero": b"Z", "flush": b"F", "mark": b"M"}
_KINDS: Final[dict[bytes, Kind]] = {code: kind for kind, code in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that go to an offset of the disk; both are whole sectors."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Epoch:
    """What happened between two flushes.

    Attributes:
        writes: in the order in which the disk got them.
        marks: texts, each with the number of writes of this epoch that came before it.
    """

    writes: tuple[Write, ...]
    marks: tuple[tuple[int, str], ...]

    def marks_before(self, cut: int) -> list[str]:
        """The marks that the test had made when ``cut`` writes had come, and no more."""
        return [text for _, text in self.marks[: bisect_right(self.marks, cut, key=_position)]]


def _position(mark: tuple[int, str]) -> int:
    return mark[0]


def record(kind: Kind, *, offset: int = 0, length: int = 0, data: bytes = b"") -> bytes:
    """One record; ``length`` is that of ``data``, or of a range of zeros."""
    return _HEAD.pack(_CODES[kind], offset, len(data) or length) + data


def parse(log: bytes) -> list[Epoch]:
    """The epochs of a log; the last one has no flush at its end.

    Raises:
        ValueError: it is no log, or ends in the middle of a record.
    """
    epochs: list[Epoch] = []
    writes: list[Write] = []
    marks: list[tuple[int, str]] = []
    for kind, offset, data in _records(log):
        if kind == "flush":
            epochs.append(Epoch(tuple(writes), tuple(marks)))
            writes, marks = [], []
        elif kind == "mark":
            marks.append((len(writes), data.decode()))
        else:
            writes.append(Write(offset, data))
    return [*epochs, Epoch(tuple(writes), tuple(marks))]


def _records(log: bytes) -> Iterator[tuple[Kind, int, bytes]]:
    position = 0
    while position < len(log):
        if position + _HEAD.size > len(log):
            raise ValueError("the log ends in the middle of a head")
        code, offset, length = _HEAD.unpack_from(log, position)
        position += _HEAD.size
        kind = _KINDS.get(code)
        if kind is None:
            raise ValueError(f"no such record: {code!r}")
        if kind == "zero":
            yield kind, offset, bytes(length)
            continue
        data = log[position : position + length]
        if len(data) < length:
            raise ValueError("the log ends in the middle of a record")
        position += length
        yield kind, offset, data
