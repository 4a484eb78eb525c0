"""Writes docs/threats.md: ``python -m tests.hostile.page``.

Rows come from ``tests.hostile.rows``, tests from the marker ``row`` of whatever test bears
it. Nothing is run for that: test modules are imported, and their marks are read.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.hostile.rows import GROUPS, ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "threats.md"
_MARKED: Final = re.compile(r"mark\.row|hostile\.site|hostile\.rows")
_INTRODUCTION: Final = """\
# Threats

What a registry, an image, a node or a neighbour can throw at orlop, and what happens then.
Each row has tests; this page is made from their marks with `make docs`.

Whatever is refused leaves nothing behind: nothing outside of the image's tree is changed,
no record, tree, blob, process or mount stays, the service works on, and the next good
image is pulled as if nothing had been.

The number of a row is the number of inputs that its tests try. The name of a test is
that of its file below `tests/`, and its own.
"""


class Shown(NamedTuple):
    """A test, and how many inputs it tries for a row."""

    test: str
    inputs: int


def shown_by() -> dict[str, list[Shown]]:
    """The tests of each row, by its id."""
    found: dict[str, list[Shown]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if not _MARKED.search(path.read_text()):
            continue
        name = path.relative_to(ROOT).with_suffix("")
        module = importlib.import_module(".".join(name.parts))
        shown = str(Path(*name.parts[1:]))
        for owner, members in _owners(module):
            for function, value in members.items():
                if function.startswith("test_"):
                    for row, count in _rows(value, owner).items():
                        found[row].append(Shown(f"{shown} {function}", count))
    return found


def _owners(module: object) -> Iterator[tuple[object, dict[str, object]]]:
    yield module, dict(vars(module))
    for name, value in vars(module).items():
        if name.startswith("Test") and isinstance(value, type):
            yield value, dict(vars(value))


def _rows(test: object, owner: object) -> Counter[str]:
    """How many inputs a test has for each of its rows."""
    own: list[pytest.Mark] = list(getattr(test, "pytestmark", []))
    inherited = getattr(owner, "pytestmark", []) if isinstance(owner, type) else []
    always = [row for mark in (*own, *inherited) if mark.name == "row" for row in mark.args]
    rows: Counter[str] = Counter()
    product = 1
    for mark in own:
        if mark.name != "parametrize":
            continue
        values = list(mark.args[1])
        product *= len(values)
        for value in values:
            for inner in getattr(value, "marks", ()):
                if inner.name == "row":
                    rows.update(inner.args)
    rows.update(dict.fromkeys(always, product))
    return rows


def page() -> str:
    """The page, as it has to be."""
    found = shown_by()
    lines = [_INTRODUCTION]
    for letter, group in GROUPS.items():
        lines += [f"## {group.title}\n", "| | What comes | What happens | Inputs | Tests |"]
        lines.append("|---|---|---|---|---|")
        for name, row in ROWS.items():
            if name[0] == letter:
                shown = found.get(name, [])
                names = "<br>".join(f"`{one.test}`" for one in shown)
                count = sum(one.inputs for one in shown)
                lines.append(f"| {name} | {row.comes} | {row.answer} | {count} | {names} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
