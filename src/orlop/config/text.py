"""Configurations as people and programs read them: default document, dump, reference.

Pure. All three are made from the schema, so that a key is explained in one
place. Secrets are left out of a dump.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from math import isfinite
from typing import TYPE_CHECKING, Literal, cast, get_args, get_origin

import msgspec

from orlop.config.annotate import split_annotations
from orlop.config.durations import Duration
from orlop.config.keys import GRPC, IMAGES, METRICS, Key, leaves, show
from orlop.config.schema import Config
from orlop.config.sections import BUILTIN_SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from msgspec.structs import FieldInfo

    from orlop.config.load import Loaded
    from orlop.config.sections import Section

HIDDEN = "(hidden)"
"""Stands in a dump where a secret would."""

DEFAULT = "default"
"""Stands for the place of a value that no document sets."""

_SECRETS = frozenset({"password", "auth", "identitytoken", "token", "secret"})
_TYPED = {"grpc": GRPC[1], "metrics": METRICS[1], "images": IMAGES[1]}
_NOT_IN_DOCUMENTS = frozenset({"sections", "plugins", *_TYPED})
_USERINFO = re.compile(r"//[^/@\s]*@")
_WIDTH = 92
_HEADER = """\
Configuration of orlop. Every key has its default here; a file needs only those that differ.
The format and the names are containerd's. Keys marked "orlop:" are not known to containerd.
"""


def default_text(more: Sequence[Section] = ()) -> str:
    """The default configuration with an explanation above each key; TOML that can be loaded.

    Args:
        more: sections of third parties' plugins, to be shown too.
    """
    lines = [*_comment(_HEADER), ""]
    tables: list[str] = []
    for field in msgspec.structs.fields(Config):
        if field.name in _NOT_IN_DOCUMENTS:
            continue
        kind = split_annotations(field.type)[0]
        about = _comment(_explanation(field))
        if get_origin(kind) is Mapping:
            tables += [*about, *_mapping(kind, {}, (field.name,), "")]
        else:
            lines += [*about, f"{field.name} = {_toml(_default(field))}", ""]
    for section in (*BUILTIN_SECTIONS, *more):
        tables += _table(section.schema(), section.key)
    return "\n".join(lines + tables).rstrip() + "\n"


def document(
    config: Config,
    around: Mapping[str, object] | None = None,
    more: Sequence[Section] = (),
) -> dict[str, object]:
    """The whole document that a configuration amounts to, as plain values.

    Secrets are replaced by ``HIDDEN``.

    Args:
        config: every key of it appears, defaults included.
        around: a document (``Loaded.document``) whose other parts, such as the
            runtime's, are to appear too.
        more: sections of third parties' plugins, to appear with their defaults.
    """
    whole = _plain_table(around or {})
    values = _plain_table(
        {
            name: getattr(config, name)
            for name in config.__struct_fields__
            if name not in _NOT_IN_DOCUMENTS
        }
    )
    plugins = whole.get("plugins")
    plugins = plugins if isinstance(plugins, dict) else {}
    for section in (*BUILTIN_SECTIONS, *more):
        others = plugins.get(section.name)
        kept = others if isinstance(others, dict) and section.others else {}
        value = _plain(config.section(section.name, section.schema))
        plugins[section.name] = kept | cast("dict[str, object]", value)
    return whole | values | {"plugins": plugins}


def provenance(loaded: Loaded, whole: Mapping[str, object]) -> dict[Key, str]:
    """Where each value of ``document`` was written: ``FILE:LINE``, or "default".

    Args:
        loaded: the configuration.
        whole: what ``document`` made of it.
    """
    places = {
        tuple(_USERINFO.sub("//", name) for name in key): str(where)
        for key, where in loaded.provenance.items()
    }
    return {key: places.get(key, DEFAULT) for key, _ in leaves(whole)}


def for_json(value: object) -> object:
    """A document as JSON can carry it: dates and numbers that JSON lacks become texts."""
    if isinstance(value, Mapping):
        return {name: for_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(item) for item in value]
    if isinstance(value, date | time) or (isinstance(value, float) and not isfinite(value)):
        return str(value)
    return value


@dataclass(frozen=True, slots=True)
class Explained:
    """One key, for people.

    Attributes:
        key: where it is; ``NAME`` stands for a name of the operator's choice.
        type: boolean, integer, string, duration, array or table.
        default: as TOML.
        meaning: one or two sentences.
    """

    key: Key
    type: str
    default: str
    meaning: str


def explained(more: Sequence[Section] = ()) -> list[Explained]:
    """Every key, in the order of the schema.

    Args:
        more: sections of third parties' plugins, to be explained too.
    """
    top = [field for field in msgspec.structs.fields(Config) if field.name not in _NOT_IN_DOCUMENTS]
    found = list(_rows(top))
    for section in (*BUILTIN_SECTIONS, *more):
        found += _rows(msgspec.structs.fields(section.schema), section.key)
    return found


def reference(tests: Mapping[str, Mapping[str, str]]) -> str:
    """All keys with type, default and explanation, as Markdown tables.

    Args:
        tests: the test that shows what a key does, as ``FILE::FUNCTION``, by section
            ("" for the top of the document) and by key.
    """
    sections = [section.key for section in BUILTIN_SECTIONS]
    every = explained()
    top = [one for one in every if one.key[:2] not in sections]
    parts = ["### Top of the document\n\n" + _markdown(top, (), tests.get("", {}))]
    for section in sections:
        rows = [one for one in every if one.key[:2] == section]
        table = _markdown(rows, section, tests.get(section[1], {}))
        parts.append(f"### `[{show(section)}]`\n\n{table}")
    return "\n\n".join(parts) + "\n"


def _table(value: msgspec.Struct, key: Key, mark: str = "", *, array: bool = False) -> list[str]:
    """A table with its subtables; ``mark`` before each line turns an example into a comment.

    One of an array of tables has a header with two brackets.
    """
    lines = [f"{mark}[[{show(key)}]]" if array else f"{mark}[{show(key)}]"]
    tables: list[str] = []
    for field in msgspec.structs.fields(type(value)):
        here = (*key, field.name)
        item = getattr(value, field.name)
        kind = split_annotations(field.type)[0]
        about = [mark + line for line in _comment(_explanation(field))]
        if isinstance(item, msgspec.Struct):
            tables += [*about, *_table(item, here, mark)]
        elif get_origin(kind) is Mapping:
            tables += [*about, *_mapping(kind, item, here, mark)]
        elif element := _struct_in_array(kind):
            tables += [*about, *_table(element(), here, "# ", array=True)]
        else:
            lines += [*about, f"{mark}{field.name} = {_toml(item)}"]
    return [*lines, "", *tables] if len(lines) > 1 or not tables else tables


def _mapping(kind: object, items: Mapping[str, object], key: Key, mark: str) -> list[str]:
    value_kind = split_annotations(get_args(kind)[1])[0]
    if isinstance(value_kind, type) and issubclass(value_kind, msgspec.Struct):
        return _table(value_kind(), (*key, "NAME"), "# ")
    if items:
        lines = [f"{show((name,))} = {_toml(value)}" for name, value in items.items()]
        return [f"{mark}[{show(key)}]", *(mark + line for line in lines), ""]
    example = "[]" if get_origin(value_kind) is tuple else '""'
    return [f"# [{show(key)}]", f"# NAME = {example}", ""]


def _struct_in_array(kind: object) -> type[msgspec.Struct] | None:
    """What an array of tables holds; None if ``kind`` is none."""
    if get_origin(kind) is not tuple:
        return None
    element = split_annotations(get_args(kind)[0])[0]
    return element if isinstance(element, type) and issubclass(element, msgspec.Struct) else None


def _rows(fields: tuple[FieldInfo, ...] | list[FieldInfo], above: Key = ()) -> Iterator[Explained]:
    for field in fields:
        kind = split_annotations(field.type)[0]
        name = (*above, field.name)
        inner, names = _inside(kind, name)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from _rows(msgspec.structs.fields(inner), names)
            continue
        default = _default(field)
        shown = _toml(default) if not isinstance(default, Mapping) else _inline(default)
        yield Explained(name, _type_name(kind), shown, _explanation(field))


def _inside(kind: object, key: Key) -> tuple[object, Key]:
    """What the elements of a table or an array are, and how their key is shown."""
    if get_origin(kind) is Mapping:
        return split_annotations(get_args(kind)[1])[0], (*key, "NAME")
    if get_origin(kind) is tuple:
        return split_annotations(get_args(kind)[0])[0], (*key[:-1], f"{key[-1]}[]")
    return kind, key


def _markdown(rows: Iterable[Explained], section: Key, tests: Mapping[str, str]) -> str:
    lines = ["| Key | Type | Default | Meaning | Test |", "|---|---|---|---|---|"]
    for row in rows:
        name = ".".join(row.key[len(section) :])
        path, _, function = tests.get(name, "").partition("::")
        test = f"[{function}](../{path})" if path else ""
        cells = (f"`{name}`", row.type, f"`{row.default}`", row.meaning, test)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _type_name(kind: object) -> str:
    if get_origin(kind) is Mapping:
        return "table"
    if get_origin(kind) is tuple:
        return "array"
    if get_origin(kind) is Literal:
        return "string"
    names = {
        bool: "boolean",
        int: "integer",
        float: "number",
        str: "string",
        Duration: "duration",
    }
    return names[kind] if isinstance(kind, type) else str(kind)


def _explanation(field: FieldInfo) -> str:
    metas = split_annotations(field.type)[1]
    return next((meta.description for meta in metas if meta.description), "")


def _default(field: FieldInfo) -> object:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory()


def _comment(text: str) -> list[str]:
    return [
        f"# {line}"
        for paragraph in text.splitlines()
        for line in textwrap.wrap(paragraph, _WIDTH, break_on_hyphens=False)
    ]


def _toml(value: object) -> str:
    if isinstance(value, Duration):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _inline(table: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{show((name,))} = {_toml(item)}" for name, item in table.items()) + "}"


def _plain_table(table: Mapping[str, object]) -> dict[str, object]:
    """A table without secrets, in names and in values."""
    return {_USERINFO.sub("//", name): _plain(item, name) for name, item in table.items()}


def _plain(value: object, name: str = "") -> object:
    """Dictionaries, lists and scalars, without secrets; ``name`` is the key of ``value``."""
    if isinstance(value, msgspec.Struct):
        value = {field: getattr(value, field) for field in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: [HIDDEN] for key in value} if name == "headers" else _plain_table(value)
    if isinstance(value, list | tuple):
        if name == "env":
            return [f"{str(item).partition('=')[0]}={HIDDEN}" for item in value]
        return [_plain(item) for item in value]
    if isinstance(value, Duration):
        return str(value)
    return HIDDEN if name in _SECRETS and isinstance(value, str) and value else value
