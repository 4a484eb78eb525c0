"""The layer builder, judged by the standard library's tarfile, GNU tar, gzip and zstd."""

import io
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest

from orlop.model.mediatype import Compression
from orlop.testing import layers
from orlop.testing.layers import Entry

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LONG = b"/".join([b"directory-name"] * 20) + b"/file"


def read(archive: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        return opened.getmembers()


def read_one(*entries: Entry | bytes) -> tarfile.TarInfo:
    (member,) = read(layers.tar_bytes(entries))
    return member


def gnu_tar(arguments: list[str], archive: bytes, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["tar", *arguments, "-f", "-"], input=archive, cwd=cwd, capture_output=True, check=False
    )


def extract_with_gnu_tar(archive: bytes, cwd: Path) -> None:
    done = gnu_tar(["-x", "--warning=no-timestamp"], archive, cwd)
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_kind_of_file() -> None:
    archive = layers.tar_bytes(
        [
            layers.directory("d", mode=0o1777),
            layers.file("d/f", b"content", mode=0o4755, uid=1000),
            layers.symlink("d/s", "f"),
            layers.hard_link("d/h", "d/f"),
            layers.device("d/c", major=1, minor=3),
            layers.device("d/b", layers.BLOCK_DEVICE, major=7, minor=0),
            layers.fifo("d/p"),
        ]
    )
    members = {member.name: member for member in read(archive)}
    assert members["d"].isdir()
    assert members["d"].mode == 0o1777
    assert (members["d/f"].size, members["d/f"].mode, members["d/f"].uid) == (7, 0o4755, 1000)
    assert (members["d/s"].issym(), members["d/s"].linkname) == (True, "f")
    assert (members["d/h"].islnk(), members["d/h"].linkname) == (True, "d/f")
    assert members["d/c"].ischr()
    assert (members["d/c"].devmajor, members["d/c"].devminor) == (1, 3)
    assert members["d/b"].isblk()
    assert members["d/p"].isfifo()


def test_content_follows_its_header_and_is_padded() -> None:
    archive = layers.tar_bytes([layers.file("f", b"x" * 513), layers.file("g", b"y")])
    assert len(archive) == 512 + 1024 + 512 + 512 + 1024
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        extracted = [opened.extractfile(name) for name in ("f", "g")]
        assert [one.read() for one in extracted if one] == [b"x" * 513, b"y"]


def test_the_trailer_can_be_left_out() -> None:
    entries = [layers.file("f", b"x")]
    assert layers.tar_bytes(entries) == layers.tar_bytes(entries, trailer=False) + bytes(1024)


def test_bytes_go_in_as_they_are() -> None:
    junk = b"junk" * 128
    assert layers.tar_bytes([junk, layers.file("f")]).startswith(junk)


@pytest.mark.parametrize("format_", ["pax", "gnu"])
def test_long_names(format_: layers.Format) -> None:
    member = read_one(Entry(LONG, layers.SYMLINK, link=LONG + b"2", format=format_))
    assert member.name == LONG.decode()
    assert member.linkname == LONG.decode() + "2"


def test_ustar_splits_a_long_name() -> None:
    path = b"d" * 90 + b"/" + b"f" * 90
    member = read_one(Entry(path, format="ustar"))
    assert member.name == path.decode()
    assert member.pax_headers == {}


@pytest.mark.parametrize(
    "path", [b"x" * 101, b"x/" * 130, b"d" * 156 + b"/f", b"/" + b"f" * 100], ids=len
)
def test_ustar_refuses_what_it_cannot_split(path: bytes) -> None:
    with pytest.raises(ValueError, match="too long for ustar"):
        layers.entry_bytes(Entry(path, format="ustar"))


@pytest.mark.parametrize("format_", ["ustar", "gnu"])
def test_attributes_need_pax(format_: layers.Format) -> None:
    with pytest.raises(ValueError, match="need format pax"):
        layers.entry_bytes(Entry(b"f", format=format_, xattrs={"user.a": b"1"}))
    with pytest.raises(ValueError, match="need format pax"):
        layers.entry_bytes(Entry(b"f", format=format_, pax=((b"comment", b"1"),)))


@pytest.mark.parametrize("format_", ["pax", "gnu"])
def test_large_numbers(format_: layers.Format) -> None:
    member = read_one(Entry(b"f", uid=2**31, gid=2**32 - 2, mtime_ns=2**34 * 10**9, format=format_))
    assert (member.uid, member.gid, member.mtime) == (2**31, 2**32 - 2, 2**34)


@pytest.mark.parametrize("mtime_ns", [-1_500_000_000, -1, 1, 1_700_000_000_123_456_789])
def test_pax_keeps_nanoseconds(mtime_ns: int, tmp_path: Path) -> None:
    extract_with_gnu_tar(layers.tar_bytes([Entry(b"f", mtime_ns=mtime_ns)]), tmp_path)
    assert (tmp_path / "f").stat().st_mtime_ns == mtime_ns


def test_xattrs_and_further_records() -> None:
    member = read_one(Entry(b"f", xattrs={"user.a": b"1\n2"}, pax=((b"comment", b"hello"),)))
    assert member.pax_headers == {"SCHILY.xattr.user.a": "1\n2", "comment": "hello"}


@pytest.mark.parametrize("path", ["näme".encode(), b"n\xe4me", b"line\nbreak"])
@pytest.mark.parametrize("format_", ["pax", "gnu"])
def test_names_are_bytes(path: bytes, format_: layers.Format, tmp_path: Path) -> None:
    extract_with_gnu_tar(layers.tar_bytes([Entry(path, format=format_)]), tmp_path)
    assert [child.name for child in tmp_path.iterdir()] == [path.decode(errors="surrogateescape")]


def test_a_declared_size_may_lie() -> None:
    archive = layers.tar_bytes([Entry(b"f", data=b"abc", size=4096)], trailer=False)
    assert archive[124:136] == b"00000010000\x00"
    assert len(archive) == 1024
    assert b" size=8589934592\n" in layers.entry_bytes(Entry(b"f", size=8**11))


SPARSE_CONTENT = b"a" * 512 + bytes(8192) + b"b" * 1024 + bytes(4096) + b"c" * 100
SPARSE_REGIONS = [(0, 512), (8704, 1024), (13824, 100)]


@pytest.mark.parametrize("format_", ["gnu", "0.0", "0.1", "1.0"])
@pytest.mark.parametrize("tail", [0, 70_000])
def test_sparse_files(format_: layers.SparseFormat, tail: int, tmp_path: Path) -> None:
    content = SPARSE_CONTENT + bytes(tail)
    entry = layers.sparse_file("d/s", content, SPARSE_REGIONS, format=format_)
    archive = layers.tar_bytes([layers.directory("d"), entry, layers.file("after", b"here")])
    extract_with_gnu_tar(archive, tmp_path)
    assert (tmp_path / "d/s").read_bytes() == content
    assert (tmp_path / "after").read_bytes() == b"here"
    assert len(archive) < len(content)


@pytest.mark.parametrize("count", [1, 4, 5, 25, 26, 60])
def test_gnu_sparse_maps_of_any_length(count: int, tmp_path: Path) -> None:
    content = b"".join(bytes([65 + i % 26]) * 512 + bytes(4096) for i in range(count))
    regions = [(i * 4608, 512) for i in range(count)]
    entry = layers.sparse_file("s", content, regions, format="gnu")
    extract_with_gnu_tar(layers.tar_bytes([entry, layers.file("after")]), tmp_path)
    assert (tmp_path / "s").read_bytes() == content
    assert (tmp_path / "after").exists()


def test_a_file_that_is_one_hole(tmp_path: Path) -> None:
    entry = layers.sparse_file("s", bytes(10_000), [], format="1.0")
    extract_with_gnu_tar(layers.tar_bytes([entry]), tmp_path)
    assert (tmp_path / "s").read_bytes() == bytes(10_000)


def test_sparse_formats_belong_to_member_formats() -> None:
    for sparse_format, member_format in (("gnu", "pax"), ("1.0", "gnu"), ("gnu", "ustar")):
        sparse = layers.Sparse(sparse_format, ((0, 1),), 1)  # type: ignore[arg-type]
        entry = Entry(b"s", data=b"x", sparse=sparse, format=member_format)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="sparse"):
            layers.entry_bytes(entry)


