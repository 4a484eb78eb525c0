"""Every row of the table has a test, and every test has a row."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

from tests.hostile.rows import ROWS

HERE = Path(__file__)


def rows_by_test() -> dict[str, set[str]]:
    """Rows of each test function, from the ids of its parameters."""
    found: dict[str, set[str]] = {}
    for path in sorted(
        [*HERE.parent.glob("test_registry_*.py"), *HERE.parent.glob("test_cred*.py")]
    ):
        if path == HERE:
            continue
        module = importlib.import_module(f"tests.hostile.{path.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith("test_"):
                continue
            ids = [
                parameter.id or ""
                for mark in getattr(function, "pytestmark", [])
                if mark.name == "parametrize"
                for parameter in mark.args[1]
                if hasattr(parameter, "id")
            ]
            rows = {hit[0] for one in ids if (hit := re.match(r"[A-Z]\d\d", one))}
            found[f"{path.stem}::{name}"] = rows
    return found


def test_every_row_has_a_test() -> None:
    assert set().union(*rows_by_test().values()) == set(ROWS)


def test_every_test_has_a_row() -> None:
    assert [name for name, rows in rows_by_test().items() if not rows] == []
