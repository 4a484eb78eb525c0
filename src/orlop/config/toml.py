"""Values and documents as TOML text. Pure.

Only commands that print documents need this module; it imports a TOML library that
the daemon does without.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import tomlkit

from orlop.config.keys import is_bare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orlop.config.keys import Key


def dotted(key: Key) -> str:
    """A key as TOML writes it. Unlike ``keys.show`` it hides nothing."""
    return ".".join(name if is_bare(name) else _quoted(name) for name in key)


def inline(value: object) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        pairs = (f"{dotted((name,))} = {inline(item)}" for name, item in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, str):
        return _quoted(value)
    return tomlkit.item(value).as_string()


def dumps(document: Mapping[str, object], comment: Callable[[Key], str] | None = None) -> str:
    """A whole document, each table under its own header.

    Args:
        document: plain values, as a TOML parser makes them.
        comment: what to say behind the value of a key, or behind the header of a table
            with nothing in it; "" is nothing.
    """
    return "\n".join(_table(document, (), comment)).strip() + "\n"


def _table(
    table: Mapping[str, object], key: Key, comment: Callable[[Key], str] | None
) -> Iterator[str]:
    values = {name: value for name, value in table.items() if not isinstance(value, dict)}
    if key and (values or not table):
        yield _with(f"[{dotted(key)}]", comment(key) if comment and not table else "")
    for name, value in values.items():
        line = f"{dotted((name,))} = {inline(value)}"
        yield _with(line, comment((*key, name)) if comment else "")
    if values or not table:
        yield ""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _table(value, (*key, name), comment)


def _with(line: str, comment: str) -> str:
    return f"{line} # {comment}" if comment else line


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON lets stand.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
