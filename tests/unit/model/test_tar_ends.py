"""The tar parser: ends of archives, sparse members, and what there may be at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.errors import ArchiveInvalid, LimitExceeded
from orlop.model.limits import Limits
from orlop.model.tar import TarParser
from orlop.testing import layers
from orlop.testing.layers import (
    TRAILER,
    Entry,
    Sparse,
    extension,
    file,
    header,
    padded,
    pax_records,
    tar_bytes,
)
from tests.unit.model.tar_rig import (
    CHUNKS,
    FORMATS,
    LONG,
    parse,
    parse_one,
    refused,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

# T09, T10: ends.


def test_truncated_at_every_byte() -> None:
    members: list[Entry | bytes] = [
        file("f", b"x" * 700),
        Entry(LONG, format="gnu"),
        layers.sparse_file("s", b"a" * 512 + bytes(512), [(0, 512)], format="1.0"),
        layers.sparse_file("o", b"a" * 9000, [(at * 1024, 512) for at in range(8)], format="gnu"),
    ]
    archive = tar_bytes(members, trailer=False)
    ends = {len(tar_bytes(members[:count], trailer=False)) for count in range(len(members) + 1)}
    for end in range(len(archive) + 1):
        if end in ends:
            parse(archive[:end], chunk=300)
        else:
            with pytest.raises(ArchiveInvalid, match="truncated"):
                parse(archive[:end], chunk=300)


@pytest.mark.parametrize("zeros", [0, 512, 1024, 10240])
def test_the_end_may_be_missing(zeros: int) -> None:
    assert len(parse(tar_bytes([file("f", b"x")], trailer=False) + bytes(zeros))) == 1
    assert parse(bytes(zeros)) == []


@pytest.mark.parametrize("zeros", [1, 100, 511, 513, 1023])
def test_half_an_end(zeros: int) -> None:
    with pytest.raises(ArchiveInvalid, match="truncated"):
        parse(tar_bytes([file("f")], trailer=False) + bytes(zeros))


def test_a_lone_zero_block() -> None:
    refused(file("a"), bytes(512), file("b"), cause="lone zero block")


def test_nothing_after_the_end_is_looked_at() -> None:
    for chunk in CHUNKS:
        parser = TarParser()
        archive = tar_bytes([file("f")]) + b"\xff" * 5000 + tar_bytes([file("g")])
        events = [
            event
            for at in range(0, len(archive), chunk)
            for event in parser.feed(archive[at : at + chunk])
        ]
        parser.close()
        assert (len(events), parser.ended) == (1, True)


def test_ended_only_after_the_second_block() -> None:
    parser = TarParser()
    list(parser.feed(bytes(512)))
    assert not parser.ended
    list(parser.feed(bytes(512)))
    assert parser.ended


# T11: sparse members.


def sparse(
    kind: layers.SparseFormat, regions: Iterable[layers.Region], data: bytes, size: int
) -> Entry:
    return Entry(
        b"s",
        data=data,
        sparse=Sparse(kind, tuple(regions), size),
        format="gnu" if kind == "gnu" else "pax",
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("regions", "size"),
    [
        ([(0, 512), (100, 512)], 4096),
        ([(1024, 512), (0, 512)], 4096),
        ([(0, 512), (512, 512)], 1000),
        ([(0, 512)], 4096),
        ([(0, 1024), (2000, 512)], 4096),
        ([(2**62, 1024)], 2**62),
    ],
)
def test_maps_that_do_not_fit(
    kind: layers.SparseFormat, regions: list[layers.Region], size: int
) -> None:
    refused(sparse(kind, regions, b"x" * 1024, size), cause="sparse regions of 's'")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_longest_sparse_file(kind: layers.SparseFormat) -> None:
    made = sparse(kind, [(0, 512), (2**40, 0)], b"x" * 512, 2**40)
    assert parse_one(made).entry.real_size == 2**40
    for size in (2**40 + 1, 2**62, 2**63 - 1):
        with pytest.raises(LimitExceeded) as caught:
            parse_one(sparse(kind, [(0, 512)], b"x" * 512, size))
        assert caught.value.limit == "layer_bytes"


@pytest.mark.parametrize("kind", FORMATS)
def test_the_most_regions(kind: layers.SparseFormat) -> None:
    limits = Limits(sparse_regions=60, tar_extension_bytes=1 << 16)
    for count in (60, 61):
        regions = [(at * 1024, 512) for at in range(count)]
        made = sparse(kind, regions, b"x" * 512 * count, 1 << 20)
        if count == 60:
            assert parse_one(made, limits=limits).entry.sparse == tuple(regions)
            continue
        with pytest.raises(LimitExceeded) as caught:
            parse_one(made, limits=limits)
        assert caught.value.limit == "sparse_regions"


def test_a_map_without_end_is_cut_off() -> None:
    limits = Limits(sparse_regions=100)
    first = layers.entry_bytes(sparse("gnu", [(at * 9, 1) for at in range(26)], b"", 1 << 40))
    block = b"".join(layers.number(n, 12) for n in range(42)) + b"\1" + bytes(7)
    with pytest.raises(LimitExceeded):
        parse(first[:1024] + block * 1000, limits=limits)
    one = sparse("1.0", [], b"", 1 << 40)
    records = layers.entry_bytes(one)[:1024]
    body = header(b"s", size=2**40) + b"99\n" + b"0" * 500_000
    with pytest.raises((LimitExceeded, ArchiveInvalid)):
        parse(records + body, limits=limits)


def test_an_old_map_that_goes_on_after_its_end() -> None:
    """Some readers stop at the first empty slot and take the rest for data."""
    regions = [(at * 1024, 512) for at in range(3)]
    archive = bytearray(layers.entry_bytes(sparse("gnu", regions, b"x" * 1536, 4096)))
    archive[482] = 1
    head = bytearray(archive[:512])
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:]) + 256)
    refused(bytes(head) + bytes(512) + bytes(archive[512:]), cause="goes on after its end")


def test_a_map_longer_than_its_member() -> None:
    made = layers.entry_bytes(sparse("1.0", [(0, 0)], b"", 0))
    pax, rest = made[:1024], made[1024:]
    assert rest[124:136] == layers.number(512, 12)
    refused(pax + header(b"s", size=100) + rest[512:], cause="map longer than its member")


def test_sparse_members_are_files_of_their_format() -> None:
    refused(header(b"s", typeflag=b"S"), cause="without GNU magic")
    records = pax_records([(b"GNU.sparse.size", b"0"), (b"GNU.sparse.map", b"")])
    for typeflag in (b"5", b"2", b"S"):
        block = header(b"s", typeflag=typeflag, magic=layers.GNU_MAGIC)
        refused(extension(b"x", records), block, cause="sparse member that is no file")


def test_the_name_of_a_sparse_member() -> None:
    made = layers.sparse_file("dir/real", b"x" * 512, [(0, 512)], format="1.0")
    assert b"GNUSparseFile.0" in layers.entry_bytes(made)
    assert parse_one(made).entry.path == b"dir/real"


# T12, T13, T14: types and data.


@pytest.mark.parametrize(
    "typeflag", [bytes([n]) for n in range(256) if n not in b"\x0001234567xgLKS"]
)
def test_unknown_types(typeflag: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="unknown member type"):
        parse(header(b"f", typeflag=typeflag) + TRAILER)


@pytest.mark.parametrize("typeflag", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_only_files_have_data(typeflag: bytes) -> None:
    block = header(b"x", typeflag=typeflag, link=b"y", size=5) + padded(b"data.")
    refused(block, cause="'x' has data but is no regular file")
    pax = extension(b"x", pax_records([(b"size", b"5")]))
    refused(pax, header(b"x", typeflag=typeflag, link=b"y") + padded(b"data."), cause="has data")


def test_an_old_directory_has_no_data() -> None:
    refused(header(b"d/", typeflag=b"\0", size=1) + padded(b"x"), cause="has data")


def test_the_number_of_members_is_limited() -> None:
    limits = Limits(layer_entries=3)
    assert len(parse(tar_bytes([file("f")] * 3), limits=limits)) == 3
    with pytest.raises(LimitExceeded) as caught:
        parse(tar_bytes([file("f")] * 4), limits=limits)
    assert caught.value.limit == "layer_entries"


def test_a_long_path_makes_no_long_message() -> None:
    path = pax_records([(b"path", b"p" * 100_000), (b"uid", b"4294967295")])
    with pytest.raises(ArchiveInvalid) as caught:
        parse(extension(b"x", path) + header(b"f") + TRAILER)
    assert len(caught.value.message) < 400
