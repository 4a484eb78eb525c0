"""Bytes become tables, or an error with its line."""

from __future__ import annotations

import pytest

from orlop.config.document import tables
from orlop.errors import InvalidArgument


def test_tables_keep_their_order() -> None:
    text, document = tables(b"[b]\n[a]\nx = 1\n", path="/x")
    assert text == "[b]\n[a]\nx = 1\n"
    assert list(document) == ["b", "a"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n\xff", "/x:2: not TOML: it is no UTF-8"),
        (b"a = 1\nb = \n", "/x:2: not TOML: Invalid value"),
        (b'a = "', "/x:1: not TOML: Unterminated string"),
        (b"a = " + b"[" * 5000, "/x: it is nested too deeply"),
        (b"a = " + b"[" * 70 + b"]" * 70, "/x: it is nested more than 64 levels deep"),
        (b"a = " + b"1" * 5000, "/x: not TOML: Exceeds the limit"),
    ],
)
def test_what_is_no_document(data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        tables(data, path="/x")
    assert caught.value.message.startswith(message)
