"""Rows T: layers as archives, pulled as parts of images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orlop.config.durations import Duration
from orlop.errors import (
    ArchiveEscape,
    ArchiveInvalid,
    LimitExceeded,
    OrlopError,
    RegistryProtocol,
    SizeMismatch,
    Stalled,
)
from orlop.model.limits import Limits
from orlop.model.mediatype import Compression
from orlop.testing import layers
from orlop.testing.faults import Fault
from orlop.testing.images import build_image
from orlop.testing.layers import (
    Entry,
    Sparse,
    base256,
    directory,
    extension,
    file,
    hard_link,
    header,
    pax_record,
    sparse_file,
    symlink,
    tar_bytes,
)
from tests.hostile.site import Case, Site, attacked, refused, taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

LIMITS = Limits(layer_entries=5000, worker_memory_bytes=256 << 20)
INVALID = ArchiveInvalid

SMUGGLED = header(b"smuggled") + bytes(512)
GNU = layers.GNU_MAGIC
LONG = b"n" * 120
HUGE = base256(2**62, 12)


def pax(*records: tuple[bytes, bytes]) -> bytes:
    return extension(b"x", b"".join(pax_record(*one) for one in records))


def number(field: str, value: int | bytes, typeflag: bytes = b"0") -> bytes:
    """A header with one field that is wrong."""
    return header(b"f", typeflag=typeflag, **{field: value})  # type: ignore[arg-type] # by its name


def gnu_sparse(regions: list[tuple[int, int]], size: int, data: bytes = b"") -> Entry:
    return Entry(b"s", data=data, sparse=Sparse("gnu", tuple(regions), size), format="gnu")


def pax_sparse(regions: list[tuple[int, int]], size: int, data: bytes = b"") -> Entry:
    return Entry(b"s", data=data, sparse=Sparse("1.0", tuple(regions), size))


MALFORMED = {
    "length 0": b"0 path=x\n",
    "no length": b" path=x\n",
    "too short": b"3 path=x\n",
    "too long": b"99 path=x\n",
    "endless": b"9" * 4000 + b" path=x\n",
    "negative": b"-9 path=x\n",
    "hexadecimal": b"0x9 path=x\n",
    "no equals sign": b"8 pathx\n",
    "no newline": b"9 path=x ",
    "no key": pax_record(b"", b"x"),
    "NUL in a path": pax_record(b"path", b"a\0b"),
    "NUL in a link": pax_record(b"linkpath", b"a\0b"),
    "size no number": pax_record(b"size", b"1x"),
    "size negative": pax_record(b"size", b"-1"),
    "size fractional": pax_record(b"size", b"1.5"),
    "size empty": pax_record(b"size", b""),
    "time no number": pax_record(b"mtime", b"now"),
    "garbage": b"\xff" * 100,
}
NUMBERS: dict[str, tuple[str, int | bytes, bytes]] = {
    "size not octal": ("size", b"00000000009\0", b"0"),
    "size negative": ("size", base256(-1, 12), b"0"),
    "size with a sign": ("size", b"-0000000001\0", b"0"),
    "size with a NUL inside": ("size", b"0000\0000001\0", b"0"),
    "size with a space inside": ("size", b"0000 000001\0", b"0"),
    "size 2**63": ("size", b"\x80\0\0\0" + (2**63).to_bytes(8, "big"), b"0"),
    "uid negative": ("uid", base256(-5, 8), b"0"),
    "uid beyond 32 bits": ("uid", base256(2**32, 8), b"0"),
    "gid not octal": ("gid", b"notanum\0", b"0"),
    "mode not octal": ("mode", b"rwxr-xr\0", b"0"),
    "time not octal": ("mtime", b"yesterday\0\0\0", b"0"),
    "major beyond 12 bits": ("major", 4096, b"3"),
    "minor beyond 20 bits": ("minor", base256(2**20, 8), b"4"),
    "major negative": ("major", base256(-1, 8), b"3"),
}
ODD_NAMES = [b"\xff\xfe", b"a\nb", b"\x1b[31m", b"%s%n", b"\xed\xa0\x80", b"\\", b" ", b"\x7f"]

T01 = [
    taken(
        "T01",
        "more than the header says",
        [pax((b"size", b"1024")), header(b"f", size=0) + SMUGGLED],
        {"f": SMUGGLED},
    ),
    taken(
        "T01",
        "less than the header says",
        [pax((b"size", b"0")), header(b"f", size=1024) + header(b"shown")],
        {"f": b"", "shown": b""},
    ),
    taken(
        "T01",
        "twice",
        [pax((b"size", b"512"), (b"size", b"1024")), header(b"f", size=0) + SMUGGLED],
        {"f": SMUGGLED},
    ),
    refused("T01", "more than there is", [pax((b"size", b"99999")), file("f")], INVALID),
]
T02 = [
    refused("T02", "for another", [pax(), pax(), file("f")], INVALID),
    refused("T02", "for a global one", [pax(), extension(b"g", b""), file("f")], INVALID),
    refused("T02", "for nothing", [pax((b"path", b"f"))], INVALID),
    refused("T02", "name for nothing", [extension(b"L", LONG + b"\0")], INVALID),
    refused(
        "T02",
        "size of a name",
        [pax((b"size", b"1024")), extension(b"L", LONG + b"\0"), header(b"f"), SMUGGLED],
        INVALID,
    ),
    refused(
        "T02", "two names", [extension(b"L", b"a\0"), extension(b"L", b"b\0"), file("f")], INVALID
    ),
]
T03 = [
    taken("T03", "name", [extension(b"L", b"d/\0"), header(b"f", typeflag=b"\0")], {"d": b""}),
    taken("T03", "PAX", [pax((b"path", b"d/")), header(b"f", typeflag=b"\0")], {"d": b""}),
    taken("T03", "short", [header(b"d/", typeflag=b"\0")], {"d": "dir"}),
]
T04 = [
    refused(
        "T04",
        f"{kind.decode()} {name}",
        header(b"x", typeflag=kind, size=size, magic=GNU) + bytes(99 * 512),
        LimitExceeded,
        limit="tar_extension_bytes",
    )
    for kind in (b"x", b"g", b"L", b"K")
    for name, size in (("gigabytes", 4 << 30), ("exabytes", HUGE))
]
T05 = [
    refused("T05", name, [extension(b"x", body), file("f")], INVALID)
    for name, body in MALFORMED.items()
]
T06 = [
    *(
        refused("T06", key.decode(), [extension(b"g", pax_record(key, b"1")), file("f")], INVALID)
        for key in (b"path", b"size", b"linkpath", b"uid", b"mtime", b"SCHILY.xattr.user.a")
    ),
    taken("T06", "comment", [extension(b"g", pax_record(b"comment", b"1")), file("f")], {"f": b""}),
]
T07 = [
    *(
        refused("T07", name, number(field, value, kind), INVALID)
        for name, (field, value, kind) in NUMBERS.items()
    ),
    taken("T07", "time before 1970", [Entry(b"f", mtime_ns=-(10**18))], {"f": b""}),
    taken("T07", "time beyond 2**63", [number("mtime", base256(2**62, 12))], {"f": b""}),
]
T08 = [
    refused("T08", "wrong checksum", header(b"f", checksum=1), INVALID),
    refused("T08", "checksum no number", header(b"f", checksum=b"no sum\0 "), INVALID),
    refused("T08", "noise", os.urandom(5000), INVALID),
    refused("T08", "text", b"<html>captive portal</html>\n" * 99, INVALID),
    refused("T08", "half a header", header(b"f")[:300], INVALID),
    refused("T08", "a program", b"\x7fELF" + bytes(5000), INVALID),
    refused("T08", "zeros, then text", bytes(512) + b"text" * 128, INVALID),
]
WHOLE = tar_bytes([file("f", b"x" * 700)])
T09 = [
    refused("T09", "in the header", WHOLE[:511], INVALID),
    refused("T09", "before the data", WHOLE[:512], INVALID),
    refused("T09", "in the data", WHOLE[:1000], INVALID),
    refused("T09", "in the padding", WHOLE[:1300], INVALID),
    refused("T09", "in an extension", pax((b"path", b"f"))[:600], INVALID),
    taken("T09", "before the end mark", WHOLE[:1536], {"f": b"x" * 700}),
    taken("T09", "in the end mark", WHOLE[:2048], {"f": b"x" * 700}),
]
T10 = [
    refused("T10", "a member", [file("f"), bytes(512), file("hidden")], INVALID),
    refused("T10", "before the first", [bytes(512), file("hidden")], INVALID),
    taken("T10", "behind two", [file("f"), bytes(1024), file("hidden")], {"f": b""}),
]
T11 = [
    refused(
        "T11",
        f"{name} regions",
        [make([(n * 1024, 512) for n in range(10_001)], 2**40)],
        LimitExceeded,
        limit="sparse_regions",
    )
    for name, make in (("gnu", gnu_sparse), ("pax", pax_sparse))
]
T11 += [
    refused("T11", f"{form} {name}", [make(regions, size, bytes(1024))], INVALID)
    for form, make in (("gnu", gnu_sparse), ("pax", pax_sparse))
    for name, regions, size in (
        ("overlapping", [(0, 512), (256, 512)], 4096),
        ("descending", [(2048, 512), (0, 512)], 4096),
        ("beyond the end", [(0, 512), (4096, 512)], 4096),
        ("more than the data", [(0, 512), (1024, 2048)], 8192),
    )
]
T11 += [
    refused("T11", f"{form} exabytes", [make([], 2**62)], LimitExceeded, limit="layer_bytes")
    for form, make in (("gnu", gnu_sparse), ("pax", pax_sparse))
]
T11.append(
    taken(
        "T11",
        "honest",
        [sparse_file("s", b"x" * 512 + bytes(9000), [(0, 512)], format="1.0")],
        {"s": b"x" * 512 + bytes(9000)},
    )
)
T12 = [
    refused("T12", f"{kind!r}", header(b"f", typeflag=kind), INVALID)
    for kind in (b"D", b"M", b"V", b"N", b"A", b"Z", b"8", b"9", b"\xff", b" ")
]
T12.append(taken("T12", "contiguous", [Entry(b"f", b"7", data=b"x")], {"f": b"x"}))
T13 = [
    refused("T13", name, header(b"f", typeflag=kind, link=b"l", size=512) + bytes(512), INVALID)
    for kind, name in {
        b"1": "hard link", b"2": "symbolic link", b"3": "device", b"4": "block device",
        b"5": "directory", b"6": "pipe",
    }.items()
]  # fmt: skip
T14 = [
    refused("T14", "members", lambda: [file("f")] * 5001, LimitExceeded, limit="layer_entries"),
    refused("T14", "depth", [file("d/" * 255 + "f")], LimitExceeded, limit="path_depth"),
    refused(
        "T14",
        "depth of a link",
        [hard_link("h", "d/" * 255 + "f")],
        LimitExceeded,
        limit="path_depth",
    ),
    taken(
        "T14",
        "in one directory",
        lambda: [file(f"d/{n}") for n in range(4000)],
        {"d": "dir", **{f"d/{n}": b"" for n in sorted(range(4000), key=str)}},
    ),
    taken("T14", "deepest", [file("d/" * 254 + "f")]),
    taken(
        "T14", "hard links", lambda: [file("f"), *(hard_link(f"h{n}", "f") for n in range(4000))]
    ),
]
T15 = [
    taken("T15", f"{name!r}", [file(name, name)], {os.fsdecode(name): name}) for name in ODD_NAMES
]
T16 = [
    refused("T16", "component", [file("n" * 256)], INVALID),
    refused("T16", "component of many", [file("d/" + "n" * 256 + "/f")], INVALID),
    refused("T16", "path", [file("/".join(["n" * 200] * 21))], INVALID),
    refused("T16", "target", [symlink("l", "t" * 4096)], INVALID),
    refused("T16", "no target", [symlink("l", "")], INVALID),
    refused("T16", "whiteout", [file(".wh." + "n" * 252)], INVALID),
    refused("T16", "file without a name", [Entry(b"", format="gnu")], ArchiveEscape),
    taken("T16", "dots", [directory("./"), directory("././d/./"), file("./d//f")],
          {"d": "dir", "d/f": b""}),
    taken("T16", "longest component", [file("n" * 255)], {"n" * 255: b""}),
]  # fmt: skip
T17 = [
    taken("T17", "short name", [header(b"f\0hidden")], {"f": b""}),
    taken("T17", "short link", [header(b"l", typeflag=b"2", link=b"t\0hidden")], {"l": "-> t"}),
    refused("T17", "long name", [extension(b"L", b"f\0hidden\0"), file("f")], INVALID),
    refused("T17", "long link", [extension(b"K", b"f\0hidden\0"), symlink("l", "f")], INVALID),
    refused("T17", "PAX path", [pax((b"path", b"f\0hidden")), file("f")], INVALID),
    refused("T17", "attribute", [pax((b"SCHILY.xattr.user.a\0b", b"")), file("f")], INVALID),
]
T18 = [
    taken("T18", "files", [file("f", b"1"), file("f", b"22"), file("f", b"3")], {"f": b"3"}),
    taken(
        "T18",
        "written through a hard link",
        [file("f", b"1"), hard_link("h", "f"), file("f", b"2")],
        {"f": b"2", "h": b"1"},
    ),
    taken(
        "T18", "a link, then a file", [symlink("f", "OUTSIDE/file"), file("f", b"2")], {"f": b"2"}
    ),
    taken(
        "T18",
        "a directory",
        [directory("d"), file("d/f"), directory("d")],
        {"d": "dir", "d/f": b""},
    ),
]
T19 = [
    taken("T19", "case", [file("a", b"1"), file("A", b"2")], {"A": b"2", "a": b"1"}),
    taken(
        "T19",
        "composition",
        [file("\u00e9", b"1"), file("e\u0301", b"2")],
        {"e\u0301": b"2", "\u00e9": b"1"},
    ),
    taken("T19", "a link of another case", [symlink("A", "OUTSIDE"), file("a/file", b"1")],
          None),
]  # fmt: skip
CASES = [
    *(*T01, *T02, *T03, *T04, *T05, *T06, *T07, *T08, *T09, *T10),
    *(*T11, *T12, *T13, *T14, *T15, *T16, *T17, *T18, *T19),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    home = tmp_path_factory.mktemp("site")
    patience = Duration.parse("300ms")
    async with attacked(home, LIMITS, image_pull_progress_timeout=patience) as found:
        yield found


@pytest.mark.parametrize("case", CASES)
async def test_archives(site: Site, case: Case) -> None:
    await site.pulls(case)


NOISE = build_image([[file("noise", os.urandom(300_000))]], compression=Compression.NONE)


@pytest.mark.row("T20")
@pytest.mark.parametrize("at", [0, 511, 100_000])
async def test_a_stream_that_stops(site: Site, at: int) -> None:
    reference = site.offer(NOISE)
    layer = str(NOISE.layers[0].digest)
    site.registry.fail(Fault(stall_at=at), path=layer, times=None)
    await site.refuses(reference, Stalled)
    site.registry.clear_rules()


@pytest.mark.row("T20")
@pytest.mark.parametrize(("chunked", "kind"), [(True, SizeMismatch), (False, RegistryProtocol)])
async def test_a_stream_that_goes_on(site: Site, kind: type[OrlopError], *, chunked: bool) -> None:
    """It is cut off where the manifest says that it ends, or not begun when it says so itself."""
    image = build_image([[file("noise", os.urandom(2000))]], compression=Compression.NONE)
    blob = image.layers[0].blob + bytes(50 << 20)
    reference = site.offer(image)
    fault = Fault(body=blob, headers={"Content-Length": str(len(blob))}, chunked=chunked)
    site.registry.fail(fault, path=str(image.layers[0].digest), times=None)
    await site.refuses(reference, kind)
    site.registry.clear_rules()
