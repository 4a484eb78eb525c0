"""Bytes of a TOML document become tables, or an error that names the file and the line.

Pure. Knows nothing of what the keys mean.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BYTES: Final = 1 << 20
"""Documents have some kilobytes; the cap stops a wrong path such as a device or a log."""

_MAX_DEPTH: Final = 64
_MAX_CAUSE: Final = 300
_POSITION: Final = re.compile(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)\Z")


def tables(data: bytes, *, path: str) -> tuple[str, dict[str, object]]:
    """The text of a document and what is in it.

    Args:
        data: UTF-8 text.
        path: what messages call it.

    Raises:
        InvalidArgument: it is no UTF-8, no TOML, or nested too deeply.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidArgument(f"{path}:{line}: not TOML: it is no UTF-8") from error
    try:
        document: dict[str, object] = tomllib.loads(text)
    except RecursionError as error:
        raise InvalidArgument(f"{path}: it is nested too deeply") from error
    except ValueError as error:
        # TOMLDecodeError, and what int() says of a number with thousands of digits.
        raise InvalidArgument(_syntax_error(str(error), text, path)) from error
    _check_depth(document, path)
    return text, document


def _check_depth(document: dict[str, object], path: str) -> None:
    """Refuse what would exhaust the stack of those who walk it later."""
    level: list[object] = [document]
    for _ in range(_MAX_DEPTH):
        level = [
            child for value in level for child in _children(value) if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise InvalidArgument(f"{path}: it is nested more than {_MAX_DEPTH} levels deep")


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _syntax_error(cause: str, text: str, path: str) -> str:
    """Move the position from the end of the parser's message to the front of ours."""
    position = _POSITION.search(cause)
    if position is None:
        return f"{path}: not TOML: {_one_line(cause)}"
    line = position[1] or text.count("\n") + 1
    return f"{path}:{line}: not TOML: {_one_line(cause[: position.start()])}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_MAX_CAUSE]
