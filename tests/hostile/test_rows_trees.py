"""Rows X: what archives ask for, pulled as parts of images.

Most layers are pulled twice: as the lowest one, which is applied to a tree that shows
everything, and above an honest one, where it is applied alone.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from orlop.errors import ArchiveEscape, ArchiveInvalid, LimitExceeded, OrlopError
from orlop.model.limits import Limits
from orlop.testing import layers
from orlop.testing.images import build_image
from orlop.testing.layers import (
    Entry,
    device,
    directory,
    fifo,
    file,
    hard_link,
    opaque,
    symlink,
    whiteout,
)
from tests.hostile.site import Case, Site, attacked, refused, taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

LIMITS = Limits(worker_memory_bytes=256 << 20)
INVALID = ArchiveInvalid
OUT = "OUTSIDE"
UP = "../" * 60
BASE = (directory("base"), file("base/f", b"lower"), directory("base/d"), file("base/d/g", b"g"))
SHOWN: dict[str, object] = {"base": "dir", "base/d": "dir", "base/d/g": b"g", "base/f": b"lower"}
LOUD = {"mode": 0o4777, "uid": 4321, "gid": 4321}


def both(
    row: str, name: str, content: list[Entry | bytes], shows: Mapping[str, object] | None = None
) -> list[object]:
    """The layer alone, and on top of another one."""
    over = None if shows is None else dict(sorted({**SHOWN, **shows}.items()))
    alone = None if shows is None else dict(sorted(shows.items()))
    return [
        taken(row, name, content, alone),
        taken(row, f"{name}, above another", content, over, lower=BASE),
    ]


def above(row: str, name: str, content: list[Entry | bytes], shows: Mapping[str, object]) -> object:
    """The layer on top of another one."""
    return taken(row, name, content, dict(sorted(shows.items())), lower=BASE)


def neither(
    row: str,
    name: str,
    content: list[Entry | bytes],
    error: type[OrlopError] = INVALID,
    limit: str = "",
) -> list[object]:
    """The same, refused."""
    return [
        refused(row, name, content, error, limit=limit),
        refused(row, f"{name}, above another", content, error, limit=limit, lower=BASE),
    ]


def cap(revision: int, length: int) -> bytes:
    return struct.pack("<I", revision << 24 | 1).ljust(length, b"\1")


def plain(path: str, **fields: object) -> Entry:
    return Entry(path.encode(), **fields)  # type: ignore[arg-type] # of an entry


def chain(links: int) -> list[Entry | bytes]:
    return [
        directory("d0"),
        *(symlink(f"d{n + 1}", f"d{n}") for n in range(links)),
        file(f"d{links}/f"),
    ]


X01 = [
    *neither("X01", "above the root", [file("../x")], ArchiveEscape),
    *neither("X01", "far above", [file(UP + "tmp/x")], ArchiveEscape),
    *neither("X01", "in the middle", [file("a/../../x")], ArchiveEscape),
    *neither("X01", "a directory", [directory("../x")], ArchiveEscape),
    *neither("X01", "a whiteout", [file("../.wh.x")], ArchiveEscape),
    *neither("X01", "the target of a hard link", [hard_link("h", "../x")], ArchiveEscape),
    *both("X01", "back inside", [file("a/../b", b"1")], {"b": b"1"}),
    *both("X01", "absolute", [file("/a", b"1")], {"a": b"1"}),
    *both("X01", "absolute and there", [file(f"{OUT}/file", b"1"), whiteout(f"{OUT}/dir")]),
]
X02 = [
    *(
        case
        for number, links in enumerate(
            [
                [symlink("out", OUT)],
                [symlink("out", f"{UP}{OUT}")],
                [symlink("out", f"/..{OUT}")],
                [symlink("one", OUT), symlink("out", "one")],
                [symlink("d/up", "../.."), symlink("out", f"d/up{OUT}")],
                [symlink("out", f"/proc/1/root{OUT}")],
                [symlink("out", "/proc/self/cwd")],
            ]
        )
        for case in both(
            "X02",
            f"way {number}",
            [*links, file("out/file", b"1"), directory("out/dir", uid=4321), file("out/new")],
        )
    ),
    *both("X02", "dead", [symlink("out", "/nowhere"), file("out/f", b"1")]),
    *both("X02", "to a file", [file("f", b"1"), symlink("l", "f"), file("l", b"2")],
          {"f": b"1", "l": b"2"}),
    *neither("X02", "to a file, then below it", [file("f"), symlink("l", "f"), file("l/x")]),
]  # fmt: skip
X03 = [
    *both("X03", "forty", chain(39)),
    *neither("X03", "too many", chain(60)),
    *neither("X03", "a loop", [symlink("a", "b"), symlink("b", "a"), file("a/f")]),
    *neither("X03", "itself", [symlink("a", "a"), file("a/f")]),
    *neither(
        "X03",
        "a path that is too long",
        [symlink("l", "/".join(["n" * 200] * 15)), symlink("m", "/".join(["l"] + ["n" * 200] * 15)),
         file("m/f")],
    ),
]  # fmt: skip
X04 = [
    case
    for path in ("", ".", "/", "./", "d/..")
    for name, entry in {
        "link": plain(path, typeflag=layers.SYMLINK, link=b"OUTSIDE"),
        "file": plain(path, data=b"1"),
        "hard link": plain(path, typeflag=layers.HARD_LINK, link=b"f"),
    }.items()
    for case in neither("X04", f"{name} {path or 'nothing'}", [file("f"), entry], ArchiveEscape)
]
X04 += both("X04", "directory", [directory(".", mode=0o700), directory("/"), file("f")], {"f": b""})
X06 = [
    *neither("X06", "by an absolute path", [hard_link("h", f"{OUT}/file")]),
    *neither("X06", "by a link", [symlink("out", OUT), hard_link("h", "out/file")]),
    *neither("X06", "by a link and up", [symlink("d/up", UP), hard_link("h", "d/up/etc/passwd")]),
    *both(
        "X06",
        "to what is inside",
        [file(f"{OUT}/file", b"in"), symlink("out", OUT), hard_link("h", "out/file"),
         file("h", b"2")],
    ),
]  # fmt: skip
X07 = [
    case
    for name, kind in {"file": b"0", "directory": b"5", "pipe": b"6"}.items()
    for case in both(
        "X07",
        name,
        [symlink("l", f"{OUT}/file"), hard_link("h", "l"), plain("h", typeflag=kind, **LOUD)],
    )
] + both(
    "X07",
    "hard link",
    [
        symlink("l", f"{OUT}/file"),
        plain("h", typeflag=b"1", link=b"l", xattrs={"user.a": b"b"}, **LOUD),
    ],
)
X08 = [
    *neither("X08", "to a directory", [directory("d"), hard_link("h", "d")]),
    *neither("X08", "to the root", [hard_link("h", ".")]),
    *neither("X08", "to itself", [hard_link("h", "h")]),
    *neither("X08", "to itself by another way", [hard_link("h", "./d/../h")]),
    *neither("X08", "to nothing", [hard_link("h", "missing")]),
    *neither("X08", "to a whiteout", [whiteout("w"), hard_link("h", "w")]),
    *neither("X08", "that comes first", [hard_link("h", "f"), file("f")]),
    above("X08", "to a lower file", [hard_link("h", "base/f")], {**SHOWN, "h": b"lower"}),
    refused("X08", "to a lower directory", [hard_link("h", "base/d")], INVALID, lower=BASE),
    refused(
        "X08", "to a lower file that is deleted", [whiteout("base/f"), hard_link("h", "base/f")],
        INVALID, lower=BASE,
    ),
]  # fmt: skip
KINDS: dict[str, tuple[list[Entry | bytes], dict[str, object]]] = {
    "file": ([file("x", b"1")], {"x": b"1"}),
    "directory": ([directory("x"), file("x/y")], {"x": "dir", "x/y": b""}),
    "link": ([symlink("x", OUT)], {}),
    "pipe": ([fifo("x")], {"x": "fifo"}),
    "device": ([device("x", major=1, minor=3)], {"x": "char 1:3"}),
}
X09 = [
    case
    for old, (first, _) in KINDS.items()
    for new, (second, shows) in KINDS.items()
    if old != new
    for case in both("X09", f"{old} to {new}", [*first, *second], shows or None)
]
X09 += [
    above(
        "X09",
        f"a lower directory to {new}",
        [
            Entry(one.path.replace(b"x", b"base"), one.typeflag, data=one.data, link=one.link,
                  major=one.major, minor=one.minor)
            for one in second if isinstance(one, Entry)
        ],
        {path.replace("x", "base"): value for path, value in shows.items()},
    )
    for new, (second, shows) in KINDS.items() if new not in {"link", "directory"}
]  # fmt: skip
KEPT: dict[str, object] = {"base": "dir", "base/new": b"1"}
X10 = [
    above("X10", "before", [opaque("base"), file("base/new", b"1")], KEPT),
    above("X10", "after", [file("base/new", b"1"), opaque("base")], KEPT),
    above("X10", "within", [file("base/new", b"1"), opaque("base"), directory("base")], KEPT),
    above("X10", "twice", [opaque("base"), file("base/new", b"1"), opaque("base")], KEPT),
    above("X10", "root", [file("new", b"1"), opaque()], {"new": b"1"}),
    above("X10", "in a missing directory", [opaque("missing")], {**SHOWN, "missing": "dir"}),
    *both("X10", "behind a link", [symlink("l", OUT), opaque("l"), opaque("l/dir")]),
    *neither("X10", "in a file", [file("f"), opaque("f")]),
    *neither("X10", "above the root", [opaque("..")], ArchiveEscape),
]
X11 = [
    case
    for name in (".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh...")
    for case in neither("X11", name, [file(name)])
]
X11 += neither("X11", "with a file below", [file(".wh.a/b")])
X12 = [
    above("X12", "whiteout first", [whiteout("base/f"), file("base/f", b"1")],
          {**SHOWN, "base/f": b"1"}),
    above("X12", "file first", [file("base/f", b"1"), whiteout("base/f")],
          {**SHOWN, "base/f": b"1"}),
    above("X12", "twice", [whiteout("base/d"), whiteout("base/d")],
          {"base": "dir", "base/f": b"lower"}),
    above("X12", "a whiteout below a deleted one", [whiteout("base"), whiteout("base/f")],
          {"base": "dir"}),
    above("X12", "a directory in its place", [whiteout("base"), directory("base")],
          {"base": "dir"}),
    above("X12", "of nothing", [whiteout("nothing")], SHOWN),
]  # fmt: skip
X13 = [
    above("X13", "first", [whiteout("base/f"), opaque("base")], {"base": "dir"}),
    above("X13", "last", [opaque("base"), whiteout("base/f")], {"base": "dir"}),
    above("X13", "below", [opaque("base"), directory("base/d"), whiteout("base/d/g")],
          {"base": "dir", "base/d": "dir"}),
]  # fmt: skip
X14 = [
    *both("X14", "absolute", [symlink("l", OUT), whiteout("l/file"), whiteout("l/dir")]),
    *both("X14", "relative", [symlink("l", UP + "etc"), whiteout("l/passwd")]),
    *both("X14", "dead", [symlink("l", "/nowhere"), whiteout("l/f")]),
    above("X14", "inside", [symlink("l", "base"), whiteout("l/f")],
          {"base": "dir", "base/d": "dir", "base/d/g": b"g", "l": "-> base"}),
    taken("X14", "of a lower layer", [whiteout("l/file"), opaque("l/dir")],
          lower=[symlink("l", OUT)]),
]  # fmt: skip
X15 = [
    above("X15", "with data", [Entry(b"base/.wh.f", data=b"data" * 999), file("g", b"1")],
          {"base": "dir", "base/d": "dir", "base/d/g": b"g", "g": b"1"}),
    *(
        above("X15", name, [Entry(b"base/.wh.f", kind, link=link, major=1, minor=3)],
              {"base": "dir", "base/d": "dir", "base/d/g": b"g"})
        for name, kind, link in (
            ("link", b"2", b"OUTSIDE"), ("hard link", b"1", b"base/f"), ("device", b"3", b""),
            ("directory", b"5", b""), ("pipe", b"6", b""),
        )
    ),
    *both("X15", "AUFS", [directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs"),
                          file("f")], {"f": b""}),
]  # fmt: skip
NULL = device("base/f", major=0, minor=0)
GONE = {"base": "dir", "base/d": "dir", "base/d/g": b"g"}
X16 = [
    above("X16", "device", [NULL], GONE),
    above("X16", "and a file", [NULL, file("base/f", b"1")], {**GONE, "base/f": b"1"}),
    above("X16", "hard link to it", [NULL, hard_link("base/d", "base/f")], {"base": "dir"}),
    taken("X16", "in the lowest layer", [device("f", major=0, minor=0)], {}),
    *both("X16", "a block device is none", [device("b", layers.BLOCK_DEVICE, major=0, minor=0)]),
]
X17 = [
    *both("X17", "devices", [device("c", major=1, minor=3),
          device("b", layers.BLOCK_DEVICE, major=8, minor=0), fifo("p")],
          {"b": "block 8:0", "c": "char 1:3", "p": "fifo"}),
    *both("X17", "largest", [device("c", major=4095, minor=2**20 - 1)],
          {"c": "char 4095:1048575"}),
    *neither("X17", "major", [device("c", major=4096, minor=0)]),
    *neither("X17", "minor", [device("c", major=0, minor=2**20)]),
    *both("X17", "pipe, then a file", [fifo("p"), file("p", b"1")], {"p": b"1"}),
]  # fmt: skip
X19 = [
    *(
        case
        for name, value in {
            "empty": b"", "short": b"short", "v1 short": cap(1, 11), "v2 short": cap(2, 12),
            "v2 long": cap(2, 21), "v3 short": cap(3, 20), "v4": cap(4, 24), "v0": cap(0, 12),
        }.items()
        for case in neither("X19", name, [plain("f", xattrs={"security.capability": value})])
    ),
    *(
        case
        for name, kind in {"directory": b"5", "link": b"2", "pipe": b"6"}.items()
        for case in neither(
            "X19",
            name,
            [plain("f", typeflag=kind, link=b"l" if kind == b"2" else b"",
                   xattrs={"security.capability": cap(2, 20)})],
        )
    ),
    *both("X19", "v2", [plain("f", xattrs={"security.capability": cap(2, 20)})], {"f": b""}),
]  # fmt: skip
FOREIGN = {
    "X20": [
        *(f"trusted.overlay.{name}" for name in ("opaque", "redirect", "metacopy", "whiteout",
          "upper", "origin", "protattr", "impure", "nlink")),
        "user.overlay.opaque", "user.overlay.whiteout", "trusted.x",
    ],
    "X21": ["security.selinux", "security.ima", "security.evm", "security.SMACK64", "system.x",
            "security.apparmor"],
}  # fmt: skip
X20 = [
    case
    for row, names in FOREIGN.items()
    for name in names
    for case in both(
        row,
        name,
        [
            plain("d", typeflag=b"5", mode=0o755, xattrs={name: b"y"}),
            plain("d/f", xattrs={name: b"/base/f"}),
        ],
        {"d": "dir", "d/f": b""},
    )
]
X22 = [
    *neither("X22", "value", [plain("f", xattrs={"user.x": bytes(65537)})], LimitExceeded,
             "xattr_value_bytes"),
    *neither("X22", "value for the disk", [plain("f", xattrs={"user.x": bytes(60000)})],
             LimitExceeded, "xattr_value_bytes"),
    *neither("X22", "name", [plain("f", xattrs={"user." + "x" * 255: b""})], LimitExceeded,
             "xattr_name_bytes"),
    *neither("X22", "number", [plain("f", xattrs={f"user.{n}": b"" for n in range(1001)})],
             LimitExceeded, "xattrs_per_inode"),
    *neither("X22", "number for the disk",
             [plain("f", xattrs={f"user.{n}": b"x" * 9 for n in range(999)})],
             LimitExceeded, "xattr_value_bytes"),
    *neither("X22", "no name", [plain("f", xattrs={"": b"x"})]),
    *neither("X22", "no namespace", [plain("f", xattrs={"name": b"x"})]),
]  # fmt: skip
X23 = [
    *neither("X23", "user", [file("f", uid=2**32 - 1)]),
    *neither("X23", "group", [plain("f", gid=2**32 - 1)]),
    *neither("X23", "of a link", [plain("l", typeflag=b"2", link=b"x", uid=2**32 - 1)]),
    *both("X23", "largest", [plain("f", uid=2**32 - 2, gid=2**31)], {"f": b""}),
]
X25 = [
    *both("X25", "plain", [file("a/b/c", b"1")], {"a": "dir", "a/b": "dir", "a/b/c": b"1"}),
    above("X25", "lower", [file("base/d/new", b"1")], {**SHOWN, "base/d/new": b"1"}),
    *both("X25", "of a whiteout", [whiteout("a/b/c")]),
]
X26 = [
    case
    for name, target in {
        "etc/passwd": f"{OUT}/file",
        "etc/group": "/dev/zero",
        "proc": OUT,
        "dev": "/dev",
        "etc": OUT,
        "etc/shadow": f"{OUT}/fifo",
    }.items()
    for case in both("X26", f"{name} to {target}", [symlink(name, target)])
]
CASES = [
    *(*X01, *X02, *X03, *X04, *X06, *X07, *X08, *X09, *X10, *X11, *X12, *X13),
    *(*X14, *X15, *X16, *X17, *X19, *X20, *X22, *X23, *X25, *X26),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with attacked(tmp_path_factory.mktemp("site"), LIMITS) as found:
        yield found


@pytest.mark.parametrize("case", CASES)
async def test_trees(site: Site, case: Case) -> None:
    await site.pulls(case)


TIMES: dict[int, int] = {
    -(10**18): 0,
    -1: 0,
    0: 0,
    1_234_567_890_123_456_789: 1_234_567_890_123_456_789,
    2**33 * 10**9: 2**33 * 10**9,
    2**62 * 10**9: 2**33 * 10**9,
}


@pytest.mark.row("X24")
@pytest.mark.parametrize("mtime", TIMES)
async def test_times(site: Site, mtime: int, tmp_path: Path) -> None:
    members = [plain("f", mtime_ns=mtime), plain("d", typeflag=b"5", mode=0o755, mtime_ns=mtime)]
    reference = site.offer(build_image([members]))
    await site.store.service.pull(reference)
    await site.store.service.mount(reference, str(tmp_path))
    try:
        seen = {name: (tmp_path / name).stat().st_mtime_ns for name in ("f", "d")}
    finally:
        await site.store.service.unmount(str(tmp_path))
        await site.store.service.remove(reference)
    assert set(seen.values()) == {TIMES[mtime]}
