"""Every row has its tests, and the page says which."""

from __future__ import annotations

import re
from collections import Counter

from tests.hostile.page import PAGE, page, shown_by
from tests.hostile.rows import GROUPS, ROWS

INPUTS = 250
"""Of how many at least there are tests; there are more."""


def test_every_row_has_a_test_and_every_mark_a_row() -> None:
    assert sorted(shown_by()) == sorted(ROWS)


def test_the_rows_are_those_that_there_are() -> None:
    assert all(re.fullmatch(r"[A-Z]\d\d", name) for name in ROWS)
    assert Counter(name[0] for name in ROWS) == {
        letter: group.rows for letter, group in GROUPS.items()
    }


def test_there_are_many_inputs() -> None:
    count = Counter({row: sum(one.inputs for one in shown) for row, shown in shown_by().items()})
    print(f"{count.total()} inputs for {len(count)} rows")
    assert count.total() >= INPUTS
    assert min(count.values()) > 0


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "make docs"
