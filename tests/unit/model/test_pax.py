"""PAX records: what they mean, and that none is skipped because it is malformed."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import ArchiveInvalid, LimitExceeded
from orlop.model import pax
from orlop.model.limits import DEFAULTS, Limits
from orlop.testing.layers import pax_record, pax_records


def parse(*records: tuple[bytes, bytes], limits: Limits = DEFAULTS) -> pax.Records:
    return pax.parse(pax_records(records), limits)


def test_every_record_that_matters() -> None:
    found = parse(
        (b"path", b"a/\xff\nb"),
        (b"linkpath", b"../x=y"),
        (b"size", b"8589934592"),
        (b"uid", b"4294967294"),
        (b"gid", b"0"),
        (b"mtime", b"1234567890.123456789"),
        (b"SCHILY.xattr.user.a", b"1\0\n2"),
        (b"SCHILY.xattr.security.capability", b""),
        (b"comment", b"ignored"),
        (b"atime", b"not looked at"),
        (b"LIBARCHIVE.xattr.user.b", b"eA"),
    )
    assert (found.path, found.link, found.size) == (b"a/\xff\nb", b"../x=y", 8589934592)
    assert (found.uid, found.gid, found.mtime) == (4294967294, 0, 1234567890123456789)
    assert found.xattrs == {b"user.a": b"1\0\n2", b"security.capability": b""}
    assert found.sparse is None


def test_nothing() -> None:
    assert pax.parse(b"", DEFAULTS) == pax.Records()


def test_the_last_of_two_records_counts() -> None:
    found = parse(
        (b"path", b"a"),
        (b"path", b"b"),
        (b"SCHILY.xattr.user.a", b"1"),
        (b"SCHILY.xattr.user.a", b"2"),
    )
    assert (found.path, found.xattrs) == (b"b", {b"user.a": b"2"})


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"0", 0),
        (b"1.", 10**9),
        (b"1.5", 1_500_000_000),
        (b"1.0000000019", 1_000_000_001),
        (b"-1.25", -1_250_000_000),
        (b"-0.000000001", -1),
        (b"99999999999", 99999999999 * 10**9),
    ],
)
def test_times(text: bytes, nanoseconds: int) -> None:
    assert parse((b"mtime", text)).mtime == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b".5",
        b"-",
        b"1.x",
        b"1e9",
        b"1.5.5",
        b" 1",
        b"0x1",
        b"+1",
        b"--1",
        b"9" * 21,
        b"nan",
        b"1,5",
    ],
)
def test_wrong_times(text: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="mtime is no time"):
        parse((b"mtime", text))


@pytest.mark.parametrize("key", [b"size", b"uid", b"gid"])
@pytest.mark.parametrize("text", [b"", b"-1", b"1.0", b"0x10", b"%d" % 2**63, b"1 ", b"9" * 5000])
def test_wrong_numbers(key: bytes, text: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match=f"PAX {key.decode()} is no number"):
        parse((key, text))


@pytest.mark.parametrize("key", [b"path", b"linkpath", b"GNU.sparse.name"])
@pytest.mark.parametrize("value", [b"", b"a\0b", b"\0"])
def test_wrong_names(key: bytes, value: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="empty or contains NUL"):
        parse((key, value), (b"GNU.sparse.size", b"0"))


@pytest.mark.parametrize(
    "content",
    [
        b"\n",
        b" ",
        b"0 a=b\n",
        b"00 a=b\n",
        b"4 a=b\n",
        b"5 a=b\n",
        b"7 a=b\n",
        b"99 a=b\n",
        b"6 a=b",
        b"6 a=bX",
        b"6 a=b\n\n",
        b"6 a=b\n\0",
        b"6 a=b\n6",
        b"-6 a=b\n",
        b"+6 a=b\n",
        b"6\ta=b\n",
        b"x a=b\n",
        b" 6 a=b\n",
        b"4 =\n",
        b"5 =b\n",
        b"5 ab\n",
        b"5    \n",
        b"9" * 30 + b" a=b\n",
        b"6" * 400000,
        b"2 \n6 a=b\n",
    ],
)
def test_malformed_records(content: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="malformed: PAX record"):
        pax.parse(content, DEFAULTS)
    with pytest.raises(ArchiveInvalid, match="malformed"):
        pax.check_global(content)


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=20).map(lambda key: key.replace(b"=", b"_")),
            st.binary(max_size=200),
        ),
        max_size=6,
    )
)
def test_any_record_that_is_well_formed_is_read(records: list[tuple[bytes, bytes]]) -> None:
    kept = [(b"X" + key, value) for key, value in records]
    assert parse(*kept, (b"path", b"p")).path == b"p"


@given(st.binary(max_size=60))
def test_any_bytes_are_records_or_refused(content: bytes) -> None:
    with suppress(ArchiveInvalid):
        pax.parse(content, DEFAULTS)


# Global headers.


def test_global_comments_are_allowed() -> None:
    pax.check_global(pax_record(b"comment", b"0123abcd") * 2)
    pax.check_global(b"")


@pytest.mark.parametrize(
    "key",
    [b"path", b"size", b"linkpath", b"mtime", b"SCHILY.xattr.user.a", b"comments", b"Comment"],
)
def test_global_records_are_refused(key: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="for all members"):
        pax.check_global(pax_records([(b"comment", b"x"), (key, b"1")]))


# Extended attributes.


@pytest.mark.parametrize("name", [b"", b"user", b"us\0er.a"])
def test_wrong_attribute_names(name: bytes) -> None:
    with pytest.raises(ArchiveInvalid, match="extended attribute"):
        parse((b"SCHILY.xattr." + name, b"x"))


def test_limits_of_attributes() -> None:
    parse((b"SCHILY.xattr.user." + b"n" * 250, b"v" * 65536))
    for name, value in ((b"user." + b"n" * 251, b""), (b"user.n", b"v" * 65537)):
        with pytest.raises(LimitExceeded, match="too long"):
            parse((b"SCHILY.xattr." + name, value))
    few = Limits(xattrs_per_inode=2)
    names = [(b"SCHILY.xattr.user.%d" % number, b"") for number in (1, 2, 1, 2)]
    assert len(parse(*names, limits=few).xattrs or {}) == 2
    with pytest.raises(LimitExceeded) as caught:
        parse(*names, (b"SCHILY.xattr.user.3", b""), limits=few)
    assert caught.value.limit == "xattrs_per_inode"


# Sparse members.

SIZE = (b"GNU.sparse.size", b"100")


def sparse(*records: tuple[bytes, bytes]) -> pax.Sparse:
    found = parse(*((b"GNU.sparse." + key, value) for key, value in records)).sparse
    assert found is not None
    return found


def test_the_three_formats() -> None:
    first = sparse(
        (b"size", b"100"),
        (b"numblocks", b"2"),
        (b"offset", b"0"),
        (b"numbytes", b"5"),
        (b"offset", b"50"),
        (b"numbytes", b"6"),
    )
    assert first == pax.Sparse(None, 100, ((0, 5), (50, 6)), in_data=False)
    second = sparse((b"size", b"100"), (b"numblocks", b"2"), (b"name", b"n"), (b"map", b"0,5,50,6"))
    assert second == pax.Sparse(b"n", 100, ((0, 5), (50, 6)), in_data=False)
    third = sparse((b"major", b"1"), (b"minor", b"0"), (b"name", b"n"), (b"realsize", b"100"))
    assert third == pax.Sparse(b"n", 100, (), in_data=True)
    assert sparse((b"size", b"7"), (b"map", b"")).regions == ()


@pytest.mark.parametrize(
    "records",
    [
        [(b"map", b"0,5")],
        [(b"size", b"x"), (b"map", b"0,5")],
        [(b"size", b"9"), (b"map", b"0,5,6")],
        [(b"size", b"9"), (b"map", b"0,-5")],
        [(b"size", b"9"), (b"map", b"0,5,")],
        [(b"size", b"9"), (b"map", b"0, 5")],
        [(b"size", b"9"), (b"map", b"0,5"), (b"numblocks", b"2")],
        [(b"size", b"9"), (b"offset", b"0")],
        [(b"size", b"9"), (b"numbytes", b"0"), (b"offset", b"0")],
        [(b"size", b"9"), (b"offset", b"0"), (b"offset", b"0")],
        [(b"size", b"9"), (b"offset", b"0"), (b"numbytes", b"1"), (b"numblocks", b"0")],
        [(b"size", b"9"), (b"major", b"2"), (b"minor", b"0")],
        [(b"size", b"9"), (b"major", b"1"), (b"minor", b"1")],
        [(b"major", b"1"), (b"minor", b"0"), (b"name", b"n")],
    ],
)
def test_wrong_sparse_records(records: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ArchiveInvalid, match="malformed"):
        sparse(*records)


def test_the_number_of_regions_is_limited() -> None:
    numbers = b",".join([b"0"] * 2 * 10_001)
    with pytest.raises(LimitExceeded) as caught:
        sparse((b"size", b"9"), (b"map", numbers))
    assert caught.value.limit == "sparse_regions"
