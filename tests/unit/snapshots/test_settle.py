"""Settling: what implied directories get from the layers below."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from orlop.snapshots.settle import inherit, mark_opaque

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.root

OPAQUE = "trusted.overlay.opaque"


@dataclass
class Trees:
    """A layer's own tree, and what is below it as one tree."""

    own: Path
    below: Path
    own_fd: int
    below_fd: int

    def inherit(self, implied: Sequence[bytes], opaque: Sequence[bytes] = ()) -> bool:
        return inherit(self.own_fd, self.below_fd, implied=implied, opaque=opaque)

    def lower(self, path: str, mode: int = 0o711, owner: int = 10) -> Path:
        directory = self.below / path
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(mode)
        os.chown(directory, owner, owner + 1)
        return directory

    def upper(self, path: str) -> Path:
        directory = self.own / path
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def look(self, path: str) -> tuple[int, int, int]:
        found = (self.own / path).lstat()
        return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


UNTOUCHED = (0o755, 0, 0)


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[Trees]:
    own, below = tmp_path / "own", tmp_path / "below"
    own.mkdir()
    below.mkdir()
    made = Trees(own, below, os.open(own, os.O_RDONLY), os.open(below, os.O_PATH))
    yield made
    os.close(made.own_fd)
    os.close(made.below_fd)


def test_attributes_come_from_below(trees: Trees) -> None:
    lower = trees.lower("a/b", 0o2750)
    os.setxattr(lower, "user.x", b"y")
    os.setxattr(lower, OPAQUE, b"y")
    os.utime(lower, ns=(123, 456))
    trees.lower("a", 0o1777, 20)
    os.utime(trees.below / "a", ns=(7, 8))
    trees.upper("a/b/new")
    assert trees.inherit([b"a", b"a/b", b"a/b/new"])
    assert trees.look("a/b") == (0o2750, 10, 11)
    assert trees.look("a") == (0o1777, 20, 21)
    assert trees.look("a/b/new") == UNTOUCHED
    assert os.listxattr(trees.own / "a/b") == ["user.x"]
    found = (trees.own / "a/b").stat()
    assert (found.st_atime_ns, found.st_mtime_ns) == (123, 456)
    assert (trees.own / "a").stat().st_mtime_ns == 8


def test_the_root_is_implied_unless_it_is_named(trees: Trees) -> None:
    trees.lower(".", 0o700)
    trees.upper("a")
    assert trees.inherit([b"a"])
    assert trees.look(".") == UNTOUCHED
    assert trees.inherit([b".", b"a"])
    assert trees.look(".") == (0o700, 10, 11)
    assert trees.look("a") == UNTOUCHED


def test_nothing_comes_from_below_an_opaque_directory(trees: Trees) -> None:
    trees.lower("a/b/c")
    trees.lower("a/b")
    trees.lower("ab")
    trees.lower("a")
    trees.upper("a/b/c")
    trees.upper("ab")
    assert trees.inherit([b"a", b"a/b", b"a/b/c", b"ab"], opaque=[b"a"])
    assert trees.look("a") == (0o711, 10, 11)
    assert trees.look("a/b") == UNTOUCHED == trees.look("a/b/c")
    assert trees.look("ab") == (0o711, 10, 11)


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "fifo"])
def test_something_else_below_needs_another_way(trees: Trees, kind: str) -> None:
    trees.lower("target")
    name = trees.below / "a"
    if kind == "file":
        name.touch()
    elif kind == "fifo":
        os.mkfifo(name)
    else:
        name.symlink_to("target" if kind == "link" else "missing")
    trees.upper("a/b")
    assert not trees.inherit([b"a", b"a/b"])
    assert trees.look("a") == UNTOUCHED


def test_what_lies_behind_a_link_is_not_below(trees: Trees) -> None:
    """The layer names ``a`` as a directory, in the place of a link (or file) below."""
    trees.lower("target/b")
    (trees.below / "a").symlink_to("target")
    (trees.below / "f").touch()
    trees.upper("a/b")
    trees.upper("f/b")
    assert trees.inherit([b"a/b", b"f/b"])
    assert trees.look("a/b") == UNTOUCHED == trees.look("f/b")


def test_a_whiteout_is_nothing(trees: Trees) -> None:
    os.mknod(trees.below / "a", stat.S_IFCHR, 0)
    trees.upper("a/b")
    assert trees.inherit([b"a", b"a/b"])
    assert trees.look("a") == UNTOUCHED
    os.mknod(trees.below / "null", stat.S_IFCHR, os.makedev(1, 3))
    trees.upper("null")
    assert not trees.inherit([b"null"])


def test_a_whiteout_of_nothing_needs_another_way(trees: Trees) -> None:
    """overlayfs would list it: it only looks for whiteouts where it merges directories."""
    trees.upper("new/deep")
    os.mknod(trees.own / "new/deep/gone", stat.S_IFCHR, 0)
    assert not trees.inherit([b".", b"new", b"new/deep"])
    trees.lower("new/deep")
    assert trees.inherit([b".", b"new", b"new/deep"])


def test_an_opaque_root_needs_another_way(trees: Trees) -> None:
    """overlayfs does not look at the attribute on a root."""
    assert not trees.inherit([], opaque=[b"."])


def test_links_in_the_own_tree_do_not_lead_out(trees: Trees, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name, leads in (("absolute", str(outside)), ("relative", "../outside")):
        (trees.own / name).symlink_to(leads)
        trees.lower(name)
        with pytest.raises(FileNotFoundError):
            trees.inherit([name.encode()])
        with pytest.raises(FileNotFoundError):
            mark_opaque(trees.own_fd, [name.encode()])
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755
    assert os.listxattr(outside) == []


def test_marking_opaque(trees: Trees) -> None:
    trees.upper("a/b")
    (trees.own / "link").symlink_to("a")
    mark_opaque(trees.own_fd, [b"a/b", b"link"])
    assert os.getxattr(trees.own / "a/b", OPAQUE) == b"y"
    assert os.getxattr(trees.own / "a", OPAQUE) == b"y"
    assert os.listxattr(trees.own) == []
    (trees.own / "file").touch()
    with pytest.raises(NotADirectoryError):
        mark_opaque(trees.own_fd, [b"file"])


def test_nothing_is_left_open(trees: Trees) -> None:
    before = os.listdir("/proc/self/fd")
    trees.lower("a")
    (trees.below / "file").touch()
    trees.upper("a")
    trees.upper("missing")
    assert trees.inherit([b"a", b"missing"])
    assert not trees.inherit([b"a", b"file"])
    trees.lower("only below")
    with pytest.raises(FileNotFoundError):
        trees.inherit([b"only below"])
    assert os.listdir("/proc/self/fd") == before
