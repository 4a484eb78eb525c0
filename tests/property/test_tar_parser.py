"""Whatever the bytes are: entries or an error of ours, the same for chunks of any length."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orlop.errors import ArchiveInvalid, LimitExceeded, OrlopError
from orlop.model.limits import Limits
from orlop.model.tar import Entry, TarParser
from orlop.testing import layers

LIMITS = Limits(layer_entries=200, tar_extension_bytes=4096, sparse_regions=40)
SETTINGS = settings(
    max_examples=400,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
CHUNKS = (1, 7, 511, 512, 513, 65536)
SPARSE = b"s" * 512 + bytes(3000) + b"t" * 100
HONEST: list[layers.Entry | bytes] = [
    layers.directory("d", mode=0o1755, uid=7),
    layers.file("d/f", b"content" * 200, mode=0o4644, uid=1000),
    layers.symlink("d/s", "f"),
    layers.hard_link("d/h", "d/f"),
    layers.device("d/c", major=1, minor=3),
    layers.Entry(b"d/x", data=b"z", xattrs={"user.a": b"1"}, mtime_ns=1_234_567_891),
    layers.Entry(b"n" * 200, data=b"long", format="gnu"),
    layers.Entry(b"l" * 150, layers.SYMLINK, link=b"t" * 200, format="pax"),
    layers.extension(layers.PAX_GLOBAL, layers.pax_record(b"comment", b"x")),
    layers.sparse_file("s1", SPARSE, [(0, 512), (3512, 100)], format="gnu"),
    layers.sparse_file("s2", SPARSE, [(0, 512), (3512, 100)], format="0.0"),
    layers.sparse_file("s3", SPARSE, [(0, 512), (3512, 100)], format="0.1"),
    layers.sparse_file("s4", SPARSE, [(0, 512), (3512, 100)], format="1.0"),
    layers.sparse_file("s5", SPARSE * 9, [(at * 1024, 512) for at in range(30)], format="gnu"),
    b"",
]
PARTS = [item if isinstance(item, bytes) else layers.entry_bytes(item) for item in HONEST]

Seen = list[tuple[object, ...]]


def parse(archive: bytes, chunk: int) -> tuple[Seen, bytes, str]:
    """The entries, all data, and what went wrong."""
    parser = TarParser(LIMITS)
    entries: Seen = []
    data = []
    try:
        for at in range(0, len(archive), chunk):
            for event in parser.feed(archive[at : at + chunk]):
                if isinstance(event, Entry):
                    entries.append(tuple(getattr(event, name) for name in Entry.__slots__))
                    check(event)
                else:
                    data.append(bytes(event))
        parser.close()
    except (ArchiveInvalid, LimitExceeded) as error:
        return entries, b"".join(data), f"{type(error).__name__}: {error}"
    return entries, b"".join(data), ""


def check(entry: Entry) -> None:
    """What an applier relies on."""
    assert entry.type in range(0x30, 0x37)
    assert 0 <= entry.mode <= 0o7777
    assert 0 <= entry.uid < 2**32 - 1
    assert 0 <= entry.gid < 2**32 - 1
    assert 0 <= entry.mtime <= 2**33 * 10**9
    assert 0 <= entry.size <= entry.real_size or entry.sparse is None
    assert 0 <= entry.major < 4096
    assert 0 <= entry.minor < 2**20
    assert b"\0" not in entry.path + entry.link
    assert len(entry.path) <= LIMITS.tar_extension_bytes
    if entry.sparse is not None:
        assert sum(length for _, length in entry.sparse) == entry.size
        assert len(entry.sparse) <= LIMITS.sparse_regions


def same_for_all_chunks(archive: bytes) -> None:
    first, *others = (parse(archive, chunk) for chunk in CHUNKS)
    for other in others:
        assert other == first


@SETTINGS
@given(st.binary(max_size=3000))
@example(b"")
@example(bytes(511))
@example(bytes(5000))
def test_any_bytes(junk: bytes) -> None:
    same_for_all_chunks(junk)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An archive of honest members in which some bytes, blocks or members are wrong."""
    parts = draw(st.lists(st.sampled_from(PARTS), min_size=1, max_size=5))
    archive = bytearray(b"".join(parts) + layers.TRAILER)
    fix = draw(st.booleans())  # wrong fields below a right checksum get further
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(archive) - 1, 0)))
        kind = draw(st.sampled_from(["byte", "field", "cut", "repeat", "insert"]))
        block = at - at % 512
        if kind == "byte":
            archive[at] = draw(st.integers(0, 255))
        elif kind == "field":
            start = block + draw(st.sampled_from([0, 100, 108, 124, 136, 156, 257, 345, 386, 482]))
            value = draw(st.binary(min_size=1, max_size=12))
            archive[start : start + len(value)] = value
        elif kind == "cut":
            del archive[block : block + 512 * draw(st.integers(1, 3))]
        elif kind == "repeat":
            archive[block:block] = archive[block : block + 512 * draw(st.integers(1, 3))]
        else:
            archive[at:at] = draw(st.binary(min_size=1, max_size=600))
        if fix and block + 512 <= len(archive):
            head = archive[block : block + 148], archive[block + 156 : block + 512]
            total = sum(map(sum, head)) + 8 * 0x20
            archive[block + 148 : block + 156] = b"%06o\0 " % total
    return bytes(archive)


@SETTINGS
@given(mutated())
def test_mutated_archives(archive: bytes) -> None:
    same_for_all_chunks(archive)


@SETTINGS
@given(st.lists(st.sampled_from(PARTS), max_size=12), st.lists(st.integers(1, 2000), max_size=40))
def test_chunks_may_differ_from_each_other(parts: list[bytes], lengths: list[int]) -> None:
    archive = b"".join(parts) + layers.TRAILER
    expected = parse(archive, len(archive))
    parser = TarParser(LIMITS)
    entries: Seen = []
    data = b""
    at = 0
    for length in [*lengths, len(archive)]:
        for event in parser.feed(memoryview(archive)[at : at + length]):
            if isinstance(event, Entry):
                entries.append(tuple(getattr(event, name) for name in Entry.__slots__))
            else:
                data += event
        at += length
    parser.close()
    assert (entries, data, "") == expected


@SETTINGS
@given(
    st.dictionaries(
        st.sampled_from(
            ["mode", "uid", "gid", "size", "mtime", "major", "minor", "typeflag", "magic", "prefix"]
        ),
        st.binary(max_size=8),
    ),
    st.binary(max_size=100),
)
def test_any_header_with_a_right_checksum(fields: dict[str, bytes], name: bytes) -> None:
    if "typeflag" in fields:
        fields["typeflag"] = fields["typeflag"][:1]
    archive = layers.header(name, **fields) + bytes(2048)
    with suppress(OrlopError):
        list(TarParser(LIMITS).feed(archive))
    same_for_all_chunks(archive)
