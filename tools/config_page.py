#!/usr/bin/env python3
"""Writes the tables of keys at the end of docs/configuration.md."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "configuration.md"

MARK: Final = "<!-- From here on `make docs` writes this page. -->\n"


def page() -> str:
    """The page as it should be."""
    sys.path.insert(0, str(ROOT))
    from orlop.config.text import reference
    from tests.effects import EFFECTS

    written, mark, _ = PAGE.read_text().partition(MARK)
    if not mark:
        raise SystemExit(f"{PAGE}: the line {MARK.strip()!r} is missing")
    return f"{written}{mark}\n{reference(EFFECTS)}"


if __name__ == "__main__":
    PAGE.write_text(page())
