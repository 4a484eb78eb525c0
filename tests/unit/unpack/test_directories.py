"""Paths through links: they lead where the kernel would lead them, below the root."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orlop.errors import ArchiveInvalid, LimitExceeded
from orlop.model.limits import DEFAULTS, Limits
from orlop.unpack.directories import Directories, NeedsParent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    (path / "a/b/c").mkdir(parents=True)
    (path / "etc").mkdir()
    (path / "file").write_bytes(b"")
    (tmp_path / "outside/b").mkdir(parents=True)
    return path


@pytest.fixture
def complete(root: Path) -> Iterator[Directories]:
    fd = os.open(root, os.O_RDONLY)
    directories = Directories(fd, complete=True, limits=DEFAULTS)
    yield directories
    directories.close()
    os.close(fd)


@pytest.fixture
def alone(root: Path) -> Iterator[Directories]:
    fd = os.open(root, os.O_RDONLY)
    directories = Directories(fd, complete=False, limits=DEFAULTS)
    yield directories
    directories.close()
    os.close(fd)


def same(fd: int, path: Path) -> bool:
    return os.path.samestat(os.fstat(fd), path.stat())


def test_plain_paths_are_real(root: Path, complete: Directories) -> None:
    for path in ("a", "a/b", "a/b/c"):
        fd, real = complete.find(path.encode())
        assert real == path.encode()
        assert same(fd, root / path)
        assert complete.open(real) == fd
    assert same(complete.open(b"."), root)


@pytest.mark.parametrize(
    ("target", "real"),
    [
        ("a", b"a/b"),
        ("/a", b"a/b"),
        ("./a/.//", b"a/b"),
        ("../../../a", b"a/b"),
        ("/../../a", b"a/b"),
        ("a/b/../../a", b"a/b"),
        ("a/b/c/../..", b"a/b"),
        ("etc/../a", b"a/b"),
    ],
)
def test_links_lead_below_the_root(
    root: Path, complete: Directories, alone: Directories, target: str, real: bytes
) -> None:
    (root / "l").symlink_to(target)
    for directories in (complete, alone):
        for _ in range(2):  # what is remembered is the same
            fd, found = directories.find(b"l/b")
            assert found == real
            assert same(fd, root / "a/b")


def test_links_in_the_middle_and_in_links(root: Path, complete: Directories) -> None:
    (root / "a/b/up").symlink_to("../..")
    (root / "one").symlink_to("a/b/up/two")
    (root / "two").symlink_to("/etc/three")
    (root / "etc/three").symlink_to("../a")
    assert complete.find(b"one/b/up/one/b/c")[1] == b"a/b/c"


def test_a_link_to_the_root(root: Path, complete: Directories) -> None:
    for target in ("/", ".", "..", "a/.."):
        (root / "l").unlink(missing_ok=True)
        (root / "l").symlink_to(target)
        complete.forget()
        fd, real = complete.find(b"l")
        assert (real, same(fd, root)) == (b".", True)
        assert complete.find(b"l/etc")[1] == b"etc"


def test_a_link_outside_leads_inside(
    root: Path, tmp_path: Path, complete: Directories, alone: Directories
) -> None:
    (root / "l").symlink_to(tmp_path / "outside")
    (root / "m").symlink_to("../outside")
    for name in (b"l/b", b"m/b"):
        with pytest.raises(FileNotFoundError):
            complete.find(name)
        with pytest.raises(NeedsParent):
            alone.find(name)
    assert complete.real(b"l/b") == os.fsencode(tmp_path)[1:] + b"/outside/b"
    assert complete.real(b"m/b") == b"outside/b"


def test_what_is_missing_behind_a_link_that_leads_somewhere(root: Path, alone: Directories) -> None:
    (root / "l").symlink_to("a")
    with pytest.raises(FileNotFoundError):
        alone.find(b"l/new/x")
    assert alone.real(b"l/new/x") == b"a/new/x"


@pytest.mark.parametrize("path", [b"missing", b"a/missing/x", b"file", b"file/x"])
def test_what_is_no_directory(complete: Directories, alone: Directories, path: bytes) -> None:
    for directories in (complete, alone):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            directories.find(path)
        assert directories.real(path) == path


@pytest.mark.parametrize("target", ["loop", "a/../loop", "/loop/x", "loop2"])
def test_circles(root: Path, complete: Directories, alone: Directories, target: str) -> None:
    (root / "loop").symlink_to(target)
    (root / "loop2").symlink_to("loop")
    for directories in (complete, alone):
        with pytest.raises(ArchiveInvalid, match=r"no directory \(Too many levels"):
            directories.find(b"loop/x")


@pytest.mark.parametrize(("links", "found"), [(40, True), (41, False)])
def test_as_many_links_as_the_kernel_follows(
    root: Path, complete: Directories, links: int, found: bool
) -> None:
    (root / "l1").symlink_to("a")
    for number in range(2, links + 1):
        (root / f"l{number}").symlink_to(f"l{number - 1}")
    if found:
        assert complete.find(b"l%d/b" % links)[1] == b"a/b"
    else:
        with pytest.raises(ArchiveInvalid, match="no directory"):
            complete.find(b"l%d/b" % links)


def test_links_cannot_ask_for_endless_work(root: Path, complete: Directories) -> None:
    (root / "l1").symlink_to("a/../" * 800 + "a")
    with pytest.raises(ArchiveInvalid, match="no directory"):
        complete.find(b"l1/b")


def test_a_name_that_is_too_long(root: Path, complete: Directories, alone: Directories) -> None:
    (root / "l").symlink_to("n" * 300)
    for directories in (complete, alone):
        with pytest.raises(ArchiveInvalid, match="File name too long"):
            directories.find(b"l/x")


def test_a_real_path_is_held_to_the_limits(root: Path) -> None:
    (root / "l").symlink_to("a/b")
    fd = os.open(root, os.O_RDONLY)
    deep = Directories(fd, complete=True, limits=Limits(path_depth=2))
    with pytest.raises(LimitExceeded, match="components"):
        deep.find(b"l/c")
    long = Directories(fd, complete=True, limits=Limits(path_bytes=4, component_bytes=4))
    with pytest.raises(ArchiveInvalid, match="longer than 4"):
        long.find(b"l/c")
    deep.close()
    long.close()
    os.close(fd)


def test_what_is_forgotten_is_looked_up_again(root: Path, complete: Directories) -> None:
    (root / "l").symlink_to("a")
    first, _ = complete.find(b"l")
    (root / "l").unlink()
    (root / "l").symlink_to("etc")
    complete.forget()
    os.fstat(first)  # still open, for whoever works with it
    assert complete.find(b"l")[1] == b"etc"
    complete.close_stale()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first)


def test_a_link_that_came_after_it_was_remembered(root: Path, complete: Directories) -> None:
    (root / "l").symlink_to("new")
    with pytest.raises(FileNotFoundError):
        complete.find(b"l/b")
    (root / "new").symlink_to("a")
    assert complete.find(b"l/b")[1] == b"a/b"


def test_descriptors_are_few_and_closed(root: Path, complete: Directories) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(600):
        (root / f"d{number}").mkdir()
        complete.open(b"d%d" % number)
    assert len(os.listdir("/proc/self/fd")) - before <= 256
    assert same(complete.open(b"d0"), root / "d0")
    complete.close()
    assert len(os.listdir("/proc/self/fd")) == before