def test_a_hostile_sparse_map_is_written_as_it_is() -> None:
    sparse = layers.Sparse("0.1", ((100, 5), (50, 2**62)), 2**63)
    raw = layers.entry_bytes(Entry(b"s", data=b"x", sparse=sparse))
    assert b"GNU.sparse.map=100,5,50,4611686018427387904\n" in raw
    assert b"GNU.sparse.size=9223372036854775808\n" in raw


def test_whiteouts() -> None:
    assert layers.whiteout("a/b/c").path == b"a/b/.wh.c"
    assert layers.whiteout("c").path == b".wh.c"
    assert layers.opaque("a/b/").path == b"a/b/.wh..wh..opq"
    assert layers.opaque().path == b".wh..wh..opq"


def test_checksums_are_right_unless_given(tmp_path: Path) -> None:
    good = layers.header(b"f")
    assert read(good + layers.TRAILER)[0].name == "f"
    with pytest.raises(tarfile.ReadError):
        read(layers.header(b"f", checksum=1) + layers.TRAILER)
    assert layers.header(b"f", checksum=b"zzzzzzzz")[148:156] == b"zzzzzzzz"
    assert (
        b"does not look like a tar"
        in gnu_tar(["-t"], layers.header(b"f", checksum=1) + layers.TRAILER, tmp_path).stderr
    )


