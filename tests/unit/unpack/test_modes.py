"""Both modes make the same image: every kind of file, over every other kind."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.model import tar
from orlop.testing import layers
from orlop.testing.layers import Entry, device, directory, fifo, file, hard_link, symlink, whiteout
from orlop.unpack.apply import Applier
from tests.unit.unpack.rig import MODES, Images

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.ports.snapshots import ApplyMode

pytestmark = [pytest.mark.root, pytest.mark.parametrize("mode", MODES)]

SECOND = 1_000_000_000
KINDS: dict[str, tuple[list[Entry], dict[str, object]]] = {
    "file": ([file("x", b"new")], {"x": b"new"}),
    "directory": (
        [directory("x", mode=0o700), file("x/new", b"new")],
        {"x": "dir", "x/new": b"new"},
    ),
    "symlink": ([symlink("x", "elsewhere")], {"x": "-> elsewhere"}),
    "hard link": ([file("a", b"new"), hard_link("x", "a")], {"a": b"new", "x": b"new"}),
    "fifo": ([fifo("x")], {"x": "fifo"}),
    "device": ([device("x", major=5, minor=1)], {"x": "char 5:1"}),
}
OLD = {
    "file": [file("x", b"old")],
    "directory": [directory("x"), directory("x/y"), file("x/y/old", b"old")],
    "symlink": [directory("to"), file("to/kept", b"kept"), symlink("x", "to")],
    "fifo": [fifo("x")],
}


def expected(old: str, new: str) -> dict[str, object]:
    """The image after ``new`` has come over ``old``."""
    shape = dict(KINDS[new][1])
    if old == "symlink":
        shape |= {"to": "dir", "to/kept": b"kept"}
    if old == new == "directory":
        shape |= {"x/y": "dir", "x/y/old": b"old"}
    return shape


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", OLD)
def test_everything_replaces_everything_of_lower_layers(
    mode: ApplyMode, old: str, new: str, images: Images
) -> None:
    image = images.make(mode, KINDS[new][0], OLD[old])
    assert image.shape() == expected(old, new)
    assert image.alone == (mode == "overlay")


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", OLD)
def test_the_last_of_two_entries_wins(mode: ApplyMode, old: str, new: str, images: Images) -> None:
    lower = [directory("x"), file("x/lowest", b"lowest")]
    image = images.make(mode, [*OLD[old], *KINDS[new][0]], lower)
    lowest = {"x/lowest": b"lowest"} if old == new == "directory" else {}
    assert image.shape() == expected(old, new) | lowest


def test_a_file_is_never_written_through(mode: ApplyMode, images: Images) -> None:
    upper = [
        file("a", b"first"),
        hard_link("b", "a"),
        file("b", b"second"),
        symlink("c", "a"),
        file("c", b"third"),
    ]
    assert images.make(mode, upper).shape() == {"a": b"first", "b": b"second", "c": b"third"}


def test_paths_are_bytes(mode: ApplyMode, images: Images) -> None:
    names = [b"\xff\xfe", b"new\nline", b"%s\x1b[31m", "\u00e9".encode(), "e\u0301".encode(), b"A"]
    image = images.make(mode, [file(name, name) for name in [*names, b"a"]])
    assert {os.fsencode(path) for path in image.shape()} == {*names, b"a"}


@pytest.mark.parametrize("uid", [0, 5])
@pytest.mark.parametrize("bits", [0o000, 0o777, 0o1777, 0o2755, 0o4755, 0o7777])
def test_every_mode(mode: ApplyMode, bits: int, uid: int, images: Images) -> None:
    members = [directory("d"), file("d/f", b"x"), fifo("d/p"), device("d/c", major=1, minor=3)]
    given = [replace(member, mode=bits, uid=uid, gid=uid) for member in members]
    nodes = images.make(mode, given).nodes()
    found = {path: (node.mode, node.uid, node.gid) for path, node in nodes.items() if path != b"."}
    assert found == dict.fromkeys([b"d", b"d/c", b"d/f", b"d/p"], (bits, uid, uid))


def test_implied_directories_get_what_lower_layers_gave_them(
    mode: ApplyMode, images: Images
) -> None:
    described = Entry(
        b"d/", layers.DIRECTORY, mode=0o2710, uid=8, gid=9, mtime_ns=5, xattrs={"user.a": b"b"}
    )
    nodes = images.make(mode, [file("d/new", b"new")], [described, file("d/old")]).nodes()
    node = nodes[b"d"]
    assert (node.mode, node.uid, node.gid, node.mtime_ns) == (0o2710, 8, 9, 5)
    assert node.xattrs == {"user.a": b"b"}
    assert nodes[b"d/new"].gid == 0


@pytest.mark.parametrize("path", [b".", b"./", b"/", b"a/.."])
def test_the_root_can_be_described(mode: ApplyMode, path: bytes, images: Images) -> None:
    root = Entry(
        path, layers.DIRECTORY, mode=0o2711, uid=3, gid=4, mtime_ns=SECOND, xattrs={"user.a": b"b"}
    )
    image = images.make(mode, [root, file("f", b"x")], [file("g")])
    node = image.nodes()[b"."]
    assert (node.mode, node.uid, node.gid, node.mtime_ns) == (0o2711, 3, 4, SECOND)
    assert node.xattrs == {"user.a": b"b"}
    assert image.nodes()[b"f"].gid == 0
    assert b"." not in image.applied.implied


def test_a_hard_link_into_a_lower_layer(mode: ApplyMode, images: Images) -> None:
    image = images.make(mode, [hard_link("d/h", "d/f")], [directory("d"), file("d/f", b"x")])
    assert image.nodes()[b"d/h"].links == (b"d/f", b"d/h")
    assert not image.alone


def test_a_repeated_hard_link_is_of_this_layer(mode: ApplyMode, images: Images) -> None:
    lower = [file("a", b"x"), hard_link("b", "a")]
    image = images.make(mode, [hard_link("b", "a"), whiteout("b")], lower)
    assert image.nodes()[b"b"].links == (b"a", b"b")


def test_hard_links_to_whiteouts_made_by_overlayfs(mode: ApplyMode, images: Images) -> None:
    """All whiteouts of one overlay may be one inode, and be archived as such."""
    lower = [file(name, b"lower") for name in "abcd"]
    upper = [device("a", major=0, minor=0), hard_link("b", "a"), hard_link("c", "b")]
    image = images.make(mode, upper, lower)
    assert image.shape() == {"d": b"lower"}
    assert image.alone == (mode == "overlay")


def test_what_is_remembered_of_removed_paths_is_not_searched(
    mode: ApplyMode, tmp_path: Path
) -> None:
    """Replacing a directory costs the same however many others there are."""
    fd = os.open(tmp_path, os.O_RDONLY)
    flip = [tar.Entry(b"x", tar.DIRECTORY, 0), tar.Entry(b"x", tar.FIFO, 0)]
    with Applier(fd, mode) as applier:
        for number in range(3000):
            applier.begin(tar.Entry(b"many/%d" % number, tar.DIRECTORY, 0))
        for _ in range(3000):
            for entry in flip:
                applier.begin(entry)
        applier.finish()
        assert applier.inodes == 3003
    os.close(fd)
