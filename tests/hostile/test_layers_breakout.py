"""Layers that try to leave their tree: what is outside stays as it is, to the last attribute.

Each layer is applied in both modes, to a tree beside a tripwire that many of its
paths would reach if the tree were the whole file system. Where the layer is not
refused, everything that it names is inside.
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from orlop.errors import OrlopError
from orlop.linux.files import RENAME_EXCHANGE, renameat2
from orlop.model.limits import DEFAULTS
from orlop.testing import layers
from orlop.testing.layers import Entry, device, directory, fifo, file, hard_link, opaque, symlink
from orlop.unpack.directories import Directories, NeedsParent
from tests.rigs.tree import Node, differences, tree
from tests.unit.unpack.rig import MODES, apply_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.ports.snapshots import ApplyMode

pytestmark = pytest.mark.root

OUT = "../outside"
SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


class Tripwire:
    """A directory, its neighbour the tree, and how it looked before."""

    def __init__(self, top: Path) -> None:
        self.outside = top / "outside"
        self.root = top / "root"
        self.root.mkdir()
        (self.outside / "dir").mkdir(parents=True)
        (self.outside / "file").write_bytes(b"secret")
        (self.outside / "dir/file").write_bytes(b"secret")
        (self.outside / "link").symlink_to("dir")
        os.mkfifo(self.outside / "fifo")
        (self.outside / "file").chmod(0o600)
        self._top = top
        self.before = tree(self.outside)

    @property
    def absolute(self) -> str:
        """The absolute path of what must not be reached."""
        return str(self.outside)

    def check(self) -> None:
        """Nothing outside has changed, and nothing has come."""
        assert differences(self.before, tree(self.outside)) == []
        assert sorted(os.listdir(self._top)) == ["outside", "root"]
        status = (self.outside / "file").stat()
        assert status.st_nlink == 1

    def inside(self) -> dict[bytes, Node]:
        """What the layer has made."""
        return tree(self.root)


@pytest.fixture
def tripwire(tmp_path: Path) -> Iterator[Tripwire]:
    wire = Tripwire(tmp_path)
    yield wire
    wire.check()


def attempt(wire: Tripwire, members: list[Entry], mode: ApplyMode) -> bool:
    """Apply to an empty tree; True when the layer was accepted."""
    shutil.rmtree(wire.root)
    wire.root.mkdir()
    try:
        apply_layer(wire.root, members, mode)
    except (OrlopError, NeedsParent):
        return False
    return True


WAYS_OUT = [
    [symlink("out", "../outside")],
    [symlink("out", "../../../../../../../../../../../..")],
    [symlink("out", "ABSOLUTE")],
    [symlink("out", "/ABSOLUTE/./../outside")],
    [symlink("one", "ABSOLUTE"), symlink("out", "one")],
    [symlink("one", ".."), symlink("two", "one/.."), symlink("out", "two/outside")],
    [symlink("d/up", "../.."), symlink("out", "d/up/outside")],
    [directory("d"), symlink("d/out", "../../outside"), symlink("out", "d/out")],
    [symlink("one", "../outside"), hard_link("out", "one")],
    [symlink("out", "/proc/self/cwd/../outside")],
    [symlink("out", "/proc/self/root/ABSOLUTE")],
    [symlink("out", "/proc/1/root/ABSOLUTE")],
    [symlink("out", "../outside"), directory("out"), symlink("out", "../outside")],
]
LOUD = {"mode": 0o4777, "uid": 4321, "gid": 4321, "mtime_ns": SECOND}
ACTIONS: list[list[Entry]] = [
    [file("out/file", b"overwritten")],
    [file("out/new", b"new")],
    [file("out/dir/file", b"overwritten")],
    [directory("out", mode=0o4777, uid=4321)],
    [Entry(b"out/dir", layers.DIRECTORY, mode=0o4777, uid=4321, xattrs={"user.a": b"b"})],
    [Entry(b"out/file", layers.SYMLINK, link=b"elsewhere", uid=4321)],
    [fifo("out/fifo")],
    [device("out/file", major=1, minor=3)],
    [device("out/file", major=0, minor=0)],
    [layers.whiteout("out/file")],
    [layers.whiteout("out/dir")],
    [layers.whiteout("out")],
    [opaque("out")],
    [opaque("out/dir")],
    [opaque("out/link")],
    [hard_link("stolen", "out/file")],
    [hard_link("out/stolen", "out/file"), file("out/stolen", b"overwritten")],
    [hard_link("out/file", "out/dir/file")],
    [Entry(b"out/link", layers.HARD_LINK, link=b"out/file", mode=0o4777, uid=4321)],
    [file("out/link/new", b"new")],
    [file("out", b"in its place")],
    [layers.sparse_file("out/file", b"x" + bytes(9999), [(0, 1)], format="1.0")],
]


@pytest.mark.row("X02")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", range(len(WAYS_OUT)))
def test_through_links(way: int, mode: ApplyMode, tmp_path: Path) -> None:
    """Every way out with everything that could be done there."""
    for number, action in enumerate(ACTIONS):
        top = tmp_path / str(number)
        top.mkdir()
        wire = Tripwire(top)
        members = [
            Entry(
                entry.path,
                entry.typeflag,
                link=entry.link.replace(b"/ABSOLUTE", b"ABSOLUTE").replace(
                    b"ABSOLUTE", wire.absolute.encode()
                ),
            )
            for entry in WAYS_OUT[way]
        ]
        attempt(wire, [*members, *action], mode)
        wire.check()
        # What it leads to inside is there already, with a link back out.
        inside = wire.absolute[1:]
        attempt(wire, [directory(inside), file(inside + "/file"), *members, *action], mode)
        wire.check()


@pytest.mark.row("X01")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "path", ["../outside/file", "/../outside/file", "d/../../outside/file", "./../outside/new"]
)
def test_by_name(path: str, mode: ApplyMode, tripwire: Tripwire) -> None:
    for typeflag in (b"0", b"1", b"2", b"3", b"5", b"6", b"7"):
        link = b"x" if typeflag in b"12" else b""
        entry = Entry(path.encode(), typeflag, link=link, **LOUD)  # type: ignore[arg-type] # ints
        assert not attempt(tripwire, [file("x"), entry], mode)
    parent, _, name = path.rpartition("/")
    assert not attempt(tripwire, [file(f"{parent}/.wh.{name}")], mode)
    assert not attempt(tripwire, [opaque(parent)], mode)


@pytest.mark.row("X01")
@pytest.mark.parametrize("mode", MODES)
def test_absolute_names_are_inside(mode: ApplyMode, tripwire: Tripwire) -> None:
    name = tripwire.absolute + "/file"
    members = [file(name, b"inside"), directory(tripwire.absolute, mode=0o4777, uid=4321)]
    assert attempt(tripwire, members, mode)
    assert (tripwire.root / name[1:]).read_bytes() == b"inside"


@pytest.mark.row("X07")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("target", [f"{OUT}/file", f"{OUT}/dir", f"{OUT}/fifo", "ABSOLUTE/file"])
def test_the_last_name_is_never_followed(target: str, mode: ApplyMode, tripwire: Tripwire) -> None:
    """Each kind of entry in place of a link; its mode, owner, time and attributes, too."""
    link = symlink("l", target.replace("ABSOLUTE", tripwire.absolute))
    kinds: list[Entry] = [
        Entry(b"l", data=b"overwritten", xattrs={"user.a": b"b"}, **LOUD),  # type: ignore[arg-type]
        Entry(b"l", layers.SYMLINK, link=target.encode(), xattrs={"user.a": b"b"}, **LOUD),  # type: ignore[arg-type]
        Entry(b"l", layers.DIRECTORY, xattrs={"user.a": b"b"}, **LOUD),  # type: ignore[arg-type]
        Entry(b"l", layers.FIFO, **LOUD),  # type: ignore[arg-type]
        Entry(b"l", layers.CHAR_DEVICE, major=1, minor=3, **LOUD),  # type: ignore[arg-type]
        Entry(b"h", layers.HARD_LINK, link=b"l", xattrs={"user.a": b"b"}, **LOUD),  # type: ignore[arg-type]
    ]
    for count in (1, 2):
        for chosen in itertools.permutations(kinds, count):
            flags = [entry.typeflag for entry in chosen]
            to_directory = flags == [layers.DIRECTORY, layers.HARD_LINK]
            assert attempt(tripwire, [link, *chosen], mode) != to_directory
            tripwire.check()


@pytest.mark.row("X09")
@pytest.mark.parametrize("mode", MODES)
def test_removing_a_tree_does_not_cross_links(mode: ApplyMode, tripwire: Tripwire) -> None:
    members = [
        symlink("d/abs", tripwire.absolute),
        symlink("d/rel", "../../outside"),
        symlink("d/sub/dir", "../../../outside/dir"),
        hard_link("d/sub/again", "d/abs"),
    ]
    for last in (file("d"), symlink("d", tripwire.absolute), layers.whiteout("d")):
        for rest in ([], [opaque("d")], [directory("d"), file("d/x")]):
            attempt(tripwire, [*members, last, *rest], mode)
            tripwire.check()
            with suppress(FileNotFoundError, NotADirectoryError):
                assert "sub" not in os.listdir(tripwire.root / "d") or last.path == b".wh.d"


@pytest.mark.row("X04")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", ["", ".", "/", "d/.."])
def test_the_root_stays_a_directory(path: str, mode: ApplyMode, tripwire: Tripwire) -> None:
    for entry in (symlink(path, tripwire.absolute), file(path), fifo(path), hard_link(path, "x")):
        assert not attempt(tripwire, [file("x"), entry], mode)
        assert set(tripwire.inside()) == {b".", b"x"}


@pytest.mark.row("X05")
def test_directories_under_attack(tripwire: Tripwire) -> None:
    """A directory that becomes a link and back, all the time, is never left by it."""
    (tripwire.root / "d/sub").mkdir(parents=True)
    (tripwire.outside / "dir/sub").mkdir()
    (tripwire.root / "evil").symlink_to(tripwire.outside / "dir")
    root = os.open(tripwire.root, os.O_RDONLY)
    stop = threading.Event()
    flips = 0

    def flip() -> None:
        nonlocal flips
        while not stop.is_set():
            renameat2(root, b"d", root, b"evil", RENAME_EXCHANGE)
            flips += 1

    thread = threading.Thread(target=flip)
    thread.start()
    trap = (tripwire.outside / "dir/sub").stat().st_ino
    found = 0
    directories = Directories(root, complete=True, limits=DEFAULTS)
    try:
        for _ in range(20_000):
            with suppress(OrlopError, FileNotFoundError, NotADirectoryError, OSError):
                fd, _ = directories.find(b"d/sub")
                assert os.fstat(fd).st_ino != trap
                found += 1
            directories.close()
    finally:
        stop.set()
        thread.join()
        os.close(root)
        (tripwire.outside / "dir/sub").rmdir()
        os.utime(tripwire.outside / "dir", ns=(0, tripwire.before[b"dir"].mtime_ns))
    assert found > 100
    assert flips > 100
