"""Lines of keys, against a parser: each value of the documents made here is its line."""

from __future__ import annotations

import itertools
import tomllib
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.config.keys import locate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.config.keys import Key

LINE = "LINE"
"""Stands in a text for the number of its line."""

bare = st.text("abcXYZ019_-", min_size=1, max_size=5)
quoted = st.sampled_from(
    ['"a.b"', "'c d'", '"q\\"["', '"\\u00e9"', '"io.example.v1.x"', "'=#'", '""', '"tab\\tx"']
)
names = bare | quoted
dotted = st.lists(names, min_size=1, max_size=3).map(" . ".join) | st.lists(
    names, min_size=1, max_size=3
).map(".".join)
comments = st.sampled_from(["", " # x", '# """', " # [no]", "#'''", " # a = 1"])
strings = st.sampled_from(
    [
        '"""\n[no]\na = 1\n"""',
        "'''\n# a = \"\"\"\n'''",
        '"""one"""',
        '"""a\\"""b"""',
        '""""quoted"""""',
        "'''it''s'''",
        '"a # b"',
        "'[x]'",
        "1979-05-27 07:32:00",
        "1979-05-27T07:32:00Z",
        "0x1F",
        "inf",
        "true",
        '"\\\\"',
        '"""\\\\"""',
    ]
)


def tables(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(dotted, inner), max_size=3)
    return pairs.map(lambda found: "{" + ", ".join(f"{k} = {v}" for k, v in found) + "}")


def arrays(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    elements = st.lists(st.tuples(comments, inner), max_size=3)
    return elements.map(
        lambda found: "[" + "".join(f"{comment}\n  {value} ," for comment, value in found) + "\n]"
    )


one_line = st.just(LINE) | strings.filter(lambda text: "\n" not in text)
inline = st.recursive(one_line, tables, max_leaves=4)
values = st.recursive(
    st.just(LINE) | strings | inline, lambda inner: arrays(inner | inline), max_leaves=5
)
lines = (
    st.tuples(dotted, values, comments).map(lambda found: f"{found[0]} = {found[1]}{found[2]}")
    | st.tuples(dotted, comments).map(lambda found: f"[ {found[0]} ]{found[1]}")
    | st.tuples(dotted, comments).map(lambda found: f"[[{found[0]}]]{found[1]}")
    | comments
)


def numbered(text: str) -> str:
    """The text with the number of its line for each ``LINE``."""
    return "\n".join(
        line.replace(LINE, str(number)) for number, line in enumerate(text.split("\n"), start=1)
    )


def keys_of(value: object, above: Key = ()) -> Iterator[tuple[Key, object]]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield (*above, name), child
            yield from keys_of(child, (*above, name))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield (*above, str(number)), child
            yield from keys_of(child, (*above, str(number)))


@settings(max_examples=300, deadline=None)
@given(st.lists(lines, max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_each_key_is_on_its_line(parts: list[str], newline: str) -> None:
    accepted = ""
    for part in parts:
        # What would make the document invalid is left out.
        candidate = numbered(f"{accepted}{part}\n")
        try:
            tomllib.loads(candidate)
        except tomllib.TOMLDecodeError:
            continue
        accepted = candidate
    document = tomllib.loads(accepted)
    found = locate(accepted.replace("\n", newline))
    there = dict(keys_of(document))
    assert set(found) <= set(there)
    for key, value in there.items():
        if isinstance(value, int) and not isinstance(value, bool) and value != 0x1F:
            # A number that stands alone in an array has the line of what holds it.
            line = found.get(key)
            assert line is None or line == value, key
        inside_array = any(
            isinstance(there.get(key[:length]), list) for length in range(1, len(key))
        )
        assert key in found or inside_array, key


def test_the_generator_makes_every_kind_of_line() -> None:
    text = '[[a]]\nx = {LINE}\n[[a]]\ny = {{ p = {LINE}, "q.r".s = {LINE} }}\n'.replace(
        "{LINE}", LINE
    )
    text = numbered(text.replace("{{", "{").replace("}}", "}"))
    found = locate(text)
    for key, value in itertools.islice(keys_of(tomllib.loads(text)), 100):
        assert not isinstance(value, int) or found[key] == value
