"""The tree reader sees every attribute, and the oracles agree with each other."""

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.testing import layers
from orlop.testing.images import build_image
from orlop.testing.layers import Entry
from tests.rigs.oracle import OracleError, extract_with_tar, extract_with_umoci
from tests.rigs.tree import Node, differences, tree


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "top"
    path.mkdir(mode=0o755)
    return path


def extracted(top: Path, *archives: list[Entry | bytes]) -> dict[bytes, Node]:
    extract_with_tar([layers.tar_bytes(entries) for entries in archives], top)
    return tree(top)


@pytest.mark.root
def test_every_kind_of_node(top: Path) -> None:
    (top / "f").write_bytes(b"content")
    (top / "d").mkdir()
    (top / "s").symlink_to("nowhere")
    os.mkfifo(top / "p")
    os.mknod(top / "c", 0o20600, os.makedev(1, 3))
    os.mknod(top / "b", 0o60600, os.makedev(7, 9))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(top / "u"))
    found = tree(top)
    assert {path: node.type for path, node in found.items()} == {
        b".": "directory",
        b"b": "block",
        b"c": "char",
        b"d": "directory",
        b"f": "file",
        b"p": "fifo",
        b"s": "symlink",
        b"u": "socket",
    }
    assert found[b"f"].size == 7
    assert found[b"f"].sha256.startswith("ed7002b439e9")
    assert found[b"s"].target == b"nowhere"
    assert (found[b"c"].rdev, found[b"b"].rdev) == ((1, 3), (7, 9))
    assert found[b"d"].size == 0


def test_names_are_bytes(top: Path) -> None:
    os.mkdir(os.fsencode(top) + b"/\xff")
    Path(os.fsdecode(os.fsencode(top) + b"/\xff/x")).touch()
    assert list(tree(top)) == [b".", b"\xff", b"\xff/x"]


def rewrite(path: Path) -> None:
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(0, 0))


def split(path: Path) -> None:
    other = path.with_name("g")
    other.unlink()
    other.write_bytes(b"content")


CHANGES: dict[str, Callable[[Path], None]] = {
    "mode": lambda path: path.chmod(0o4711),
    "uid": lambda path: os.chown(path, 1000, -1),
    "gid": lambda path: os.chown(path, -1, 1000),
    "mtime_ns": lambda path: os.utime(path, ns=(0, 1)),
    "xattrs": lambda path: os.setxattr(path, "user.a", b"1"),
    "sha256": rewrite,
    "links": split,
}


@pytest.mark.root
@pytest.mark.parametrize("attribute", CHANGES)
def test_each_change_is_one_difference(top: Path, attribute: str) -> None:
    path = top / "f"
    path.write_bytes(b"content")
    (top / "g").hardlink_to(path)
    os.utime(path, ns=(0, 0))
    before = tree(top)
    assert before[b"f"].links == (b"f", b"g")
    CHANGES[attribute](path)
    lines = [line for line in differences(before, tree(top)) if line.startswith("f: ")]
    assert [line.split(" is ")[0] for line in lines] == [f"f: {attribute}"]


@pytest.mark.root
def test_snapshotter_attributes_do_not_count(top: Path) -> None:
    before = tree(top)
    os.setxattr(top, "trusted.overlay.opaque", b"y")
    assert differences(before, tree(top)) == []
    os.setxattr(top, "trusted.other", b"y")
    assert differences(before, tree(top)) == [".: xattrs is {'trusted.other': b'y'}, not {}"]


@pytest.mark.root
def test_symlinks_are_not_followed(top: Path) -> None:
    (top / "s").symlink_to("/")
    os.setxattr(top / "s", "trusted.a", b"1", follow_symlinks=False)
    found = tree(top)
    assert list(found) == [b".", b"s"]
    assert found[b"s"].xattrs == {"trusted.a": b"1"}


def test_missing_and_unexpected_are_told() -> None:
    node = Node("file", 0o644, 0, 0, 0, 0)
    left, right = {b"a": node, b"\xff": node}, {b"a": replace(node, mode=0o600), b"c": node}
    assert differences(left, right) == [
        "a: mode is 0600, not 0644",
        "c: unexpected",
        "\\udcff: missing",
    ]
    assert differences(left, right, ignore=frozenset({"mode"}))[0] == "c: unexpected"
    with pytest.raises(ValueError, match="no such fields"):
        differences(left, right, ignore=frozenset({"colour"}))


