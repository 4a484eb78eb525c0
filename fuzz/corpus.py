"""The inputs that are kept: seeds, and what reached code that no seed reaches.

A file of ``fuzz/corpus/TARGET`` is one input, named by the start of its SHA-256.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fuzz.seeds import seeds
from fuzz.targets import TARGETS

if TYPE_CHECKING:
    from types import CodeType, FrameType

CORPUS: Final = Path(__file__).parent / "corpus"

MOST_INPUTS: Final = 150
MOST_BYTES: Final = 16 << 10


def inputs(name: str) -> list[bytes]:
    """The seeds and the kept inputs of a target."""
    kept = sorted((CORPUS / name).glob("*"))
    return [*seeds()[name], *(path.read_bytes() for path in kept)]


def keep(name: str, found: Path) -> int:
    """Add those inputs of ``found`` that reach a line that no kept one reaches; the shortest first.

    Returns:
        How many were added.
    """
    reached: set[tuple[CodeType, int]] = set()
    for data in inputs(name):
        reached |= lines_of(name, data)
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    room = MOST_INPUTS - len(list((CORPUS / name).iterdir()))
    added = 0
    for path in sorted(found.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        data = path.read_bytes()
        if added >= room or len(data) > MOST_BYTES:
            break
        lines = lines_of(name, data)
        if not lines <= reached:
            reached |= lines
            added += 1
            (CORPUS / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return added


def lines_of(name: str, data: bytes) -> set[tuple[CodeType, int]]:
    """The lines of orlop that an input reaches."""
    lines: set[tuple[CodeType, int]] = set()

    def trace(frame: FrameType, event: str, _: object) -> object:
        if "/orlop/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines.add((frame.f_code, frame.f_lineno))
        return trace

    sys.settrace(trace)  # type: ignore[arg-type] # the stub knows the exact type of a tracer only
    try:
        TARGETS[name](data)
    finally:
        sys.settrace(None)
    return lines
