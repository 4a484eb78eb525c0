"""Deletions: the same image in both modes, in whatever order the entries come."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from orlop.errors import ArchiveInvalid
from orlop.testing import layers
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
from tests.unit.unpack.rig import MODES, Images, apply_layer, shape

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.ports.snapshots import ApplyMode

pytestmark = pytest.mark.root

LOWER = [
    directory("d", mode=0o711, uid=5),
    file("d/f", b"lower f"),
    file("d/g", b"lower g"),
    directory("d/sub", mode=0o700, uid=6),
    file("d/sub/h", b"lower h"),
    directory("other"),
    file("other/kept", b"kept"),
    symlink("link", "d"),
    file("top", b"lower top"),
]
REST: dict[str, object] = {
    "d": "dir",
    "d/f": b"lower f",
    "d/g": b"lower g",
    "d/sub": "dir",
    "d/sub/h": b"lower h",
    "link": "-> d",
    "other": "dir",
    "other/kept": b"kept",
    "top": b"lower top",
}


def without(*tops: str, **more: object) -> dict[str, object]:
    """What is left of the lower layer, and what is new."""
    gone = tuple(f"{top}/" for top in tops)
    left = {p: c for p, c in REST.items() if p not in tops and not p.startswith(gone)}
    return dict(sorted({**left, **{p.replace("__", "/"): c for p, c in more.items()}}.items()))


CASES: dict[str, tuple[list[Entry], dict[str, object]]] = {
    "a file": ([whiteout("d/f")], without("d/f")),
    "a directory": ([whiteout("d")], without("d")),
    "a link, not what it leads to": ([whiteout("link")], without("link")),
    "what is not there": ([whiteout("d/nothing")], without()),
    "twice": ([whiteout("top"), whiteout("top")], without("top")),
    "file of the same name": ([whiteout("d/f"), file("d/f", b"new")], without(d__f=b"new")),
    "link of the same name": ([whiteout("top"), symlink("top", "x")], without(top="-> x")),
    "hard link of the same name": (
        [whiteout("top"), file("a", b"a"), hard_link("top", "a")],
        without(a=b"a", top=b"a"),
    ),
    "fifo of the same name": ([whiteout("top"), fifo("top")], without(top="fifo")),
    "directory of the same name": (
        [whiteout("d"), directory("d"), file("d/new", b"new")],
        without("d", d="dir", d__new=b"new"),
    ),
    "implied directory of the same name": (
        [whiteout("d"), file("d/new", b"new")],
        without("d", d="dir", d__new=b"new"),
    ),
    "deep below": (
        [whiteout("d"), file("d/sub/x/new", b"new")],
        without("d", d="dir", d__sub="dir", d__sub__x="dir", d__sub__x__new=b"new"),
    ),
    "a directory below a kept one": (
        [whiteout("d/sub"), file("d/sub/new", b"new"), file("d/f", b"new")],
        without("d/sub", d__sub="dir", d__sub__new=b"new", d__f=b"new"),
    ),
    "whiteout below a whiteout": ([whiteout("d"), whiteout("d/f")], without("d", d="dir")),
    "opaque": ([opaque("d")], without("d", d="dir")),
    "opaque and file": (
        [opaque("d"), file("d/new", b"new")],
        without("d", d="dir", d__new=b"new"),
    ),
    "opaque, directory and file": (
        [opaque("d"), directory("d"), file("d/f", b"new")],
        without("d", d="dir", d__f=b"new"),
    ),
    "opaque twice": ([opaque("d"), opaque("d")], without("d", d="dir")),
    "opaque and what is in a directory below": (
        [opaque("d"), file("d/sub/new", b"new")],
        without("d", d="dir", d__sub="dir", d__sub__new=b"new"),
    ),
    "opaque within opaque": (
        [opaque("d"), opaque("d/sub"), file("d/sub/new", b"new")],
        without("d", d="dir", d__sub="dir", d__sub__new=b"new"),
    ),
    "whiteout in an opaque directory": (
        [opaque("d"), whiteout("d/f"), file("d/g", b"new")],
        without("d", d="dir", d__g=b"new"),
    ),
    "whiteout deep in an opaque directory": (
        [opaque("d"), whiteout("d/sub/h"), file("d/sub/new", b"new")],
        without("d", d="dir", d__sub="dir", d__sub__new=b"new"),
    ),
    "opaque in a directory that is not there": ([opaque("new")], without(new="dir")),
    "device 0:0": ([device("top", major=0, minor=0)], without("top")),
    "device 0:0 and file": (
        [device("top", major=0, minor=0), file("top", b"new")],
        without(top=b"new"),
    ),
    "opaque root": ([opaque(), file("new", b"new")], {"new": b"new"}),
    "bookkeeping of AUFS": (
        [
            file(".wh..wh.aufs", b"x" * 600),
            directory(".wh..wh.plnk"),
            file(".wh..wh.plnk/1.2", b"x" * 600),
            directory("other/.wh..wh.orph"),
        ],
        without(),
    ),
    "names that only look alike": (
        [file("a.wh.b", b"x"), file(".wh", b"y"), file("other/.whx", b"z")],
        without(**{"a.wh.b": b"x", ".wh": b"y", "other__.whx": b"z"}),
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_in_every_order(mode: ApplyMode, case: str, images: Images) -> None:
    members, expected = CASES[case]
    trees = []
    for order in itertools.permutations(members):
        if [e for e in order if e.typeflag == layers.HARD_LINK] and order[-1] is not members[-1]:
            continue  # its target must come first
        image = images.make(mode, order, LOWER)
        assert image.shape() == expected, order
        nodes = image.nodes()
        trees.append(
            {p: (n.mode, n.uid) for p, n in nodes.items() if n.type == "directory" and p != b"."}
        )
    # Not only names: a directory has the same owner and mode in every order.
    assert all(found == trees[0] for found in trees)


@pytest.mark.parametrize("case", CASES)
def test_both_modes_agree_on_attributes(case: str, images: Images) -> None:
    members, _ = CASES[case]
    over, direct = (images.make(mode, members, LOWER).nodes() for mode in MODES)
    assert {p: (n.mode, n.uid, n.gid) for p, n in over.items()} == {
        p: (n.mode, n.uid, n.gid) for p, n in direct.items()
    }


@pytest.mark.parametrize("mode", MODES)
def test_an_opaque_directory_that_is_not_named_keeps_its_attributes(
    mode: ApplyMode, images: Images
) -> None:
    node = images.make(mode, [opaque("d")], LOWER).nodes()[b"d"]
    assert (node.mode, node.uid) == (0o711, 5)


@pytest.mark.parametrize("mode", MODES)
def test_a_new_directory_in_place_of_a_deleted_one_has_none_of_its_attributes(
    mode: ApplyMode, images: Images
) -> None:
    lower = [Entry(b"d/", layers.DIRECTORY, mode=0o2700, uid=5, gid=5, xattrs={"user.a": b"b"})]
    for upper in ([whiteout("d"), file("d/x")], [file("d/x"), whiteout("d")]):
        node = images.make(mode, upper, lower).nodes()[b"d"]
        assert (node.mode, node.uid, node.gid, node.xattrs) == (0o755, 0, 0, {})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh..."])
@pytest.mark.parametrize("typeflag", [layers.REGULAR, layers.DIRECTORY])
def test_a_whiteout_of_no_name(mode: ApplyMode, name: str, typeflag: bytes, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"x")
    with pytest.raises(ArchiveInvalid, match="hides no name"):
        apply_layer(tmp_path, [Entry(name.encode(), typeflag)], mode)
    assert shape(tmp_path) == {"d": "dir", "d/f": b"x"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "kind",
    [
        file("d/.wh.f", b"x" * 2000),
        symlink("d/.wh.f", "/etc"),
        hard_link("d/.wh.f", "d/g"),
        fifo("d/.wh.f"),
        device("d/.wh.f", major=1, minor=3),
        directory("d/.wh.f"),
    ],
    ids=lambda entry: chr(entry.typeflag[0]),
)
def test_a_whiteout_goes_by_its_name(mode: ApplyMode, kind: Entry, images: Images) -> None:
    image = images.make(mode, [kind, file("after", b"after")], LOWER)
    assert image.shape() == without("d/f", after=b"after")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", ["d/.wh.sub/x", ".wh.d/.wh.f", "d/.wh..wh..opq/x"])
def test_nothing_is_below_a_whiteout(mode: ApplyMode, path: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveInvalid, match="below a whiteout"):
        apply_layer(tmp_path, [file(path)], mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("mark", ["f/.wh..wh..opq", "f/.wh.x"])
def test_a_deletion_in_something_that_is_no_directory(
    mode: ApplyMode, mark: str, images: Images
) -> None:
    with pytest.raises(ArchiveInvalid, match="no directory"):
        images.make(mode, [file(mark)], [file("f", b"x")])
    with pytest.raises(ArchiveInvalid, match="no directory"):
        images.make(mode, [file("f"), file(mark)])


@pytest.mark.parametrize("mode", MODES)
def test_a_deletion_in_a_directory_that_is_not_there(mode: ApplyMode, tmp_path: Path) -> None:
    applied = apply_layer(tmp_path, [whiteout("new/x")], mode)
    expected = {"new": "dir"} | ({"new/x": "char 0:0"} if mode == "overlay" else {})
    assert shape(tmp_path) == expected
    assert applied.implied == {b".", b"new"}


# Through links.


@pytest.mark.parametrize("mode", MODES)
def test_through_a_link_of_a_lower_layer(mode: ApplyMode, images: Images) -> None:
    image = images.make(mode, [whiteout("link/f"), opaque("link/sub")], LOWER)
    assert image.shape() == without("d/f", "d/sub/h")
    assert not image.alone


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("target", ["own", "/own", "../../own", "own/../own"])
def test_through_a_link_of_the_same_layer(mode: ApplyMode, target: str, images: Images) -> None:
    lower = [directory("own"), file("own/a", b"a"), file("own/b", b"b"), file("b", b"b")]
    made = [directory("own"), symlink("to", target), file("to/new", b"new")]
    image = images.make(mode, [*made, whiteout("to/a"), whiteout("own/new")], lower)
    assert image.shape() == {
        "b": b"b",
        "own": "dir",
        "own/b": b"b",
        "own/new": b"new",
        "to": f"-> {target}",
    }
    assert image.alone == (mode == "overlay")
    image = images.make(mode, [*made, opaque("to")], lower)
    assert image.shape() == {"b": b"b", "own": "dir", "own/new": b"new", "to": f"-> {target}"}


@pytest.mark.parametrize("mode", MODES)
def test_through_a_link_that_leads_outside(mode: ApplyMode, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"x")
    root = tmp_path / "root"
    root.mkdir()
    for target in (str(outside), "../outside", "../../../../" + str(outside)[1:]):
        where = str(outside)[1:] if target.startswith(("/", "../../")) else "outside"
        members = [directory(where), symlink("link", target), whiteout("link/victim")]
        apply_layer(root, [*members, opaque("link")], mode)
    assert os.listdir(outside) == ["victim"]


# What the tree holds.


def test_no_whiteout_is_left_below_an_opaque_directory(tmp_path: Path) -> None:
    members = [opaque("d"), whiteout("d/f"), whiteout("d/sub/h"), file("d/sub/x"), whiteout("top")]
    applied = apply_layer(tmp_path, members, "overlay")
    assert shape(tmp_path) == {"d": "dir", "d/sub": "dir", "d/sub/x": b"", "top": "char 0:0"}
    assert applied.opaque == {b"d"}
    assert applied.implied == {b".", b"d", b"d/sub"}
    assert applied.inodes == 5


def test_a_deleted_and_new_directory_is_opaque_and_implied_no_more(tmp_path: Path) -> None:
    applied = apply_layer(tmp_path, [whiteout("d"), file("d/sub/x")], "overlay")
    assert (set(applied.opaque), set(applied.implied)) == ({b"d"}, {b".", b"d/sub"})
    assert applied.inodes == 4


def test_a_directory_after_a_file_of_the_same_layer_is_opaque(tmp_path: Path) -> None:
    assert apply_layer(tmp_path, [file("d"), directory("d")], "overlay").opaque == {b"d"}


def test_marks_go_with_the_directory_that_had_them(tmp_path: Path) -> None:
    members = [whiteout("d"), opaque("d/sub"), whiteout("d/sub/x"), directory("d"), file("d")]
    applied = apply_layer(tmp_path, members, "overlay")
    assert shape(tmp_path) == {"d": b""}
    assert not applied.opaque
    assert (set(applied.implied), applied.inodes) == ({b"."}, 2)
