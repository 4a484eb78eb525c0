"""What one key means, and where its value comes from. Pure."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop.config.keys import show
from orlop.config.text import DEFAULT, Explained, document, explained
from orlop.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.config.keys import Key
    from orlop.config.load import Loaded
    from orlop.config.sections import Section


@dataclass(frozen=True, slots=True)
class Explanation:
    """A key in one configuration.

    Attributes:
        about: what the schema says of it.
        value: what holds, None for a key below a name of the operator's choice;
            secrets are hidden.
        source: ``FILE:LINE``, or "default".
    """

    about: Explained
    value: object
    source: str

    def plain(self) -> dict[str, object]:
        """As ``orlop config explain -o json`` prints it."""
        return {
            "key": show(self.about.key),
            "type": self.about.type,
            "default": self.about.default,
            "meaning": self.about.meaning,
            "value": self.value,
            "from": self.source,
        }

    def shown(self) -> str:
        """As ``orlop config explain`` prints it."""
        lines = [show(self.about.key), f"  {self.about.meaning}"]
        lines.append(f"  {self.about.type}, default {self.about.default}")
        if self.value is not None:
            lines.append(f"  is {json.dumps(self.value)} ({self.source})")
        return "\n".join(lines)


def explain(loaded: Loaded, text: str, more: Sequence[Section] = ()) -> list[Explanation]:
    """All keys that end with ``text``.

    Args:
        loaded: the configuration.
        text: a whole key, or its last names with dots between them.
        more: sections of third parties' plugins.

    Raises:
        NotFound: there is no such key; the hint has the nearest one.
    """
    every = explained(more)
    found = [one for one in every if text == show(one.key) or _ends_with(one.key, text)]
    if not found:
        names = [one.key[-1] for one in every]
        near = difflib.get_close_matches(text.rpartition(".")[2], names, n=1)
        hint = f"did you mean {near[0]}?" if near else "`orlop config default` has all keys"
        raise NotFound(f"there is no key {text!r}", hint=hint)
    whole = document(loaded.config, loaded.document, more)
    return [Explanation(one, _value(whole, one.key), _source(loaded, one.key)) for one in found]


def _ends_with(key: Key, text: str) -> bool:
    names = tuple(text.split("."))
    return key[-len(names) :] == names


def _value(whole: object, key: Key) -> object:
    for name in key:
        if not isinstance(whole, dict) or name not in whole:
            return None
        whole = whole[name]
    return whole


def _source(loaded: Loaded, key: Key) -> str:
    where = loaded.provenance.get(key)
    return DEFAULT if where is None else str(where)
