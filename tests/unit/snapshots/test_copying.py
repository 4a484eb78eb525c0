"""A copy cannot be told from its original."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orlop.snapshots import walk
from orlop.snapshots.copying import _copy_bytes, copy_tree

pytestmark = pytest.mark.root


@pytest.fixture
def original(tmp_path: Path) -> Path:
    tree = tmp_path / "original"
    (tree / "dir" / "below").mkdir(parents=True)
    (tree / "dir" / "file").write_bytes(os.urandom(100_000))
    (tree / "empty").touch()
    os.link(tree / "dir" / "file", tree / "dir" / "below" / "again")
    os.link(tree / "dir" / "file", tree / "third name")
    (tree / "link").symlink_to("dir/file")
    os.link(tree / "link", tree / "link again", follow_symlinks=False)
    (tree / "dangling").symlink_to(b"\xff/../..".decode(errors="surrogateescape"))
    os.mkfifo(tree / "fifo", 0o640)
    os.mknod(tree / "device", stat.S_IFCHR | 0o620, os.makedev(5, 1))
    os.mknod(tree / "hidden", stat.S_IFCHR, 0)
    (tree / os.fsdecode(b"\xfe\n")).write_text("odd name")
    os.chown(tree / "empty", 33, 44)
    (tree / "empty").chmod(0o6755)
    os.setxattr(tree / "dir", "user.a", b"b")
    (tree / "dir").chmod(0o1511)
    tree.chmod(0o2750)
    for number, path in enumerate([*sorted(tree.rglob("*"), reverse=True), tree]):
        os.utime(path, ns=(10**9 + number, 10**18 + number), follow_symlinks=False)
    return tree


def picture(tree: Path) -> dict[str, tuple[object, ...]]:
    """All that can be seen of a tree, by path; access times are read before contents."""
    paths = [tree, *tree.rglob("*")]
    seen = {path: path.lstat() for path in paths}
    order = sorted(paths)
    result: dict[str, tuple[object, ...]] = {}
    for path in paths:
        found = seen[path]
        same = sorted(str(p.relative_to(tree)) for p in order if seen[p].st_ino == found.st_ino)
        xattrs = [
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in os.listxattr(path, follow_symlinks=False)
        ]
        content: object = ""
        if stat.S_ISREG(found.st_mode):
            content = path.read_bytes() if found.st_size < 1 << 20 else found.st_size
        elif stat.S_ISLNK(found.st_mode):
            content = path.readlink()
        size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
        result[str(path.relative_to(tree))] = (
            *(found.st_mode, found.st_uid, found.st_gid, size, found.st_rdev),
            *(found.st_mtime_ns, xattrs, content, same),
        )
    return result


def copy_of(original: Path) -> Path:
    copy, links = original.parent / "copy", original.parent / "links"
    copy.mkdir()
    links.mkdir()
    copy_tree(str(original), str(copy), links=str(links))
    return copy


def test_everything_is_kept(original: Path) -> None:
    copy = copy_of(original)
    assert picture(copy) == picture(original)
    assert copy.stat().st_atime_ns >= 10**9
    assert not (copy / "dir" / "file").samefile(original / "dir" / "file")


def test_the_original_is_not_touched(original: Path) -> None:
    before = picture(original)
    file = original / "dir" / "file"
    os.utime(file, ns=(1, file.stat().st_mtime_ns))
    copy_of(original)
    assert file.stat().st_atime_ns == 1
    assert picture(original) == before


def test_names_outside_of_the_tree_do_not_count(original: Path) -> None:
    os.link(original / "empty", original.parent / "outside")
    copy = copy_of(original)
    assert (copy / "empty").stat().st_size == 0
    # The copy's own extra name is under "links" until the caller removes that.
    assert (copy / "empty").stat().st_nlink == 2


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
def test_holes_stay_holes(tmp_path: Path, size: int) -> None:
    original = tmp_path / "original"
    original.mkdir()
    for name in ("data first", "data last", "hole only"):
        (original / name).touch()
        os.truncate(original / name, 1 << 24)
    with (original / "data first").open("r+b") as file:
        file.write(b"x" * size)
    with (original / "data last").open("r+b") as file:
        file.seek(-size, os.SEEK_END)
        file.write(b"y" * size)
    copy = copy_of(original)
    for name in ("data first", "data last", "hole only"):
        assert (copy / name).read_bytes() == (original / name).read_bytes()
        assert (copy / name).stat().st_blocks * 512 <= size + (1 << 17)


def test_depth_does_not_matter(tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.mkdir()
    with walk.Cursor(str(original)) as cursor:
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=cursor.fd))
        with walk.Cursor(str(original)) as top:
            for _ in range(600):
                os.mkdir("d" * 50, dir_fd=cursor.fd)
                cursor.enter("d" * 50)
            os.link("file", "deep link", src_dir_fd=top.fd, dst_dir_fd=cursor.fd)
    copy = copy_of(original)
    assert walk.measure(str(copy)) == walk.measure(str(original))
    parent = os.open(tmp_path, os.O_RDONLY)
    for name in ("copy", "original"):
        walk.remove_tree(parent, name)
    os.close(parent)


def test_without_the_kernels_help(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 4567)
    (tmp_path / "original").write_bytes(data)
    with (tmp_path / "original").open("rb") as original, (tmp_path / "copy").open("wb") as copy:
        _copy_bytes(original.fileno(), copy.fileno(), 100, len(data) - 50)
    assert (tmp_path / "copy").read_bytes()[100:] == data[100:-50]


def test_from_one_file_system_to_another(tmp_path: Path) -> None:
    other = Path("/dev/shm") / f"orlop-{os.getpid()}"
    other.mkdir()
    try:
        (other / "file").write_bytes(b"z" * 3_000_000)
        (tmp_path / "copy").mkdir()
        (tmp_path / "links").mkdir()
        copy_tree(str(other), str(tmp_path / "copy"), links=str(tmp_path / "links"))
        assert (tmp_path / "copy" / "file").read_bytes() == b"z" * 3_000_000
    finally:
        (other / "file").unlink()
        other.rmdir()
