"""Show foreign text in a message: escaped, quoted, and never long.

Names, tags and JSON keys come from registries and users. A message is one line
on somebody's terminal, so control characters are escaped and the rest is cut.
Never use it for text that may hold a secret.
"""

from __future__ import annotations

from typing import Final

_SHOWN: Final = 128


def quote(text: str) -> str:
    """Return ``text`` as a quoted literal of at most about 128 characters.

    Args:
        text: anything, lone surrogates included.
    """
    if len(text) > _SHOWN:
        return f"{text[:_SHOWN]!a}… ({len(text)} characters)"
    return ascii(text)
