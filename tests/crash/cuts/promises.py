"""What a store has promised at an instant, from the marks that came before it. Pure.

A mark says that a change of a name has begun or was acknowledged. What was acknowledged
must be there; what has begun may be there, whole, or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NOTHING: Final = "nothing"
"""Instead of an id: the name is removed."""


def begin(name: str, id_: str) -> str:
    """A change has begun: the name will mean ``id_``."""
    return f"begin {name} {id_}"


def done(name: str, id_: str) -> str:
    """A change was acknowledged."""
    return f"done {name} {id_}"


def promised(marks: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """For each name the ids that it may have now; ``NOTHING`` is for none.

    Raises:
        ValueError: a mark makes no sense.
    """
    allowed: dict[str, frozenset[str]] = {}
    for mark in marks:
        word, name, id_ = mark.split(" ")
        if word == "begin":
            allowed[name] = allowed.get(name, frozenset({NOTHING})) | {id_}
        elif word == "done":
            allowed[name] = frozenset({id_})
        else:
            raise ValueError(f"no such mark: {mark}")
    return allowed


def promised_between(before: Sequence[str], after: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """The same for an instant between two looks at the marks; ``after`` goes on from ``before``."""
    allowed: dict[str, frozenset[str]] = dict(promised(before))
    for count in range(len(before), len(after)):
        for name, ids in promised(after[: count + 1]).items():
            allowed[name] = allowed.get(name, frozenset({NOTHING})) | ids
    return allowed


def broken(allowed: Mapping[str, frozenset[str]], listed: Mapping[str, str]) -> list[str]:
    """One line for each name that means what it must not mean."""
    problems = []
    for name in sorted(allowed.keys() | listed.keys()):
        may = allowed.get(name, frozenset({NOTHING}))
        found = listed.get(name, NOTHING)
        if found not in may:
            problems.append(f"{name} is {found}, not {' or '.join(sorted(may))}")
    return problems
