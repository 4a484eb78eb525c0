"""Bytes of a TOML document become tables, or an error that names the file and the line.

Pure. Knows nothing of what the keys mean.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Final

from orlop.config.keys import locate
from orlop.errors import ConfigInvalid, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.config.draft import Table
    from orlop.config.keys import Key

MAX_BYTES: Final = 1 << 20
"""Documents have some kilobytes; the cap stops a wrong path such as a log."""

_MAX_CAUSE: Final = 300
_LONG_NUMBER: Final = re.compile(r"[0-9][0-9_]{4000}")
_POSITION: Final = re.compile(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)\Z")


def tables(data: bytes, *, path: str) -> tuple[str, Table, Mapping[Key, int]]:
    """The text of a document, what is in it, and the lines of its keys.

    Args:
        data: UTF-8 text.
        path: what messages call it.

    Raises:
        ConfigInvalid: it is no UTF-8, no TOML, or nested too deeply.
    """
    text = _decoded(data, path)
    try:
        lines = locate(text)
        document: Table = tomllib.loads(text)
    except InvalidArgument as error:
        raise ConfigInvalid(f"{path}:{error.message}") from error
    except RecursionError as error:
        raise ConfigInvalid(f"{path}: it is nested too deeply") from error
    except ValueError as error:
        # TOMLDecodeError, and what int() says of a number with thousands of digits.
        raise ConfigInvalid(_syntax_error(str(error), text, path)) from error
    return text, document, lines


def _decoded(data: bytes, path: str) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigInvalid(f"{path}:{line}: not TOML: it is no UTF-8") from error
    if text.startswith("\ufeff"):
        raise ConfigInvalid(
            f"{path}:1: not TOML: it begins with a byte order mark",
            hint="save it as UTF-8 without a byte order mark",
        )
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigInvalid(f"{path}:{line}: not TOML: it has a null byte")
    return text


def _syntax_error(cause: str, text: str, path: str) -> str:
    """Move the position from the end of the parser's message to the front of ours."""
    position = _POSITION.search(cause)
    if position is None:
        number = _LONG_NUMBER.search(text)
        line = text.count("\n", 0, number.start()) + 1 if number else 1
        return f"{path}:{line}: not TOML: a number has too many digits"
    place = position[1] or text.count("\n") + 1
    return f"{path}:{place}: not TOML: {_one_line(cause[: position.start()])}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_MAX_CAUSE]
