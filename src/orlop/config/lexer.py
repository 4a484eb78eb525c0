"""Where things stand in the text of a TOML document.

Pure. The text has been accepted by a TOML parser before; here it is only cut into
table headers and assignments, in one pass, without looking at what values mean.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from orlop.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sized

    from orlop.config.keys import Key

MAX_DEPTH: Final = 64
"""Levels of tables and arrays; real documents have eight."""

_NAME: Final = r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'"""
_NAMES: Final = re.compile(_NAME)
_DOTTED: Final = re.compile(rf"[ \t]*(?:{_NAME})(?:[ \t]*\.[ \t]*(?:{_NAME}))*[ \t]*")
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SCALAR: Final = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    # A date and its time may be parted by a space.
    r"|[^\s,\]}#]+(?: [0-9]{2}:[^\s,\]}#]+)?"
)


@dataclass(frozen=True, slots=True)
class Item:
    """A table header, or a key with its value.

    Attributes:
        kind: ``table`` for ``[key]``, ``array`` for ``[[key]]``, ``value`` for an
            assignment on a line of its own, ``inner`` for one inside another's value.
        key: the whole key; the number of an element stands for its name in an array.
        table: the key of the header that it stands under.
        line: its line, from 1.
        start: offset of its first character.
        value: offset of its value, of an assignment.
        end: offset behind it.
    """

    kind: Literal["table", "array", "value", "inner"]
    key: Key
    table: Key
    line: int
    start: int
    value: int
    end: int


def items(text: str) -> Iterator[Item]:
    """All headers and assignments, those inside of others' values before these others.

    Args:
        text: a valid document; of any other the part before the first fault.

    Raises:
        InvalidArgument: it is nested too deeply for those who will walk it; the
            message begins with the line.
    """
    try:
        yield from _Lexer(text).items()
    except (_Fault, IndexError):
        return


class _Fault(Exception):
    """The text is no TOML."""


class _Lexer:
    """A position in a text."""

    __slots__ = ("_counts", "_line", "_noted", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._line, self._noted = 1, 0
        # Elements so far of each array of tables.
        self._counts: dict[Key, int] = {}

    def items(self) -> Iterator[Item]:
        table: Key = ()
        at = self._blank(0)
        while at < len(self._text):
            line = self._line_at(at)
            if self._text[at] == "[":
                item = self._header(at, line)
                table = item.key
                yield item
            else:
                names, value = self._assigned(at)
                key = table + names
                end = yield from self._value(self._blank(value), key, table)
                item = Item("value", key, table, line, at, value, end)
                yield item
            at = self._blank(item.end)

    def _header(self, at: int, line: int) -> Item:
        double = self._text.startswith("[[", at)
        names, end = self._names(at + 1 + double)
        if not self._text.startswith("]]" if double else "]", end):
            raise _Fault
        key: Key = ()
        for name in names[:-1]:
            key = self._inside((*key, name))
        key = (*key, names[-1])
        if double:
            self._counts[key] = self._counts.get(key, 0) + 1
        key = self._inside(key)
        return Item("array" if double else "table", key, key, line, at, 0, end + 1 + double)

    def _inside(self, key: Key) -> Key:
        """The key itself, or that of the last element if it is an array of tables."""
        count = self._counts.get(key)
        return key if count is None else (*key, str(count - 1))

    def _value(self, at: int, key: Key, table: Key) -> Generator[Item, None, int]:
        """Pass one value; returns the offset behind it."""
        # Of each bracket that is open: what closes it, its key, its element's number.
        stack: list[tuple[str, Key, int]] = []
        while True:
            self._check_depth(key, at)
            char = self._text[at]
            if char in "[{":
                stack.append(("]" if char == "[" else "}", key, 0))
                at += 1
            else:
                at = self._scalar(at)
            while stack:
                at = self._blank(at)
                closing, above, number = stack[-1]
                if self._text[at] == closing:
                    at += 1
                    stack.pop()
                    continue
                if self._text[at] == ",":
                    at = self._blank(at + 1)
                    if self._text[at] == closing:
                        continue
                    number += 1
                    stack[-1] = (closing, above, number)
                if closing == "]":
                    key = (*above, str(number))
                    break
                line = self._line_at(at)
                names, value = self._assigned(at)
                key = above + names
                yield Item("inner", key, table, line, at, value, value)
                at = self._blank(value)
                break
            else:
                return at

    def _assigned(self, at: int) -> tuple[Key, int]:
        """The names before an equals sign, and the offset behind it."""
        names, end = self._names(at)
        if self._text[end] != "=":
            raise _Fault
        return names, end + 1

    def _names(self, at: int) -> tuple[Key, int]:
        found = _DOTTED.match(self._text, at)
        if found is None:
            raise _Fault
        names = _NAMES.findall(found[0])
        self._check_depth(names, at)
        return tuple(_unquoted(name) for name in names), found.end()

    def _check_depth(self, key: Sized, at: int) -> None:
        if len(key) > MAX_DEPTH:
            line = self._line_at(at)
            raise InvalidArgument(f"{line}: it is nested more than {MAX_DEPTH} levels deep")

    def _scalar(self, at: int) -> int:
        found = _SCALAR.match(self._text, at)
        if found is None:
            raise _Fault
        return found.end()

    def _blank(self, at: int) -> int:
        """The offset behind spaces, line ends and comments."""
        found = _BLANK.match(self._text, at)
        return found.end() if found else at

    def _line_at(self, at: int) -> int:
        """The line of an offset; offsets must not decrease from call to call."""
        self._line += self._text.count("\n", self._noted, at)
        self._noted = at
        return self._line


def _unquoted(name: str) -> str:
    if name.startswith("'"):
        return name[1:-1]
    if not name.startswith('"'):
        return name
    if "\\" not in name:
        return name[1:-1]
    return next(iter(tomllib.loads(f"{name} = 0")))
