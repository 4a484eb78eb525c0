"""Tables of a document become the values of the schema, one key at a time.

Pure. The reader looks at every key even after it has found a wrong one, so that
the author of a document learns of all problems at once. It never puts a value
into a message that could be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar, get_args, get_origin

import msgspec

from orlop.config.annotate import CHECK, split_annotations
from orlop.config.durations import Duration
from orlop.config.keys import Key, show
from orlop.errors import InvalidArgument

T = TypeVar("T", bound=msgspec.Struct)

_ITEM = re.compile(r" - at `\$.*`$")


@dataclass(frozen=True, slots=True)
class Problem:
    """A key whose value cannot be used, and why."""

    key: Key
    cause: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A key that nobody reads; ``nearest`` is the one that may be meant, "" if none is near."""

    key: Key
    nearest: str = ""

    def __str__(self) -> str:
        text = f"{show(self.key)}: unknown key, ignored"
        return f"{text}; did you mean {self.nearest}?" if self.nearest else text


class Decoder:
    """Reads tables and gathers what is wrong with them.

    Attributes:
        problems: wrong values, in the order of the schema.
        unknown: keys that the schema does not have.
    """

    __slots__ = ("problems", "unknown")

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.unknown: list[Unknown] = []

    def struct(
        self,
        kind: type[T],
        table: object,
        *,
        key: Key,
        ignored: frozenset[str] = frozenset(),
        hidden: frozenset[str] = frozenset(),
    ) -> T:
        """Read a table; keys that are absent or wrong have their defaults.

        Args:
            kind: the struct to make.
            table: what stands in the document.
            key: where it stands.
            ignored: further keys that are somebody else's.
            hidden: fields that are no keys.
        """
        if not isinstance(table, Mapping):
            self._refuse(key, f"expected a table, got {_kind_of(table)}")
            return kind()
        found: dict[str, object] = {}
        fields = {
            field.name: field
            for field in msgspec.structs.fields(kind)
            if field.name not in ignored | hidden
        }
        for name, field in fields.items():
            if name in table:
                default = field.default_factory() if _is_set(field.default_factory) else None
                read = self._value(field.type, table[name], key=(*key, name), default=default)
                if read is not msgspec.UNSET:
                    found[name] = read
        for name in table:
            if name not in fields and name not in ignored:
                nearest = get_close_matches(name, [*fields, *sorted(ignored)], 1)
                self.unknown.append(Unknown((*key, name), nearest[0] if nearest else ""))
        return kind(**found)

    def _value(self, kind: object, raw: object, *, key: Key, default: object = None) -> object:
        """One value of any kind; ``UNSET`` when it is wrong."""
        bare, metas = split_annotations(kind)
        count = len(self.problems)
        value: object
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
            value = self.struct(bare, raw, key=key)
        elif get_origin(bare) is Mapping:
            value = self._mapping(bare, raw, key=key, default=default)
        elif get_origin(bare) is tuple:
            value = self._list(bare, raw, key=key)
        elif bare is Duration:
            value = self._duration(raw, key=key)
        else:
            value = self._scalar(kind, raw, key=key)
        if len(self.problems) > count:
            return msgspec.UNSET
        self._check(metas, value, key=key)
        return value if len(self.problems) == count else msgspec.UNSET

    def _mapping(self, kind: object, raw: object, *, key: Key, default: object) -> object:
        """A table with names of the author's choice; laid over the default one."""
        if not isinstance(raw, Mapping):
            return self._refuse(key, f"expected a table, got {_kind_of(raw)}")
        name_kind, value_kind = get_args(kind)
        names = split_annotations(name_kind)[1]
        found = dict(default) if isinstance(default, Mapping) else {}
        for name, value in raw.items():
            self._check(names, name, key=(*key, name))
            found[name] = self._value(value_kind, value, key=(*key, name))
        return found

    def _list(self, kind: object, raw: object, *, key: Key) -> object:
        if not isinstance(raw, list | tuple):
            return self._refuse(key, f"expected an array, got {_kind_of(raw)}")
        item_kind = get_args(kind)[0]
        return tuple(
            self._value(item_kind, item, key=(*key, str(number))) for number, item in enumerate(raw)
        )

    def _duration(self, raw: object, *, key: Key) -> object:
        if isinstance(raw, Duration):
            return raw
        if not isinstance(raw, str):
            hint = 'write it with its unit and in quotes, such as "5m0s"'
            return self._refuse(key, f"expected a duration, got {_kind_of(raw)}", hint)
        try:
            return Duration.parse(raw)
        except InvalidArgument as error:
            return self._refuse(key, error.message, error.hint)

    def _scalar(self, kind: object, raw: object, *, key: Key) -> object:
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            return self._refuse(key, _lower(_ITEM.sub("", str(error)).replace("`", "")))

    def _check(self, metas: tuple[msgspec.Meta, ...], value: object, *, key: Key) -> None:
        for meta in metas:
            check = (meta.extra or {}).get(CHECK)
            if check is None:
                continue
            try:
                check(value)
            except InvalidArgument as error:
                self._refuse(key, error.message, error.hint)

    def _refuse(self, key: Key, cause: str, hint: str = "") -> object:
        self.problems.append(Problem(key, cause, hint))
        return msgspec.UNSET


def section(kind: type[T], table: object, *, key: Key = ()) -> T:
    """Read one table that somebody else's schema describes, such as a plugin's.

    Args:
        kind: a frozen ``msgspec.Struct`` whose fields all have defaults,
            annotated as ``orlop.config.annotate`` tells.
        table: what stands in the document.
        key: where it stands, for messages.

    Raises:
        InvalidArgument: a value is wrong, or a key is unknown.
    """
    decoder = Decoder()
    value = decoder.struct(kind, table, key=key)
    for problem in decoder.problems:
        raise InvalidArgument(f"{show(problem.key)}: {problem.cause}", hint=problem.hint)
    for unknown in decoder.unknown:
        raise InvalidArgument(str(unknown))
    return value


def check(value: T) -> T:
    """Judge a hand-made value as if it had come from a document.

    Raises:
        InvalidArgument: one of its fields is out of its range or malformed.
    """
    return section(type(value), _as_table(value))


def _as_table(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return {name: _as_table(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {name: _as_table(item) for name, item in value.items()}
    return value


def _is_set(factory: object) -> bool:
    return factory is not msgspec.NODEFAULT


def _kind_of(value: object) -> str:
    names = {dict: "table", list: "array", bool: "boolean", str: "string", int: "number"}
    return f"a {names.get(type(value), type(value).__name__)}".replace("a array", "an array")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
