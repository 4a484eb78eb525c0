"""Every key that rules how images are pulled and kept has a test of what it does."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from orlop.config.keys import GRPC, METRICS
from orlop.config.sections import BUILTIN_SECTIONS
from orlop.config.text import explained
from tests.effects import EFFECTS

ROOT = Path(__file__).parents[3]
# The daemon's own sections have no part in a pull.
SECTIONS = [section.key for section in BUILTIN_SECTIONS if section.key not in (GRPC, METRICS)]


def keys() -> set[tuple[str, str]]:
    """Section and key of all that must be shown."""
    found = {(one.key[1], ".".join(one.key[2:])) for one in explained() if one.key[:2] in SECTIONS}
    top = {("", ".".join(one.key)) for one in explained() if one.key[0] == "stream_processors"}
    return found | top


def test_every_key_has_its_test() -> None:
    shown = {(section, key) for section, tests in EFFECTS.items() for key in tests}
    assert keys() - shown == set()
    known = {(one.key[1], ".".join(one.key[2:])) for one in explained() if len(one.key) > 2}
    assert shown - known - keys() == set()


@pytest.mark.parametrize("named", sorted({t for tests in EFFECTS.values() for t in tests.values()}))
def test_the_test_exists(named: str) -> None:
    path, _, function = named.partition("::")
    assert function.rpartition("::")[2] in functions(path)


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def test_a_key_that_claims_no_effect_is_the_only_one_whose_test_shows_none() -> None:
    for one in explained():
        if one.key[:2] in SECTIONS:
            test = EFFECTS.get(one.key[1], {}).get(".".join(one.key[2:]), "")
            claims_none = one.meaning.startswith("Accepted and without effect")
            assert claims_none == test.endswith("::test_a_key_without_effect_is_accepted"), one
