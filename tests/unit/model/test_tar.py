"""The tar parser: the same events for chunks of any length, and every rule of the catalogue."""

from __future__ import annotations

import io
import tarfile

import pytest

from orlop.errors import ArchiveInvalid, LimitExceeded
from orlop.model import tar
from orlop.model.limits import Limits
from orlop.model.tar import TarParser
from orlop.testing import layers
from orlop.testing.layers import (
    TRAILER,
    Entry,
    extension,
    file,
    header,
    padded,
    pax_records,
    symlink,
    tar_bytes,
)
from tests.unit.model.tar_rig import (
    CHUNKS,
    EVERYTHING,
    LONG,
    PATH_A,
    SECOND,
    parse,
    parse_one,
    refused,
)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_of_any_length_give_the_same(chunk: int) -> None:
    archive = tar_bytes(EVERYTHING) + b"ignored" * 100
    whole = parse(archive, chunk=len(archive))
    found = parse(archive, chunk=chunk)
    assert [(m.head, m.data) for m in found] == [(m.head, m.data) for m in whole]


def test_everything_is_what_the_standard_library_reads() -> None:
    archive = tar_bytes(EVERYTHING)
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        expected = [
            (
                member.name.encode("utf-8", "surrogateescape"),
                member.mode,
                member.uid,
                member.gid,
                int(member.mtime),
                member.linkname.encode(),
            )
            for member in opened.getmembers()
        ]
    found = [
        (e.path.rstrip(b"/"), e.mode, e.uid, e.gid, e.mtime // SECOND, e.link)
        for e, _ in parse(archive)
    ]
    assert found == expected


def test_the_fields_of_a_member() -> None:
    found = {member.entry.path: member for member in parse(tar_bytes(EVERYTHING))}
    assert found[b"d/"].entry.type == tar.DIRECTORY
    assert found[b"d/f"].head == (
        b"d/f",
        tar.REGULAR,
        0o4644,
        1000,
        1000,
        0,
        7,
        b"",
        0,
        0,
        None,
        None,
        7,
    )
    assert found[b"d/f"].data == b"content"
    assert found[b"d/h"].entry.link == b"d/f"
    assert (found[b"d/b"].entry.major, found[b"d/b"].entry.minor) == (4095, 1048575)
    assert found[b"d/contiguous"].entry.type == tar.REGULAR
    assert found[b"d/x"].entry.xattrs == {b"user.a": b"1", b"security.capability": b"\1\0"}
    assert found[b"d/t"].entry.mtime == 1_234_567_890_123_456_789
    assert (found[b"big"].entry.uid, found[b"big"].entry.gid) == (2**31, 2**32 - 2)
    sparse = found[b"sparse0"]
    assert (sparse.entry.size, sparse.entry.real_size, sparse.data) == (
        612,
        9612,
        b"a" * 512 + b"b" * 100,
    )
    for number in range(4):
        assert found[b"sparse%d" % number].entry.sparse == ((0, 512), (9512, 100))
    assert repr(found[b"d/f"].entry) == "Entry(b'd/f', type='0', size=7)"


def test_what_belongs_to_one_member_does_not_reach_the_next() -> None:
    records = ((b"uid", b"5"), (b"gid", b"6"), (b"linkpath", b"x"))
    first, second = parse(
        tar_bytes([Entry(LONG, mtime_ns=5, xattrs={"user.a": b"b"}, pax=records), Entry(b"second")])
    )
    assert first.entry.xattrs == {b"user.a": b"b"}
    assert second.head == (b"second", tar.REGULAR, 0o644, 0, 0, 0, 0, b"", 0, 0, None, None, 0)


# T01, T02: sizes and extension headers.


def test_the_pax_size_counts() -> None:
    smuggled = header(b"smuggled", typeflag=b"5")
    data = padded(smuggled)
    block = header(b"f", size=0)
    found = parse(extension(b"x", pax_records([(b"size", b"512")])) + block + data + TRAILER)
    assert [(m.entry.path, m.data) for m in found] == [(b"f", smuggled)]


def test_a_pax_size_of_zero_counts_too() -> None:
    block = header(b"f", size=512)
    members = extension(b"x", pax_records([(b"size", b"0")])) + block + header(b"g") + TRAILER
    assert [m.entry.path for m in parse(members)] == [b"f", b"g"]


@pytest.mark.parametrize("second", [b"x", b"g", b"L", b"K"])
def test_nothing_comes_between_a_pax_header_and_its_member(second: bytes) -> None:
    refused(extension(b"x", PATH_A), extension(second, PATH_A), file("f"))
    refused(extension(b"x", b""), extension(second, PATH_A), file("f"))


@pytest.mark.parametrize("kind", [b"x", b"L", b"K"])
def test_an_extension_header_without_member(kind: bytes) -> None:
    refused(extension(kind, PATH_A), cause="no member")
    refused(extension(kind, PATH_A), trailer=False, cause="truncated.*no member")


@pytest.mark.parametrize("kind", [b"L", b"K"])
def test_extension_headers_of_one_kind_come_once(kind: bytes) -> None:
    refused(extension(kind, b"a\0"), extension(kind, b"b\0"), file("f"), cause="two long")


def test_a_global_header_inside_a_member() -> None:
    refused(extension(b"L", b"a\0"), extension(b"g", b""), file("f"), cause="inside a member")


def test_two_long_names_of_two_formats() -> None:
    """Readers do not agree which of them counts."""
    for kind, key in ((b"L", b"path"), (b"K", b"linkpath")):
        pax = extension(b"x", pax_records([(key, b"one")]))
        refused(extension(kind, b"two\0"), pax, symlink("s", "t"), cause="two long names")
    pax = extension(b"x", pax_records([(b"linkpath", b"target")]))
    block = header(b"s", typeflag=b"2", link=b"t")
    (found,) = parse(extension(b"L", b"name\0") + pax + block + TRAILER)
    assert (found.entry.path, found.entry.link) == (b"name", b"target")


# T03: old regular files.


def test_a_version_7_directory() -> None:
    found = parse_one(header(b"d/", typeflag=b"\0", magic=bytes(8)))
    assert found.entry.type == tar.DIRECTORY
    assert parse_one(header(b"f", typeflag=b"\0", magic=bytes(8))).entry.type == tar.REGULAR


@pytest.mark.parametrize(
    "before", [extension(b"L", b"d/\0"), extension(b"x", pax_records([(b"path", b"d/")]))]
)
def test_the_slash_of_a_long_name_makes_no_directory(before: bytes) -> None:
    found = parse_one(before, header(b"d/", typeflag=b"\0", size=1) + padded(b"x"))
    assert (found.entry.type, found.data) == (tar.REGULAR, b"x")


def test_a_slash_makes_no_directory_of_a_regular_file() -> None:
    assert parse_one(header(b"d/", typeflag=b"0")).entry.type == tar.REGULAR


# T04: long extension headers.


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
@pytest.mark.parametrize("size", [(1 << 20) + 1, 8**11 - 1, 2**62])
def test_an_extension_header_that_is_too_long(kind: bytes, size: int) -> None:
    with pytest.raises(LimitExceeded) as caught:
        list(TarParser().feed(header(b"x", typeflag=kind, size=size)))
    assert caught.value.limit == "tar_extension_bytes"


def test_the_longest_extension_header() -> None:
    limits = Limits(tar_extension_bytes=100)
    body = b"n" * 99 + b"\0"
    assert parse_one(extension(b"L", body), file("f"), limits=limits).entry.path == body[:-1]
    with pytest.raises(LimitExceeded):
        parse_one(extension(b"L", b"n" + body), file("f"), limits=limits)


# T05, T06, T17: records and names.


def test_malformed_records_are_refused() -> None:
    for body in (b"0 path=a\n", b"9 path=a\n\n", b"10 path=ab", b"nonsense"):
        refused(extension(b"x", body), file("f"))


@pytest.mark.parametrize("key", [b"path", b"size", b"linkpath", b"SCHILY.xattr.user.a"])
def test_global_headers_change_nothing(key: bytes) -> None:
    refused(extension(b"g", pax_records([(key, b"1")])), file("f"), cause="global header sets")


@pytest.mark.parametrize("body", [b"", b"\0", b"a\0b\0", b"a\0\0", b"\0a"])
@pytest.mark.parametrize("kind", [b"L", b"K"])
def test_long_names_hold_no_nul(kind: bytes, body: bytes) -> None:
    refused(extension(kind, body), symlink("s", "t"), cause="long name is empty or contains NUL")


def test_a_long_name_needs_no_nul_at_its_end() -> None:
    assert parse_one(extension(b"L", b"name"), file("f")).entry.path == b"name"


def test_a_short_name_ends_at_its_nul() -> None:
    found = parse_one(header(b"name\0hidden", typeflag=b"2", link=b"target\0hidden"))
    assert (found.entry.path, found.entry.link) == (b"name", b"target")


def test_names_that_fill_their_fields() -> None:
    found = parse_one(header(b"n" * 100, typeflag=b"2", link=b"l" * 100, prefix=b"p" * 155))
    assert (found.entry.path, found.entry.link) == (b"p" * 155 + b"/" + b"n" * 100, b"l" * 100)


def test_the_prefix_is_one_in_ustar_only() -> None:
    gnu = header(b"name", prefix=b"prefix", magic=layers.GNU_MAGIC)
    assert parse_one(gnu).entry.path == b"name"
    assert parse_one(header(b"name", prefix=b"prefix")).entry.path == b"prefix/name"


def test_links_are_those_of_links_only() -> None:
    found = parse_one(extension(b"K", b"long\0"), header(b"f", link=b"short"))
    assert found.entry.link == b""
    found = parse_one(extension(b"x", pax_records([(b"linkpath", b"l")])), header(b"f"))
    assert found.entry.link == b""


# T07: numbers.


@pytest.mark.parametrize(
    "fields",
    [
        {"size": b"0000000008\0"},
        {"size": b"-0000000001\0"},
        {"size": layers.base256(-1, 12)},
        {"size": layers.base256(2**63, 12)},
        {"size": b"\xff" * 12},
        {"size": b"1\0001\0"},
        {"uid": layers.base256(-1, 8)},
        {"uid": layers.base256(2**32 - 1, 8)},
        {"gid": layers.base256(2**32 - 1, 8)},
        {"gid": layers.base256(2**40, 8)},
        {"uid": b"nobody\0"},
        {"mode": b"rwxrwxrw"},
        {"mode": layers.base256(-1, 8)},
        {"mtime": b"yesterday\0"},
    ],
)
def test_numbers_that_are_none_or_out_of_range(fields: dict[str, bytes]) -> None:
    refused(header(b"f", **fields))


@pytest.mark.parametrize("typeflag", [b"3", b"4"])
@pytest.mark.parametrize(
    "fields", [{"major": 4096}, {"minor": 1048576}, {"major": b"\xff" * 8}, {"minor": b"x"}]
)
def test_devices_out_of_range(typeflag: bytes, fields: dict[str, int | bytes]) -> None:
    refused(header(b"f", typeflag=typeflag, **fields))  # type: ignore[arg-type] # both are given


@pytest.mark.parametrize("key", [b"uid", b"gid"])
def test_owners_of_pax_out_of_range(key: bytes) -> None:
    refused(Entry(b"f", pax=((key, b"%d" % (2**32 - 1)),)), cause="owner of 'f' out of range")
    refused(Entry(b"f", pax=((key, b"-1"),)))


@pytest.mark.row("X24")
@pytest.mark.parametrize(
    ("mtime", "seconds"),
    [
        (layers.base256(-1, 12), 0),
        (layers.base256(-(2**90), 12), 0),
        (layers.base256(2**33, 12), 2**33),
        (layers.base256(2**33 + 1, 12), 2**33),
        (layers.base256(2**93, 12), 2**33),
        (b"77777777777\0", 8**11 - 1),
        (b"", 0),
    ],
)
def test_times_are_clamped(mtime: bytes, seconds: int) -> None:
    assert parse_one(header(b"f", mtime=mtime)).entry.mtime == seconds * SECOND


@pytest.mark.row("X24")
@pytest.mark.parametrize(("text", "seconds"), [(b"-5.5", 0), (b"99999999999", 2**33)])
def test_times_of_pax_are_clamped(text: bytes, seconds: int) -> None:
    found = parse_one(extension(b"x", pax_records([(b"mtime", text)])), file("f"))
    assert found.entry.mtime == seconds * SECOND


def test_a_number_is_held_to_the_maximum_of_each_field() -> None:
    """What one field may say, another that is spelled the same may not."""
    value = layers.number(4096, 8)
    refused(header(b"f", uid=value), header(b"c", typeflag=b"3", major=value), cause="device major")


def test_modes_are_permission_bits() -> None:
    assert parse_one(header(b"f", mode=0o100644)).entry.mode == 0o644
    assert parse_one(header(b"f", mode=0o7777777)).entry.mode == 0o7777


def test_more_numbers_than_are_remembered() -> None:
    members = parse(tar_bytes([Entry(b"f", uid=number) for number in range(5000)]))
    assert [member.entry.uid for member in members] == list(range(5000))


# T08: checksums.


def test_wrong_checksums() -> None:
    good = bytearray(header(b"f"))
    for at in (0, 100, 156, 260, 500):
        bad = bytearray(good)
        bad[at] ^= 1
        refused(bytes(bad), cause="malformed")
    for field in (b"", b" " * 8, b"x", b"-00001\0 ", b"0o1234\0", b"1_234\0 "):
        refused(header(b"f", checksum=field.ljust(8, b"\0")), cause="checksum")


def test_checksums_of_signed_bytes() -> None:
    name = b"\xff\x80" + "\u00e9".encode()
    block = header(name)
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 256
    assert parse_one(header(name, checksum=b"%06o\0 " % signed)).entry.path == name
    assert parse_one(block).entry.path == name
    refused(header(name, checksum=b"%06o\0 " % (signed + 1)), cause="checksum")


@pytest.mark.parametrize(
    "junk", [b"this is no archive\n" * 100, b"\xff" * 1024, b"\x1f\x8b" + bytes(1022), b"\1" * 512]
)
def test_junk(junk: bytes) -> None:
    for chunk in CHUNKS:
        with pytest.raises(ArchiveInvalid):
            parse(junk, chunk=chunk)
