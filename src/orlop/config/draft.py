"""A configuration document under change, and what was done to it.

Pure. Steps of a migration work on a ``Draft``: they move, copy and drop keys, and
the draft notes each change for the report. What is at the new place already wins.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from orlop.config.keys import Key, show
from orlop.errors import InvalidArgument

Table = dict[str, object]
ChangeKind = Literal["moved", "copied", "dropped", "conflict"]

CURRENT_VERSION = 4
"""The newest version of the format, counted as containerd does."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a migration did.

    Attributes:
        kind: ``moved`` and ``copied`` have a ``new`` key; ``dropped`` has none;
            ``conflict`` means that ``old`` lost against ``new``.
        reason: why it was dropped or lost; "" where that is plain.
    """

    kind: ChangeKind
    old: Key
    new: Key = ()
    reason: str = ""

    def __str__(self) -> str:
        text = f"{self.kind}: {show(self.old)}"
        if self.new:
            text += f" -> {show(self.new)}"
        return f"{text} ({self.reason})" if self.reason else text


@dataclass(slots=True)
class Draft:
    """A document under change, and the list of what was done to it."""

    document: Table
    changes: list[Change] = field(default_factory=list)

    def table(self, key: Key) -> Table | None:
        """The table at ``key``; None if there is none, or something else stands there."""
        table: object = self.document
        for name in key:
            table = table.get(name) if isinstance(table, dict) else None
        return table if isinstance(table, dict) else None

    def move(self, old: Key, new: Key, reason: str = "") -> None:
        """Move a value, or merge a table into one that exists; what is at ``new`` wins."""
        parent = self.table(old[:-1])
        if parent is None or old[-1] not in parent:
            return
        value = parent[old[-1]]
        target = self.table(new)
        if isinstance(value, dict) and target is not None:
            for name in list(value):
                self.move((*old, name), (*new, name), reason)
            parent.pop(old[-1])
            return
        parent.pop(old[-1])
        self._put("moved", old, new, value, reason)

    def copy(self, old: Key, new: Key) -> None:
        """Copy a value unless ``new`` has one already."""
        parent = self.table(old[:-1])
        if parent is None or old[-1] not in parent:
            return
        place = self.table(new[:-1])
        if place is None or new[-1] not in place:
            self._put("copied", old, new, copy.deepcopy(parent[old[-1]]), "")

    def drop(self, key: Key, reason: str) -> None:
        """Remove a value that has no meaning any more."""
        parent = self.table(key[:-1])
        if parent is not None and key[-1] in parent:
            del parent[key[-1]]
            self.changes.append(Change("dropped", key, reason=reason))

    def _put(self, kind: ChangeKind, old: Key, new: Key, value: object, reason: str) -> None:
        parent = self.document
        for length, name in enumerate(new[:-1], start=1):
            child = parent.setdefault(name, {})
            if not isinstance(child, dict):
                raise InvalidArgument(f"{show(new[:length])}: expected a table")
            parent = child
        if new[-1] not in parent:
            parent[new[-1]] = value
            self.changes.append(Change(kind, old, new, reason))
        elif parent[new[-1]] != value:
            self.changes.append(Change("conflict", old, new, "the newer key is set too and wins"))
        else:
            self.changes.append(Change("dropped", old, reason="the newer key says the same"))


Step: TypeAlias = Callable[[int, Draft], None]
"""Lifts what belongs to one section from version n (the first argument) to n + 1; pure."""
