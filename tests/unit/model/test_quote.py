"""Foreign text in messages is escaped and cut."""

from __future__ import annotations

import pytest

from orlop.model.quote import quote


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "'plain'"),
        ("", "''"),
        ("two\nlines\x1b[31m", r"'two\nlines\x1b[31m'"),
        ("\u202eright to left", r"'\u202eright to left'"),
        ("\ud800", r"'\ud800'"),
    ],
)
def test_escapes(text: str, shown: str) -> None:
    assert quote(text) == shown


def test_cuts_and_says_so() -> None:
    assert quote("x" * 128) == "'" + "x" * 128 + "'"
    assert quote("x" * 129) == "'" + "x" * 128 + "'… (129 characters)"
