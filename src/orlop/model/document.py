"""JSON documents of images, read so strictly that all readers agree.

Documents are foreign input that several programs read, each with habits of its
own: the last of two equal keys wins here, the first there, and some ignore the
case of keys. A document that could be understood in two ways is refused, and so
is one that no honest tool writes (I-JSON, RFC 7493; considerations.md of the
OCI image specification).

``decode`` turns bytes into a ``Node``; nodes hand out typed fields and know
where they are, for the message. What a document means, other modules say.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from orlop.errors import (
    InvalidReference,
    LimitExceeded,
    ManifestInvalid,
    UnsupportedMediaType,
)
from orlop.model.digest import HEX_LENGTHS, Digest
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OPENING: Final = frozenset(b"[{")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_SURROGATE: Final = re.compile(rb"%b(?!%b)|%b(?<!%b%b)" % (_HIGH, _LOW, _LOW, _HIGH, _LOW))
_ALGORITHM: Final = re.compile(r"[a-z0-9]+(?:[-+._][a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Node:
    """One JSON object of a document.

    An absent field and ``null`` are the same: several tools write one for the other.

    Attributes:
        fields: its members.
        path: where it is, such as ``manifest.layers[3]``.
    """

    fields: Mapping[str, object]
    path: str

    def expect(self, *names: str) -> None:
        """Refuse members that differ from the expected ones in case only.

        Readers that ignore case would take them for the expected ones.

        Raises:
            ManifestInvalid: there is such a member.
        """
        known = {name.casefold(): name for name in names}
        for key in self.fields:
            name = known.get(key.casefold(), key)
            if name != key:
                raise ManifestInvalid(f"{self.path} has {quote(key)} where only {name!r} may be")

    def has(self, key: str) -> bool:
        """Tell whether the field is there and not null."""
        return self.fields.get(key) is not None

    def text(self, key: str) -> str:
        """Return a string; "" if there is none."""
        value = self.fields.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            self._refuse(key, "is no string")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings; empty if there is none."""
        values = self._list(key)
        for position, value in enumerate(values):
            if not isinstance(value, str):
                self._refuse(f"{key}[{position}]", "is no string")
        return tuple(value for value in values if isinstance(value, str))

    def integer(self, key: str) -> int:
        """Return a whole number; it must be there."""
        value = self.fields.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            self._refuse(key, "is missing" if value is None else "is no whole number")
        return value

    def digest(self, key: str) -> Digest:
        """Return a digest; it must be there.

        Raises:
            UnsupportedMediaType: it is well formed, but of an algorithm nobody registered.
            ManifestInvalid: it is no digest.
        """
        return _digest(self.text(key), f"{self.path}.{key}")

    def digests(self, key: str) -> tuple[Digest, ...]:
        """Return a list of digests; raises as ``digest`` does."""
        return tuple(
            _digest(text, f"{self.path}.{key}[{position}]")
            for position, text in enumerate(self.texts(key))
        )

    def node(self, key: str) -> Node | None:
        """Return an object; None if there is none."""
        value = self.fields.get(key)
        return None if value is None else self._node(key, value)

    def nodes(self, key: str, *, most: int, limit: str) -> tuple[Node, ...]:
        """Return a list of objects; empty if there is none.

        Args:
            key: the field.
            most: how many there may be.
            limit: the field of ``Limits`` that says so.

        Raises:
            LimitExceeded: there are more.
        """
        values = self._list(key)
        if len(values) > most:
            raise LimitExceeded(
                f"{self.path}.{key} has {len(values)} entries, more than {most}", limit=limit
            )
        return tuple(
            self._node(f"{key}[{position}]", value) for position, value in enumerate(values)
        )

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object whose members are strings (or null, which is ""); empty if none."""
        node = self.node(key)
        if node is None:
            return {}
        members: dict[str, str] = {}
        for name, value in node.fields.items():
            if value is not None and not isinstance(value, str):
                raise ManifestInvalid(f"{node.path} has a member {quote(name)} that is no string")
            members[name] = value or ""
        return members

    def names(self, key: str) -> tuple[str, ...]:
        """Return the sorted member names of an object that serves as a set."""
        node = self.node(key)
        return () if node is None else tuple(sorted(node.fields))

    def _list(self, key: str) -> Sequence[object]:
        value = self.fields.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self._refuse(key, "is no list")
        return value

    def _node(self, key: str, value: object) -> Node:
        if not isinstance(value, dict):
            self._refuse(key, "is no object")
        return Node(value, f"{self.path}.{key}")

    def _refuse(self, key: str, cause: str) -> NoReturn:
        raise ManifestInvalid(f"{self.path}.{key} {cause}")


def decode(raw: bytes, name: str, limits: Limits = DEFAULTS) -> Node:
    """Read a document; takes time in proportion to its length.

    Args:
        raw: the whole document; the caller has checked its length.
        name: what to call it in messages, such as ``manifest``.
        limits: those of JSON.

    Raises:
        ManifestInvalid: it is no object in strict JSON and UTF-8, has equal keys, lone
            surrogates, a byte order mark, NaN, or numbers or nesting beyond the limits.
    """
    value = _load(raw, name, limits)
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{name} is no JSON object")
    return Node(value, name)


def decode_list(
    raw: bytes, name: str, limits: Limits = DEFAULTS, *, most: int, limit: str
) -> tuple[Node, ...]:
    """Read a document that is a list of objects.

    Args:
        raw: as for ``decode``.
        name: as for ``decode``.
        limits: as for ``decode``.
        most: how many objects there may be.
        limit: the field of ``Limits`` that says so.

    Raises:
        ManifestInvalid: as ``decode``, with a list in the object's place.
        LimitExceeded: there are more.
    """
    value = _load(raw, name, limits)
    if not isinstance(value, list):
        raise ManifestInvalid(f"{name} is no JSON list")
    return Node({"entries": value}, name).nodes("entries", most=most, limit=limit)


def _load(raw: bytes, name: str, limits: Limits) -> object:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ManifestInvalid(f"{name} is not UTF-8 (byte {error.start})") from error
    _check_structure(raw, name, limits)
    try:
        value: object = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        raise ManifestInvalid(f"{name} is not JSON: {error.msg} (character {error.pos})") from error
    except _AmbiguousError as error:
        raise ManifestInvalid(f"{name} {error}") from error
    return value


class _AmbiguousError(Exception):
    """JSON that parsers read differently; told from inside the parser."""


def _check_structure(raw: bytes, name: str, limits: Limits) -> None:
    """Refuse what would overtax the JSON parser, or what it would let pass."""
    unescaped = raw.replace(b"\\\\", b"__")
    if _LONE_SURROGATE.search(unescaped):
        raise ManifestInvalid(f"{name} has half of a surrogate pair")
    outside_strings = b" ".join(unescaped.replace(b'\\"', b"__").split(b'"')[::2])
    if re.search(rb"(?:^|[^0-9.])[0-9]{%d}" % (limits.json_digits + 1), outside_strings):
        raise ManifestInvalid(f"{name} has an integer of more than {limits.json_digits} digits")
    brackets = outside_strings.translate(None, _NOT_BRACKETS)
    if len(brackets) > 2 * limits.json_containers:
        raise ManifestInvalid(f"{name} has more than {limits.json_containers} objects and lists")
    depth = 0
    for byte in brackets:
        depth += 1 if byte in _OPENING else -1
        if depth > limits.json_depth:
            raise ManifestInvalid(f"{name} is nested deeper than {limits.json_depth} levels")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _AmbiguousError(f"has the key {quote(key)} twice")
        seen.add(key)
    return members


def _refuse_constant(constant: str) -> NoReturn:
    raise _AmbiguousError(f"has {constant}, which is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _AmbiguousError(f"has the number {quote(text)}, which no computer holds")
    return number


def _digest(text: str, path: str) -> Digest:
    algorithm, _, _ = text.partition(":")
    if algorithm not in HEX_LENGTHS and ":" in text and _ALGORITHM.fullmatch(algorithm):
        raise UnsupportedMediaType(f"{path} has the unsupported algorithm {quote(algorithm)}")
    try:
        return Digest.parse(text)
    except InvalidReference as error:
        raise ManifestInvalid(f"{path}: {error.message}", hint=error.hint) from error
