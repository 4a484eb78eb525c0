"""Bytes become tables, or an error with its line."""

from __future__ import annotations

import pytest

from orlop.config.document import tables
from orlop.errors import ConfigInvalid


def test_tables_keep_their_order() -> None:
    text, document, lines = tables(b"[b]\n[a]\nx = 1\n", path="/x")
    assert text == "[b]\n[a]\nx = 1\n"
    assert list(document) == ["b", "a"]
    assert lines == {("b",): 1, ("a",): 2, ("a", "x"): 3}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n\xff", "/x:2: not TOML: it is no UTF-8"),
        (b"a = 1\nb = \n", "/x:2: not TOML: Invalid value"),
        (b'a = "', "/x:1: not TOML: Unterminated string"),
        (b"a = 1\n\0", "/x:2: not TOML: it has a null byte"),
        (b"\xef\xbb\xbfa = 1", "/x:1: not TOML: it begins with a byte order mark"),
        (b"a = " + b"[" * 5000, "/x:1: it is nested"),
        (b"a = " + b"[" * 70 + b"]" * 70, "/x:1: it is nested"),
        (b"a = " + b"1" * 5000, "/x:1: not TOML: a number has too many digits"),
    ],
)
def test_what_is_no_document(data: bytes, message: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        tables(data, path="/x")
    assert caught.value.message.startswith(message)
