"""Direct mode: the lower layers' directories look as before, and hand nothing down."""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING

import pytest

from orlop.testing import layers
from orlop.testing.layers import Entry, directory, fifo, file, opaque, symlink, whiteout
from tests.rigs.tree import differences, tree
from tests.unit.unpack.rig import MODES, Images, apply_layer

if TYPE_CHECKING:
    from pathlib import Path

    from orlop.ports.snapshots import ApplyMode
    from tests.rigs.tree import Node

pytestmark = pytest.mark.root

SECOND = 1_000_000_000
DEFAULT_ACL = "system.posix_acl_default"
ACCESS_ACL = "system.posix_acl_access"


def acl(*entries: tuple[int, int, int]) -> bytes:
    """The extended attribute of an ACL: tag, permissions, id (linux/posix_acl_xattr.h)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
ACL = acl(
    (0x01, 7, NOBODY), (0x02, 7, 1000), (0x04, 5, NOBODY), (0x10, 7, NOBODY), (0x20, 0, NOBODY)
)
HANDS_DOWN = Entry(
    b"d/", layers.DIRECTORY, mode=0o2750, uid=3, gid=4, mtime_ns=SECOND, xattrs={DEFAULT_ACL: ACL}
)
CHILDREN = [
    file("d/f", b"x", mode=0o644),
    directory("d/sub", mode=0o755),
    file("d/sub/g", b"x", mode=0o666),
    file("d/implied/h", mode=0o600),
    symlink("d/s", "f"),
    fifo("d/p"),
]


@pytest.mark.parametrize("mode", MODES)
def test_children_inherit_nothing_from_a_lower_layers_directory(
    mode: ApplyMode, images: Images
) -> None:
    nodes = images.make(mode, CHILDREN, [HANDS_DOWN]).nodes()
    check_children(nodes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("last", [True, False])
def test_children_inherit_nothing_from_a_directory_of_their_layer(
    mode: ApplyMode, last: bool, images: Images
) -> None:
    members = [*CHILDREN, HANDS_DOWN] if last else [HANDS_DOWN, *CHILDREN]
    check_children(images.make(mode, members).nodes())
    check_children(images.make(mode, members, [HANDS_DOWN]).nodes())


def check_children(nodes: dict[bytes, Node]) -> None:
    found = {
        os.fsdecode(path): (node.mode, node.uid, node.gid, dict(node.xattrs))
        for path, node in nodes.items()
        if path != b"."
    }
    assert found == {
        "d": (0o2750, 3, 4, {DEFAULT_ACL: ACL}),
        "d/f": (0o644, 0, 0, {}),
        "d/implied": (0o755, 0, 0, {}),
        "d/implied/h": (0o600, 0, 0, {}),
        "d/p": (0o644, 0, 0, {}),
        "d/s": (0o777, 0, 0, {}),
        "d/sub": (0o755, 0, 0, {}),
        "d/sub/g": (0o666, 0, 0, {}),
    }
    assert nodes[b"d"].mtime_ns == SECOND


def test_an_acl_of_the_place_of_the_tree_is_no_part_of_the_image(tmp_path: Path) -> None:
    os.setxattr(tmp_path, DEFAULT_ACL, ACL)
    root = tmp_path / "root"
    root.mkdir()
    apply_layer(root, [file("f"), directory("d"), file("d/g")], "overlay")
    assert [node.xattrs for path, node in tree(root).items() if path != b"."] == [{}, {}, {}]


@pytest.mark.parametrize("mode", MODES)
def test_a_directory_that_is_named_again_keeps_no_old_attributes(
    mode: ApplyMode, images: Images
) -> None:
    old = Entry(
        b"d/",
        layers.DIRECTORY,
        mode=0o2750,
        uid=3,
        gid=4,
        xattrs={DEFAULT_ACL: ACL, "user.old": b"x", "user.both": b"old"},
    )
    new = Entry(b"d/", layers.DIRECTORY, mode=0o711, mtime_ns=SECOND, xattrs={"user.both": b"new"})
    for upper, lower in (([file("d/f"), new], [old]), ([new], [old]), ([old, new], [])):
        node = images.make(mode, upper, lower).nodes()[b"d"]
        assert (node.mode, node.uid, node.gid) == (0o711, 0, 0)
        assert node.xattrs == {"user.both": b"new"}
        assert node.mtime_ns == SECOND


@pytest.mark.parametrize("mode", MODES)
def test_directories_keep_their_times_whatever_happens_in_them(
    mode: ApplyMode, images: Images
) -> None:
    lower = [
        Entry(b"%s/" % name, layers.DIRECTORY, mode=0o755, mtime_ns=SECOND * at)
        for at, name in enumerate([b"made", b"deleted", b"replaced", b"deep", b"deep/er", b"."], 1)
    ]
    lower[4:4] = [file("deleted/x"), file("replaced/x"), directory("replaced/y")]
    upper = [
        file("made/new"),
        whiteout("deleted/x"),
        symlink("replaced/x", "z"),
        file("replaced/y"),
        file("deep/er/new/f"),
        file("new"),
    ]
    nodes = images.make(mode, upper, lower).nodes()
    found = {path: nodes[path].mtime_ns // SECOND for path in nodes if nodes[path].mtime_ns}
    assert {k: v for k, v in found.items() if k != b"deep/er/new"} == {
        b"made": 1,
        b"deleted": 2,
        b"replaced": 3,
        b"deep": 4,
        b"deep/er": 5,
        b".": 6,
    }


def test_what_is_recorded_goes_with_the_directory(tmp_path: Path) -> None:
    """No trace of a directory is looked for after it has been removed, by whatever name."""
    members = [
        directory("d"),
        directory("d/sub", mode=0o2755),
        symlink("alias", "d"),
        file("alias/sub/x"),
        directory("alias/sub/y"),
        file("alias/sub"),
        file("alias/z/x"),
        whiteout("alias/z"),
        directory("d/w", mode=0o2755),
        symlink("d/w", "z"),
        opaque("d/w"),
    ]
    for mode in MODES:
        root = tmp_path / mode
        root.mkdir()
        apply_layer(root, members, mode)
        assert stat.S_ISREG((root / "d/sub").lstat().st_mode)


def test_the_lower_layers_other_files_stay_as_they_are(tmp_path: Path) -> None:
    lower = [
        directory("a"),
        file("a/f", b"x", mode=0o640),
        symlink("a/l", "f"),
        directory("a/b/c"),
        file("a/b/c/g", b"y"),
        directory("z"),
    ]
    apply_layer(tmp_path, lower, "direct")
    before = tree(tmp_path)
    apply_layer(tmp_path, [file("a/new", b"x"), whiteout("nothing"), opaque("z")], "direct")
    after = tree(tmp_path)
    assert differences({**before, b"a/new": after[b"a/new"]}, after) == []
