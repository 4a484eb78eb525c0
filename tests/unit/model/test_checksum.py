"""The checksum: what it finds, and holes without reading them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.model.checksum import Checksum


def of(data: bytes) -> int:
    checksum = Checksum()
    checksum.update(data)
    return checksum.value


def test_known_values() -> None:
    # CRC-32 and Adler-32 of the strings that their specifications' readers check with.
    assert of(b"123456789") == 0xCBF43926_091E01DE
    assert of(b"") == 1


@given(st.binary(max_size=100), st.integers(0, 200_000), st.binary(max_size=100))
def test_a_hole_is_so_many_zeros(before: bytes, length: int, after: bytes) -> None:
    checksum = Checksum()
    checksum.update(before)
    checksum.skip(length)
    checksum.update(after)
    assert checksum.value == of(before + bytes(length) + after)


def test_a_hole_may_be_as_long_as_it_likes() -> None:
    checksum = Checksum()
    checksum.skip(1 << 60)
    assert checksum.value != of(b"")


@pytest.mark.parametrize("bit", range(0, 8 * 4096, 997))
def test_each_flipped_bit_is_found(bit: int) -> None:
    data = bytearray(range(256)) * 16
    good = of(bytes(data))
    data[bit // 8] ^= 1 << bit % 8
    assert of(bytes(data)) != good
