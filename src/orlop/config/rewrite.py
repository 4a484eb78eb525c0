"""A migrated document as text that its author recognizes.

Pure. Comments, the order of keys and the way values were written are kept where the
document allows it: each key brings the comments above it and behind it to its new
place. What no line of the old text says is written anew.
"""

from __future__ import annotations

import sys
import tomllib
from typing import TYPE_CHECKING

from orlop.config.keys import leaves, origin_of
from orlop.config.lexer import Item, items
from orlop.config.toml import dotted, dumps, inline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.config.keys import Key
    from orlop.config.migrate import Migrated


def rewritten(text: str, written: Mapping[str, object], migrated: Migrated) -> str:
    """The text of a migrated document.

    Args:
        text: what the author wrote.
        written: what it says.
        migrated: what became of it; its origins tell the author's keys.
    """
    if written == migrated.document:
        return text
    for dots in (True, False):
        # Dots in keys can forbid a header that another key needs; then none are kept.
        result = _Writer(_Pieces(text), written, migrated, dots=dots).text()
        if _says(result, migrated.document):
            return result
    return dumps(migrated.document)


def _says(text: str, document: Mapping[str, object]) -> bool:
    try:
        return tomllib.loads(text) == document
    except tomllib.TOMLDecodeError:
        return False


class _Pieces:
    """The old text, taken apart.

    Attributes:
        headers: of tables, by their key.
        values: assignments, by their whole key.
        arrays: of each array of tables, all its tables as they are, comments included.
        first: where each array of tables begins.
        tail: what follows the last key.
    """

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._leads: dict[int, str] = {}
        self.headers: dict[Key, Item] = {}
        self.values: dict[Key, Item] = {}
        self.arrays: dict[Key, str] = {}
        self.first: dict[Key, int] = {}
        self.tail = self._text[self._cut() :]

    def _cut(self) -> int:
        """Note where everything stands; returns the offset behind the last key."""
        behind = 0
        array: Key | None = None
        for item in items(self._text):
            if item.kind == "inner":
                continue
            if array is not None and item.table[: len(array)] != array:
                array = None
            if array is None and item.kind == "array":
                array = item.key[:-1]
                self.first.setdefault(array, item.start)
            end = self._line_end(item.end)
            if array is not None:
                self.arrays[array] = self.arrays.get(array, "") + self._text[behind:end]
            else:
                self._leads[item.start] = self._text[behind : item.start]
                (self.headers if item.kind == "table" else self.values)[item.key] = item
            behind = end
        return behind

    def lead(self, item: Item | None) -> str:
        """The comments above a piece, and its indentation.

        What has been asked for the comments before gives the indentation alone.
        """
        if item is None:
            return ""
        lead = self._leads[item.start]
        self._leads[item.start] = lead[lead.rfind("\n") + 1 :]
        return lead

    def lead_of_header(self, header: Item | None) -> str:
        """As ``lead``, with the comments of tables around it that have gone elsewhere."""
        if header is None:
            return ""
        around = [self.headers.get(header.key[:length]) for length in range(1, len(header.key))]
        lead = ""
        for item in around:
            if item is not None and item.start < header.start:
                comments = self.lead(item)
                lead += comments[: comments.rfind("\n") + 1] if "#" in comments else ""
        return lead + self.lead(header)

    def value(self, item: Item) -> str:
        """A value as it was written."""
        return self._text[item.value : item.end].strip(" \t")

    def behind(self, item: Item | None) -> str:
        """What follows a piece on its line, and the line's end."""
        if item is None:
            return "\n"
        return self._text[item.end : self._line_end(item.end)].rstrip("\n") + "\n"

    def _line_end(self, at: int) -> int:
        end = self._text.find("\n", at)
        return len(self._text) if end < 0 else end + 1


class _Writer:
    """Puts the new text together, table by table."""

    def __init__(
        self,
        pieces: _Pieces,
        written: Mapping[str, object],
        migrated: Migrated,
        *,
        dots: bool,
    ) -> None:
        self._pieces = pieces
        self._old = written
        self._new = migrated
        self._dots = dots
        # The lines of each table of the new text, its header first.
        self._groups: dict[Key, list[str]] = {(): []}
        self._kept: set[tuple[Key, Key]] = set()

    def text(self) -> str:
        """The new text."""
        keys = [key for key, _ in leaves(self._new.document)]
        for key in sorted(keys, key=self._place):
            self._leaf(key)
        text = ""
        for lines in self._groups.values():
            group = "".join(lines)
            text += "\n" + group if text and group and not group.startswith("\n") else group
        return text.removeprefix("\n") + self._pieces.tail

    def _place(self, key: Key) -> int:
        """Where the old text says what is ``key`` today."""
        old = origin_of(key, self._new.origins).key
        if old in self._pieces.first:
            return self._pieces.first[old]
        item = self._item_around(old) or self._pieces.headers.get(old)
        if item is not None:
            return item.start
        return -1 if key == ("version",) else sys.maxsize

    def _leaf(self, key: Key) -> None:
        """Write one key of the new document."""
        old = origin_of(key, self._new.origins).key
        value = _at(self._new.document, key)
        if old in self._pieces.arrays and old == key and _at(self._old, old) == value:
            self._groups[key] = [self._pieces.arrays[old]]
            return
        item = self._item_around(old)
        if item is not None:
            inside = old[len(item.key) :]
            whole = key[: len(key) - len(inside)]
            moved_whole = whole + inside == key
            if moved_whole and _at(self._old, item.key) == _at(self._new.document, whole):
                self._keep(whole, item)
                return
        if value == {}:
            self._group(key, self._pieces.headers.get(old))
        else:
            self._write_anew(key, value, self._pieces.values.get(old))

    def _keep(self, key: Key, item: Item) -> None:
        """Write a value as it was written, once."""
        if (key, item.key) in self._kept:
            return
        self._kept.add((key, item.key))
        names = item.key[len(item.table) :]
        if not self._dots or key[len(key) - len(names) :] != names:
            names = key[-1:]
        self._line(key[: len(key) - len(names)], names, self._pieces.value(item), item)

    def _write_anew(self, key: Key, value: object, item: Item | None) -> None:
        """Write a value that is new or has changed; the comments around it stay."""
        self._line(key[:-1], key[-1:], inline(value), item)

    def _line(self, table: Key, names: Key, value: str, item: Item | None) -> None:
        group = self._group(table, self._pieces.headers.get(item.table) if item else None)
        lead, behind = self._pieces.lead(item), self._pieces.behind(item)
        group.append(f"{lead}{dotted(names)} = {value}{behind}")

    def _group(self, table: Key, header: Item | None) -> list[str]:
        """The lines of a table; the first one of an old header gets the comments above it."""
        if table not in self._groups:
            lead, behind = self._pieces.lead_of_header(header), self._pieces.behind(header)
            self._groups[table] = [f"{lead}[{dotted(table)}]{behind}"]
        return self._groups[table]

    def _item_around(self, key: Key) -> Item | None:
        """The assignment that ``key`` stands in."""
        for length in range(len(key), 0, -1):
            if key[:length] in self._pieces.values:
                return self._pieces.values[key[:length]]
        return None


def _at(document: Mapping[str, object], key: Key) -> object:
    value: object = document
    for name in key:
        value = value.get(name) if isinstance(value, dict) else None
    return value
