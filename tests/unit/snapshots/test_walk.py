"""Walks: depth, mounts, links and missing permissions."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orlop.linux.mounts import mount, unmount
from orlop.snapshots import walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[int]:
    """A descriptor of ``tmp_path``."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def make_deep(top: Path, depth: int) -> None:
    """Directories one in another, deeper than a path can say."""
    top.mkdir()
    with walk.Cursor(str(top)) as cursor:
        for _ in range(depth):
            os.mkdir("d" * 100, dir_fd=cursor.fd)
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=cursor.fd))
            cursor.enter("d" * 100)


# --- the cursor ---------------------------------------------------------------------------


def test_a_cursor_goes_down_and_up(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    with walk.Cursor(str(tmp_path)) as cursor:
        cursor.enter("a")
        assert os.listdir(cursor.fd) == ["b"]
        cursor.enter("b")
        cursor.leave()
        cursor.leave()
        assert os.listdir(cursor.fd) == ["a"]
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["link", "file", "missing", "..", "a/b"])
def test_a_cursor_enters_nothing_but_a_directory_below(tmp_path: Path, name: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "file").touch()
    (tmp_path / "a" / "link").symlink_to("b")
    with walk.Cursor(str(tmp_path)) as cursor:
        if name == "a/b":
            cursor.enter(name)
            with pytest.raises(OSError, match="moved away"):
                cursor.leave()
            return
        with pytest.raises(OSError, match=r"directory|loop|Cross|cross|Too many"):
            cursor.enter(name)


def test_a_cursor_notices_when_its_directory_is_moved(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with walk.Cursor(str(tmp_path)) as cursor:
        cursor.enter("a")
        cursor.enter("b")
        (tmp_path / "a" / "b").rename(tmp_path / "other" / "b")
        with pytest.raises(OSError, match="moved away") as refused:
            cursor.leave()
        assert refused.value.errno == errno.EXDEV


# --- measuring ----------------------------------------------------------------------------


def test_measuring(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "dir" / "below").mkdir(parents=True)
    (tree / "file").write_bytes(b"x" * 100_000)
    os.link(tree / "file", tree / "dir" / "below" / "link")
    (tree / "dangling").symlink_to("nowhere")
    (tree / "holes").touch()
    os.truncate(tree / "holes", 1 << 40)
    usage = walk.measure(str(tree))
    paths = [tree, *tree.rglob("*")]
    blocks = {p.lstat().st_ino: p.lstat().st_blocks * 512 for p in paths}
    assert usage.inodes == 6 == len(blocks)
    assert usage.bytes == sum(blocks.values())
    assert 100_000 <= usage.bytes < 150_000


def test_measuring_does_not_count_a_name_twice_only_within_a_tree(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "file").write_bytes(b"x" * 8192)
    os.link(tmp_path / "one" / "file", tmp_path / "two" / "file")
    assert walk.measure(str(tmp_path / "one")) == walk.measure(str(tmp_path / "two"))


def test_measuring_what_is_deep(tmp_path: Path, place: int) -> None:
    make_deep(tmp_path / "deep", 2000)
    assert walk.measure(str(tmp_path / "deep")).inodes == 4001
    assert walk.remove_tree(place, "deep")


# --- removing -----------------------------------------------------------------------------


def test_removing_all_kinds(tmp_path: Path, place: int) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "to outside").symlink_to(outside)
    (tree / "to itself").symlink_to(".")
    os.mkfifo(tree / "fifo")
    os.link(outside / "file", tree / "file")
    assert walk.remove_tree(place, "tree")
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["file"]


def test_removing_names_that_are_no_directory(tmp_path: Path, place: int) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "file").touch()
    assert walk.remove_tree(place, "link")
    assert walk.remove_tree(place, "file")
    assert os.listdir(tmp_path) == ["kept"]
    assert not walk.remove_tree(place, "missing")


def test_removing_needs_few_descriptors_whatever_the_depth(tmp_path: Path, place: int) -> None:
    make_deep(tmp_path / "deep", 1500)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        assert walk.remove_tree(place, "deep")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.listdir(tmp_path) == []


@pytest.mark.root
def test_removing_directories_without_permissions(tmp_path: Path) -> None:
    """As a user whom the permission bits bind."""
    script = """
import os, sys
from orlop.snapshots import walk
os.chdir(sys.argv[1])
os.setgroups([]); os.setgid(65534); os.setuid(65534)
os.makedirs("tree/a/b"); open("tree/a/b/file", "w").close()
for path in ("tree/a/b", "tree/a", "tree"):
    os.chmod(path, 0)
print(walk.remove_tree(os.open(".", os.O_RDONLY), "tree"), os.listdir())
"""
    os.chown(tmp_path, 65534, 65534)
    for above in (tmp_path.parent, tmp_path.parent.parent):
        above.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == ("True []\n", "")


@pytest.mark.root
def test_removing_spares_what_is_mounted(tmp_path: Path, place: int) -> None:
    mounted = tmp_path / "tree" / "a" / "mounted"
    mounted.mkdir(parents=True)
    mount("tmpfs", str(mounted), fstype="tmpfs")
    try:
        (mounted / "precious").touch()
        with pytest.raises(OSError, match=r"[Cc]ross") as refused:
            walk.remove_tree(place, "tree")
        assert refused.value.errno == errno.EXDEV
        assert os.listdir(mounted) == ["precious"]
    finally:
        unmount(str(mounted))
    assert walk.remove_tree(place, "tree")


def test_removing_in_parts(tmp_path: Path, place: int) -> None:
    """However small the parts are, they end, and count every inode once."""
    for size in (1, 2, 3, 7, 100):
        tree = tmp_path / "tree"
        for at in range(4):
            (tree / str(at) / "below").mkdir(parents=True)
            (tree / str(at) / "file").touch()
            (tree / str(at) / "link").symlink_to("nowhere")
        (tree / "0" / "below").chmod(0)
        removed: list[int] = []
        while not removed or removed[-1] == size:
            removed.append(walk.remove_part(place, "tree", size))
        assert sum(removed) == 17
        assert not tree.exists()
    (tmp_path / "file").touch()
    assert walk.remove_part(place, "file", 1) == 1
    assert walk.remove_part(place, "file", 1) == 0


def test_removing_a_part_of_what_is_deep(tmp_path: Path, place: int) -> None:
    make_deep(tmp_path / "deep", 300)
    before = len(os.listdir("/proc/self/fd"))
    assert walk.remove_part(place, "deep", 250) == 250
    assert len(os.listdir("/proc/self/fd")) == before
    assert walk.remove_part(place, "deep", 1000) == 301 + 300 - 250
