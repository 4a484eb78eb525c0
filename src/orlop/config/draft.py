"""A configuration document under change, and what was done to it.

Pure. Steps of a migration work on a ``Draft``: they move, copy and drop keys. The
draft notes each change for the report and remembers where the value was written.
Nothing is overwritten: what is at the new place already wins.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from orlop.config.keys import Key, Where, origin_of, show
from orlop.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

Table = dict[str, object]
ChangeKind = Literal["moved", "renamed", "copied", "dropped", "conflict", "kept"]

CURRENT_VERSION = 4
"""The newest version of the format, counted as containerd does."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a migration did.

    Attributes:
        kind: ``moved``, ``renamed`` and ``copied`` have a ``new`` key; ``kept`` is
            the runtime's, at ``new``; ``dropped`` has no new key; ``conflict``
            means that ``old`` lost against ``new``.
        reason: why it was dropped or lost; "" where that is plain.
        where: where ``old`` was written.
        loses: whether a value is gone that said something.
    """

    kind: ChangeKind
    old: Key
    new: Key = ()
    reason: str = ""
    where: Where = field(default=Where("", 0, ()), compare=False)
    loses: bool = False

    def __str__(self) -> str:
        text = f"{self.kind}: {show(self.old)}"
        if self.new and self.new != self.old:
            text += f" -> {show(self.new)}"
        return f"{text} ({self.reason})" if self.reason else text


@dataclass(slots=True)
class Draft:
    """A document under change, and the list of what was done to it.

    Attributes:
        document: the document, as it is now.
        origins: where its keys were written.
        changes: what was done so far.
    """

    document: Table
    origins: dict[Key, Where] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def table(self, key: Key) -> Table | None:
        """The table at ``key``; None if there is none, or something else stands there."""
        table: object = self.document
        for name in key:
            table = table.get(name) if isinstance(table, dict) else None
        return table if isinstance(table, dict) else None

    def move(self, old: Key, new: Key) -> None:
        """Move a value, or merge a table into one that exists; what is at ``new`` wins."""
        self._move("moved" if old[-1] == new[-1] else "renamed", old, new)

    def keep(self, old: Key, new: Key) -> None:
        """As ``move``, of what is the runtime's; both keys may be the same."""
        if old != new:
            self._move("kept", old, new)
        elif old[-1] in (self.table(old[:-1]) or ()):
            self.report("kept", old, new)

    def copy(self, old: Key, new: Key) -> None:
        """Copy a value unless ``new`` has one already."""
        parent = self.table(old[:-1])
        if parent is None or old[-1] not in parent:
            return
        place = self.table(new[:-1])
        if place is None or new[-1] not in place:
            self._put("copied", old, new, copy.deepcopy(parent[old[-1]]))

    def drop(self, key: Key, reason: str) -> None:
        """Remove a value that has no meaning any more."""
        parent = self.table(key[:-1])
        if parent is not None and key[-1] in parent:
            loses = not _is_empty(parent.pop(key[-1]))
            self.report("dropped", key, reason=reason, loses=loses)

    def drop_empty(self, key: Key) -> None:
        """Remove a table that nothing is left in."""
        parent = self.table(key[:-1])
        if parent is not None and parent.get(key[-1]) == {}:
            del parent[key[-1]]

    def report(
        self, kind: ChangeKind, old: Key, new: Key = (), *, reason: str = "", loses: bool = False
    ) -> None:
        """Note a change."""
        where = origin_of(old, self.origins)
        self.changes.append(Change(kind, old, new, reason, where, loses))

    def _no_table(self, key: Key) -> ConfigInvalid:
        where = origin_of(key, self.origins)
        place = f"{where}: " if where.path else ""
        return ConfigInvalid(f"{place}{show(where.key)}: expected a table")

    def _move(self, kind: ChangeKind, old: Key, new: Key) -> None:
        parent = self.table(old[:-1])
        if parent is None or old[-1] not in parent:
            return
        value = parent[old[-1]]
        if isinstance(value, dict) and self.table(new) is not None:
            for name in list(value):
                self._move(kind, (*old, name), (*new, name))
            del parent[old[-1]]
            return
        del parent[old[-1]]
        self._put(kind, old, new, value)

    def _put(self, kind: ChangeKind, old: Key, new: Key, value: object) -> None:
        parent = self.document
        for length, name in enumerate(new[:-1], start=1):
            child = parent.setdefault(name, {})
            if not isinstance(child, dict):
                raise self._no_table(new[:length])
            parent = child
        if new[-1] not in parent:
            parent[new[-1]] = value
            self.report(kind, old, new)
            for below in _keys_of(value):
                self.origins[new + below] = origin_of(old + below, self.origins)
            if kind != "copied":
                for below in _keys_of(value):
                    self.origins.pop(old + below, None)
        elif parent[new[-1]] != value:
            reason = "the newer key is set too and wins"
            self.report("conflict", old, new, reason=reason, loses=True)
        else:
            self.report("dropped", old, reason="the newer key says the same")


def _is_empty(value: object) -> bool:
    """Whether a value says nothing: none of Go's types has another default."""
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    return not value


def _keys_of(value: object, above: Key = ()) -> Iterator[Key]:
    """The keys of a value and of all that is in it; elements have their numbers for names."""
    yield above
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _keys_of(child, (*above, name))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from _keys_of(child, (*above, str(number)))


Step: TypeAlias = Callable[[int, Draft], None]
"""Lifts what belongs to one section from version n (the first argument) to n + 1; pure."""
