"""Parses WWW-Authenticate and picks the challenge to answer (RFC 9110 11.6.1).

Pure, linear in the length of its input, and bounded: the header comes from a
server that nobody has authenticated yet.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from orlop.errors import RegistryProtocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_LENGTH: Final = 64 << 10
"""Characters of all WWW-Authenticate fields of an answer; real ones have some hundreds."""

MAX_CHALLENGES: Final = 16
"""Challenges in one answer; real answers have one to three."""

MAX_PARAMETERS: Final = 32
"""Parameters of one challenge; real ones have up to four."""

_TOKEN: Final = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")
_WORD: Final = _TOKEN | {"/"}  # token68 has the slash besides
_SPACE: Final = frozenset(" \t")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate that a server offers.

    ``scheme`` and the names of ``parameters`` are in lower case.
    """

    scheme: str
    parameters: Mapping[str, str]

    def get(self, name: str) -> str:
        """Value of a parameter; "" if it is missing."""
        return self.parameters.get(name, "")


def parse(values: Sequence[str]) -> tuple[Challenge, ...]:
    """All challenges of an answer, in order.

    Args:
        values: the WWW-Authenticate fields; each may hold several challenges.

    Raises:
        RegistryProtocol: a field is not well formed, or they are too long.
    """
    if sum(map(len, values)) > MAX_LENGTH:
        raise RegistryProtocol("WWW-Authenticate is too long")
    found: list[Challenge] = []
    for value in values:
        _Scanner(value).scan(found)
    return tuple(found)


def choose(challenges: Sequence[Challenge]) -> Challenge | None:
    """The challenge to answer: Bearer before Basic, None when there is neither."""
    for challenge in challenges:
        if challenge.scheme == "bearer" and challenge.get("realm"):
            return challenge
    for challenge in challenges:
        if challenge.scheme == "basic":
            return challenge
    return None


class _Scanner:
    """Walks over one field, once, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def scan(self, found: list[Challenge]) -> None:
        """Append the challenges of this field to ``found``."""
        parameters: dict[str, str] | None = None
        while self._skip(" \t,"):
            word = self._run(_WORD)
            if not word:
                raise _malformed("unexpected character")
            if self._value_follows():
                if parameters is None:
                    raise _malformed("parameter before any scheme")
                self._parameter(word, parameters)
            else:
                if len(found) >= MAX_CHALLENGES:
                    raise _malformed("too many challenges")
                parameters = {}
                found.append(Challenge(word.lower(), MappingProxyType(parameters)))
                self._skip_token68()

    def _parameter(self, name: str, parameters: dict[str, str]) -> None:
        if len(parameters) >= MAX_PARAMETERS:
            raise _malformed("too many parameters")
        self._skip(" \t")
        self._at += 1
        self._skip(" \t")
        value = self._quoted() if self._peek() == '"' else self._run(_WORD | {":", "="})
        # A name that comes twice could be read differently by others.
        if parameters.setdefault(name.lower(), value) != value:
            raise _malformed("a parameter comes twice")

    def _value_follows(self) -> bool:
        """True at ``= value``; False at the padding of a token68 and everywhere else."""
        at = self._after_space(self._at)
        if self._text[at : at + 1] != "=":
            return False
        at = self._after_space(at + 1)
        following = self._text[at : at + 1]
        return following == '"' or following in _WORD

    def _skip_token68(self) -> None:
        """Move past ``YIIK==`` in ``Negotiate YIIK==``; nobody here answers such a scheme."""
        start = self._at
        self._skip(" \t")
        if self._run(_WORD) and not self._value_follows():
            self._skip("=")
        else:
            self._at = start

    def _quoted(self) -> str:
        self._at += 1
        pieces: list[str] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == '"':
                return "".join(pieces)
            if character == "\\":
                character = self._peek()
                self._at += 1
            pieces.append(character)
        raise _malformed("a quote is not closed")

    def _run(self, allowed: frozenset[str]) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] in allowed:
            self._at += 1
        return self._text[start : self._at]

    def _skip(self, characters: str) -> bool:
        """Move past ``characters``; False at the end of the text."""
        while self._at < len(self._text) and self._text[self._at] in characters:
            self._at += 1
        return self._at < len(self._text)

    def _after_space(self, at: int) -> int:
        while self._text[at : at + 1] and self._text[at] in _SPACE:
            at += 1
        return at

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]


def _malformed(why: str) -> RegistryProtocol:
    return RegistryProtocol(f"WWW-Authenticate is malformed: {why}")
