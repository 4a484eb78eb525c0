"""Removing trees: all of it, nothing else, and counted right."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from orlop.linux.trees import disk_bytes, remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 4096


@pytest.fixture
def above(tmp_path: Path) -> Iterator[int]:
    before = set(os.listdir("/proc/self/fd"))
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)
    assert set(os.listdir("/proc/self/fd")) == before


def test_empty_directory(tmp_path: Path, above: int) -> None:
    (tmp_path / "d").mkdir()
    removed = remove_tree(b"d", above, block=BLOCK)
    assert (removed.inodes, removed.disk, removed.paths) == (1, 0, (b"d",))
    assert os.listdir(tmp_path) == []


def test_everything_is_counted(tmp_path: Path, above: int) -> None:
    top = tmp_path / "d"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "f").write_bytes(b"x" * 5000)
    (top / "sub" / "empty").touch()
    (top / "sub" / "deep" / "g").write_bytes(b"x")
    os.mkfifo(top / "p")
    os.symlink("f", top / "s")
    removed = remove_tree(b"d", above, block=BLOCK)
    assert removed.inodes == 8
    assert removed.disk == 2 * BLOCK + BLOCK
    assert set(removed.paths) == {
        b"d",
        b"d/f",
        b"d/p",
        b"d/s",
        b"d/sub",
        b"d/sub/deep",
        b"d/sub/deep/g",
        b"d/sub/empty",
    }
    assert len(removed.paths) == 8
    assert os.listdir(tmp_path) == []


def test_hard_links(tmp_path: Path, above: int) -> None:
    top = tmp_path / "d"
    top.mkdir()
    (tmp_path / "kept").write_bytes(b"x" * 5000)
    os.link(tmp_path / "kept", top / "other")
    (top / "a").write_bytes(b"y")
    os.link(top / "a", top / "b")
    os.link(top / "a", top / "c")
    removed = remove_tree(b"d", above, block=BLOCK)
    # The directory and one file; the other has a name elsewhere.
    assert (removed.inodes, removed.disk) == (2, BLOCK)
    assert (tmp_path / "kept").stat().st_nlink == 1


def test_links_are_not_followed(tmp_path: Path, above: int) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").touch()
    top = tmp_path / "d"
    (top / "sub").mkdir(parents=True)
    os.symlink(outside, top / "absolute")
    os.symlink("../../outside", top / "sub" / "relative")
    os.symlink("nothing", top / "dangling")
    remove_tree(b"d", above, block=BLOCK)
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["victim"]


@pytest.mark.parametrize("kind", ["link", "file", "missing"])
def test_what_is_no_directory_is_left(tmp_path: Path, above: int, kind: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").touch()
    os.symlink("real", tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Not a directory|No such file"):
        remove_tree(kind.encode(), above, block=BLOCK)
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "real"]
    assert os.listdir(tmp_path / "real") == ["f"]


def test_deeper_than_any_path_and_the_stack(tmp_path: Path, above: int) -> None:
    depth, name = 300, b"n" * 100
    fd = os.dup(above)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    assert remove_tree(name, above, block=BLOCK).inodes == depth
    assert os.listdir(tmp_path) == []


def test_wide_and_odd_names(tmp_path: Path, above: int) -> None:
    top = tmp_path / "d"
    top.mkdir()
    for number in range(500):
        (top / f"f{number}").touch()
    for name in (b"\xff\xfe", b"new\nline", b"n" * 255):
        os.mkdir(os.path.join(os.fsencode(top), name))
    removed = remove_tree(b"d", above, block=BLOCK)
    assert removed.inodes == 504
    assert b"d/\xff\xfe" in removed.paths


@pytest.mark.root
def test_mount_point_is_not_emptied_by_name(tmp_path: Path, above: int) -> None:
    """The mount point itself stays; descriptors are closed although it fails."""
    mountpoint = tmp_path / "d" / "sub"
    mountpoint.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(mountpoint)], check=True)
    try:
        with pytest.raises(OSError, match="busy"):
            remove_tree(b"d", above, block=BLOCK)
        assert mountpoint.is_mount()
    finally:
        subprocess.run(["umount", str(mountpoint)], check=True)


class TestDiskBytes:
    """What files take, in whole blocks."""

    @pytest.mark.parametrize(
        ("size", "blocks"), [(0, 0), (1, 1), (4096, 1), (4097, 2), (50_000, 13)]
    )
    def test_file(self, tmp_path: Path, size: int, blocks: int) -> None:
        path = tmp_path / "f"
        path.write_bytes(os.urandom(size))
        assert disk_bytes(path.stat(), BLOCK) == blocks * BLOCK

    def test_holes_are_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        with path.open("wb") as file:
            file.seek(1 << 20)
            file.write(b"x")
        assert disk_bytes(path.stat(), BLOCK) == BLOCK

    def test_room_reserved_ahead_is_not_counted(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        with path.open("wb") as file:
            file.write(b"x")
            file.flush()
            subprocess.run(["fallocate", "--keep-size", "--length", "1M", str(path)], check=True)
            assert disk_bytes(os.fstat(file.fileno()), BLOCK) == BLOCK

    def test_short_link(self, tmp_path: Path) -> None:
        os.symlink("target", tmp_path / "s")
        assert disk_bytes((tmp_path / "s").lstat(), BLOCK) == 0