@pytest.mark.parametrize("typeflag", [bytes([value]) for value in (0, 68, 88, 255)])
def test_any_typeflag(typeflag: bytes) -> None:
    block = layers.header(b"f", typeflag=typeflag)
    assert len(block) == layers.BLOCK
    assert block[156:157] == typeflag


def test_number_fields() -> None:
    assert layers.number(0o755, 8) == b"0000755\x00"
    assert layers.number(8**7, 8) == b"\x80\x00\x00\x00\x00\x20\x00\x00"
    assert layers.number(-1, 8) == b"\xff" * 8
    assert layers.number(b" 12 ", 8) == b" 12 \x00\x00\x00\x00"
    assert tarfile.nti(layers.base256(2**63, 12)) == 2**63  # type: ignore[attr-defined]
    assert tarfile.nti(layers.base256(-5, 12)) == -5  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="more than 8 bytes"):
        layers.base256(2**63, 8)
    with pytest.raises(ValueError, match="longer than its field"):
        layers.number(b"123456789", 8)


def test_pax_records_count_their_own_length() -> None:
    assert layers.pax_record(b"a", b"b") == b"6 a=b\n"
    for length in range(80, 120):
        record = layers.pax_record(b"comment", b"x" * length)
        assert int(record.split(b" ")[0]) == len(record)


def test_extensions_by_hand() -> None:
    records = layers.pax_records([(b"path", b"other"), (b"size", b"3")])
    archive = layers.tar_bytes(
        [layers.extension(layers.PAX_NEXT, records), layers.header(b"f"), layers.padded(b"abc")]
    )
    (member,) = read(archive)
    assert (member.name, member.size) == ("other", 3)
    long_name = layers.extension(layers.GNU_LONG_NAME, b"long\x00")
    assert read_one(long_name, layers.header(b"f")).name == "long"


@pytest.mark.parametrize("members", [1, 2, 7])
def test_gzip_members(members: int) -> None:
    data = b"some data " * 1000
    blob = layers.compress(data, Compression.GZIP, members=members)
    assert blob == layers.compress(data, Compression.GZIP, members=members)
    assert blob[4:8] == bytes(4)
    found, rest, count = b"", blob, 0
    while rest:
        inflater = zlib.decompressobj(wbits=31)
        found += inflater.decompress(rest)
        rest, count = inflater.unused_data, count + 1
    assert (found, count) == (data, members)


@pytest.mark.parametrize("members", [1, 3])
def test_zstd_frames(members: int) -> None:
    data = b"some data " * 1000
    blob = layers.compress(data, Compression.ZSTD, members=members)
    assert blob.count(b"\x28\xb5\x2f\xfd") == members
    assert zstd.decompress(blob) == data


def test_no_compression() -> None:
    assert layers.compress(b"data", Compression.NONE) == b"data"
    with pytest.raises(ValueError, match="2 members"):
        layers.compress(b"data", Compression.NONE, members=2)
    with pytest.raises(ValueError, match="0 members"):
        layers.compress(b"data", members=0)