LOWER = [
    layers.directory(""),
    layers.directory("etc"),
    layers.file("etc/a", b"a", uid=1000),
    layers.hard_link("etc/a2", "etc/a"),
    layers.directory("var"),
    layers.directory("var/old"),
    layers.file("var/old/1"),
    layers.file("var/old/2"),
    layers.symlink("lib", "usr/lib"),
    layers.directory("usr"),
    layers.directory("usr/lib"),
    layers.file("usr/lib/x", b"x", mode=0o4755),
    replace(
        layers.file("etc/b"), xattrs={"user.b": b"\x00\x01"}, mtime_ns=1_234_567_890_123_456_789
    ),
    layers.device("null", major=1, minor=3),
]


@pytest.mark.root
def test_tar_extracts_all_attributes(top: Path) -> None:
    found = extracted(top, [*LOWER])
    assert found[b"etc/a"].links == (b"etc/a", b"etc/a2")
    assert found[b"etc/a"].uid == 1000
    assert found[b"etc/b"].xattrs == {"user.b": b"\x00\x01"}
    assert found[b"etc/b"].mtime_ns == 1_234_567_890_123_456_789
    assert found[b"usr/lib/x"].mode == 0o4755
    assert found[b"null"].rdev == (1, 3)
    assert {node.mtime_ns for path, node in found.items() if node.type == "directory"} == {0}
    assert b".oracle" not in found


@pytest.mark.root
def test_whiteouts_hide_lower_layers_only(top: Path) -> None:
    upper = [
        layers.file("var/old/3"),
        layers.opaque("var/old"),
        layers.whiteout("etc/a"),
        layers.file("etc/a", b"new"),
        layers.whiteout("etc/b"),
        layers.whiteout("lib/x"),
        layers.whiteout("nowhere/x"),
    ]
    found = extracted(top, [*LOWER], [*upper])
    assert {path for path in found if path.startswith(b"var")} == {b"var", b"var/old", b"var/old/3"}
    assert found[b"etc/a"].links == ()
    assert b"etc/b" not in found
    assert b"usr/lib/x" not in found
    assert not any(b".wh." in path for path in found)
    assert found[b"etc"].mtime_ns == 0


@pytest.mark.root
def test_links_of_the_image_stay_in_it(top: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    lower = [
        layers.symlink("away", str(outside)),
        layers.symlink("up", "../" * 9 + str(outside)[1:]),
    ]
    upper = [
        layers.whiteout("away/kept"),
        layers.opaque("up"),
        layers.directory(str(outside)[1:]),
        layers.file("away/new", b"in the image"),
    ]
    found = extracted(top, [*lower], [*upper])
    assert [child.name for child in outside.iterdir()] == ["kept"]
    assert os.fsencode(outside)[1:] + b"/new" in found


@pytest.mark.root
def test_types_change_between_layers(top: Path) -> None:
    upper = [layers.file("var", b"file now"), layers.directory("lib"), layers.directory("etc/a")]
    found = extracted(top, [*LOWER], [*upper])
    assert found[b"var"].type == "file"
    assert found[b"lib"].type == "directory"
    assert found[b"etc/a"].type == "directory"
    assert b"var/old" not in found


@pytest.mark.root
def test_the_two_oracles_agree(top: Path, tmp_path: Path) -> None:
    second = [layers.whiteout("etc/b"), layers.opaque("var/old"), layers.file("var/old/3", b"3")]
    third = [layers.file("usr/lib/x", b"y"), layers.directory("etc", mode=0o700, uid=5)]
    image = build_image([LOWER, second, third])
    extract_with_umoci(image, tmp_path / "umoci")
    extract_with_tar([layer.tar for layer in image.layers], top)
    # They differ in what a whiteout does to the time of the directory that it is in.
    assert differences(tree(top), tree(tmp_path / "umoci"), ignore=frozenset({"mtime_ns"})) == []


@pytest.mark.root
def test_an_oracle_tells_what_tar_said(top: Path) -> None:
    entries = [layers.file("f"), layers.hard_link("h", "missing")]
    with pytest.raises(OracleError, match="missing"):
        extract_with_tar([layers.tar_bytes(entries)], top)
    assert not (top / ".oracle").exists()
