"""Sparse maps: the old slots, the map in the data, and what makes a map wrong."""

from __future__ import annotations

import pytest

from orlop.errors import ArchiveInvalid, LimitExceeded
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.sparse import check, map_in_data, slots
from orlop.testing import layers

Regions = tuple[tuple[int, int], ...]


def slot(offset: int, length: int) -> bytes:
    return layers.number(offset, 12) + layers.number(length, 12)


@pytest.mark.parametrize(
    "regions",
    [(), ((0, 0),), ((0, 512),), ((0, 512), (8**11, 5)), ((1, 1), (2, 2), (8, 1), (9, 0))],
)
def test_slots(regions: Regions) -> None:
    content = b"".join(slot(*region) for region in regions)
    assert slots(content.ljust(96, b"\0")) == regions
    assert slots(bytearray(content)) == regions


@pytest.mark.parametrize(
    "content",
    [
        bytes(24) + slot(0, 512),
        slot(0, 512) + bytes(24) + slot(1024, 512),
        b"00000000000\0" + bytes(12),
        bytes(12) + b"00000000000\0",
        slot(0, 1)[:12] + b"0000000008x\0",
        layers.number(b"\xff" * 12, 12) + layers.number(1, 12),
    ],
)
def test_wrong_slots(content: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="malformed"):
        slots(content)


def test_a_map_in_data_is_complete_when_all_lines_are_there() -> None:
    content = b"3\n0\n512\n1024\n5\n9000\n0\n"
    for end in range(len(content)):
        assert map_in_data(content[:end], DEFAULTS) is None
    regions = ((0, 512), (1024, 5), (9000, 0))
    assert map_in_data(content, DEFAULTS) == regions
    assert map_in_data(bytearray(content.ljust(512, b"\0")), DEFAULTS) == regions
    assert map_in_data(b"0\n", DEFAULTS) == ()


@pytest.mark.parametrize(
    "content",
    [b"x\n", b"-1\n", b"\n", b"1\n0\nx\n", b"1\n0\n\n", b"0" * 21, b"\0" * 512, b"1 \n0\n1\n"],
)
def test_wrong_maps_in_data(content: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="malformed"):
        map_in_data(content, DEFAULTS)


def test_the_count_is_limited_before_the_map_is_read() -> None:
    for limits in (DEFAULTS, Limits(sparse_regions=2)):
        text = b"%d\n" % (limits.sparse_regions + 1)
        with pytest.raises(LimitExceeded) as caught:
            map_in_data(text, limits)
        assert caught.value.limit == "sparse_regions"
        assert map_in_data(b"%d\n" % limits.sparse_regions, limits) is None


@pytest.mark.parametrize(
    ("regions", "stored", "real_size"),
    [((), 0, 0), ((), 0, 100), (((0, 5),), 5, 5), (((5, 5), (10, 0), (12, 1)), 6, 13)],
)
def test_maps_that_fit(regions: Regions, stored: int, real_size: int) -> None:
    check(regions, b"f", stored, real_size, DEFAULTS)


@pytest.mark.parametrize(
    ("regions", "stored", "real_size", "cause"),
    [
        (((0, 5), (4, 1)), 6, 10, "overlap"),
        (((5, 1), (0, 1)), 2, 10, "overlap"),
        (((0, 5), (0, 0)), 5, 10, "overlap"),
        (((5, 6),), 6, 10, "run over"),
        (((2**63 - 1, 2**63 - 1),), 2**63 - 1, 10, "run over"),
        (((0, 5),), 4, 10, "do not match"),
        (((0, 5),), 6, 10, "do not match"),
        ((), 1, 10, "do not match"),
    ],
)
def test_maps_that_do_not_fit(regions: Regions, stored: int, real_size: int, cause: str) -> None:
    with pytest.raises(ArchiveInvalid, match=cause):
        check(regions, b"f", stored, real_size, DEFAULTS)


def test_limits() -> None:
    check(((0, 1), (1, 1)), b"f", 2, 10, Limits(sparse_regions=2, layer_bytes=10))
    with pytest.raises(LimitExceeded) as caught:
        check(((0, 1), (1, 1)), b"f", 2, 10, Limits(sparse_regions=1))
    assert caught.value.limit == "sparse_regions"
    with pytest.raises(LimitExceeded) as caught:
        check((), b"f", 0, 11, Limits(layer_bytes=10))
    assert caught.value.limit == "layer_bytes"
