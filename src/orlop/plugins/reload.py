"""A new configuration for running plugins: what changes, and what needs a restart.

Pure, up to the plugins' own ``Commit``s. Tables are compared key by key. A key
that some running plugin offers to change is applied by it; every other change
waits for a restart. Everything is prepared before anything is committed, so
that a value which one plugin refuses leaves all of them as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from orlop.plugins.registration import Commit, Hook

    Tables: TypeAlias = Mapping[str, msgspec.Struct]
    """Every table that somebody reads, by its name."""

    Key: TypeAlias = tuple[str, str]
    """A table, and a key in it with dots between the names of nested ones."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Keys whose values differ, in the order of the tables and their fields."""

    applied: tuple[Key, ...] = ()
    restart: tuple[Key, ...] = ()


def changes(old: Tables, new: Tables, hooks: Sequence[Hook]) -> Changes:
    """Compare two configurations.

    Args:
        old: what holds.
        new: what shall hold; a table that is missing in either is left out.
        hooks: what running plugins offer to change.
    """
    applied: list[Key] = []
    restart: list[Key] = []
    for table in old:
        if table not in new:
            continue
        for key in _differing(old[table], new[table]):
            takers = [hook for hook in hooks if hook.section == table and _offers(hook, key)]
            (applied if takers else restart).append((table, key))
    return Changes(tuple(applied), tuple(restart))


def in_force(old: Tables, new: Tables, applied: Iterable[Key]) -> dict[str, msgspec.Struct]:
    """The old tables with the new values of ``applied``, and of nothing else."""
    made = dict(old)
    for table, key in applied:
        made[table] = _with(made[table], new[table], key.split("."))
    return made


def prepare(found: Changes, tables: Tables, hooks: Sequence[Hook]) -> tuple[Commit, ...]:
    """Let every plugin judge its part of what changes.

    Args:
        found: what changes.
        tables: what will be in force.
        hooks: what running plugins offer to change.

    Returns:
        What puts all of it in force: call them all, none may fail.

    Raises:
        InvalidArgument: a plugin refuses; nothing has changed.
    """
    return tuple(
        hook.prepare(tables[hook.section])
        for hook in hooks
        if any(table == hook.section and _offers(hook, key) for table, key in found.applied)
    )


def _offers(hook: Hook, key: str) -> bool:
    return any(key == offered or key.startswith(f"{offered}.") for offered in hook.keys)


def _differing(old: msgspec.Struct, new: msgspec.Struct, above: str = "") -> Iterator[str]:
    for field in old.__struct_fields__:
        before, after = getattr(old, field), getattr(new, field)
        if before == after:
            continue
        if isinstance(before, msgspec.Struct) and type(before) is type(after):
            yield from _differing(before, after, f"{above}{field}.")
        else:
            yield f"{above}{field}"


def _with(old: msgspec.Struct, new: msgspec.Struct, path: list[str]) -> msgspec.Struct:
    """``old`` with one field, which may be in a struct inside it, as in ``new``."""
    field, *rest = path
    value = getattr(new, field)
    if rest:
        value = _with(getattr(old, field), value, rest)
    return msgspec.structs.replace(old, **{field: value})
