"""Numbers of tar archives, in every spelling that archivers use and some that none does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import ArchiveInvalid
from orlop.model.tarnumber import base256, decimal, number, octal
from orlop.testing import layers


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"0000644 ", 0o644),
        (b" 644 \0\0\0", 0o644),
        (b"    644\0", 0o644),
        (b"\0000644\0", 0o644),
        (b"77777777", 0o77777777),
        (b"\0" * 8, 0),
        (b" " * 8, 0),
        (b"0\0\0\0\0\0\0\0", 0),
    ],
)
def test_octal(field: bytes, value: int) -> None:
    assert octal(field) == value
    assert number(field, "x", 2**63) == value


@pytest.mark.parametrize(
    "field",
    [
        b"0000648\0",
        b"0000649\0",
        b"-000001\0",
        b"+000001\0",
        b"0x1\0",
        b"0o17\0",
        b"1_0\0",
        b"6 44\0",
        b"6\x0044\0",
        b"644\0x",
        b"abc",
        b"\x7f",
        b"1.5",
        b"1\t",
    ],
)
def test_no_octal(field: bytes) -> None:
    assert octal(field) is None
    with pytest.raises(ArchiveInvalid, match=r"size .* is no number"):
        number(field, "size", 2**63)


@given(st.integers(-(2**94), 2**94 - 1))
def test_base256(value: int) -> None:
    assert base256(layers.base256(value, 12)) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"\x80" + bytes(7), 0),
        (b"\x80" + bytes(6) + b"\x01", 1),
        (b"\xff" * 8, -1),
        (b"\xbf" + b"\xff" * 7, 2**62 - 1),
        (b"\xc0" + bytes(7), -(2**62)),
    ],
)
def test_ends_of_base256(field: bytes, value: int) -> None:
    assert base256(field) == value


@pytest.mark.parametrize(
    "field",
    [b"\xff" * 12, layers.base256(2**63, 12), layers.base256(-5, 12), b"\xbf" + b"\xff" * 11],
)
def test_numbers_out_of_range(field: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="size is out of range"):
        number(field, "size", 2**63 - 1)


def test_the_maximum_is_allowed() -> None:
    assert number(b"0000010\0", "x", 8) == 8
    with pytest.raises(ArchiveInvalid, match="out of range"):
        number(b"0000011\0", "x", 8)


@pytest.mark.parametrize(
    ("text", "value"), [(b"0", 0), (b"007", 7), (b"%d" % (2**63 - 1), 2**63 - 1)]
)
def test_decimal(text: bytes, value: int) -> None:
    assert decimal(text, "x") == value
    assert decimal(bytearray(text), "x") == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-1",
        b"+1",
        b" 1",
        b"1 ",
        b"1_0",
        b"1.0",
        b"0x1",
        b"%d" % 2**63,
        b"0" * 21,
        b"\xd9\xa1",
    ],
)
def test_no_decimal(text: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="size is no number in range"):
        decimal(text, "size")
