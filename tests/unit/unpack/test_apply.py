"""Applying layers to real directories: what comes out, and that nothing outside changes."""

from __future__ import annotations

import os
import struct
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import ArchiveEscape, ArchiveInvalid
from orlop.model.limits import DEFAULTS
from orlop.testing import layers
from orlop.testing.layers import device, directory, fifo, file, hard_link, opaque, symlink, whiteout
from tests.rigs.disk import kinds, loop_filesystem
from tests.rigs.oracle import extract_with_tar
from tests.rigs.tree import differences, tree
from tests.unit.unpack.applying import BOTH, OLD, SECOND, apply, du, names, new_root, node, tripwire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.ports.snapshots import ApplyMode

pytestmark = pytest.mark.root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return new_root(tmp_path)


@pytest.fixture(autouse=True)
def outside(tmp_path: Path) -> Iterator[Path]:
    with tripwire(tmp_path) as path:
        yield path


class TestPlain:
    """Honest entries look as their archiver meant them."""

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize("chunk", [1, 511, 4096])
    def test_is_what_tar_extracts(self, tmp_path: Path, mode: ApplyMode, chunk: int) -> None:
        entries = [
            replace(directory("./", mode=0o750), mtime_ns=OLD),
            replace(directory("d", mode=0o1777, uid=7), mtime_ns=OLD + 1),
            replace(file("d/f", b"x" * 1000, mode=0o4755, uid=1000), mtime_ns=OLD + 2),
            replace(file("empty", mode=0), mtime_ns=3 * SECOND),
            replace(symlink("d/s", "/nowhere"), uid=5, gid=6, mtime_ns=OLD + 4),
            hard_link("hard", "d/f"),
            replace(fifo("d/p"), mode=0o622, uid=8, mtime_ns=OLD),
            replace(device("d/null", major=1, minor=3), mode=0o666, mtime_ns=OLD),
            device("d/disk", layers.BLOCK_DEVICE, major=8, minor=300),
            replace(directory("setgid", mode=0o2775), gid=50, mtime_ns=OLD),
            file("setgid/f", b"1"),
            directory("setgid/d"),
            file(b"d/\xff\xfe\n", b"name"),
            replace(file("xattr"), xattrs={"user.a": b"\0b", "user.empty": b""}),
        ]
        for name in ("root", "tar"):
            (tmp_path / name).mkdir(exist_ok=True)
        apply(tmp_path / "root", entries, mode, chunk=chunk)
        extract_with_tar([layers.tar_bytes(entries)], tmp_path / "tar")
        expected = tree(tmp_path / "tar")
        subprocess.run(["rm", "-r", str(tmp_path / "tar")], check=True)
        assert differences(expected, tree(tmp_path / "root")) == []

    def test_owner_mode_and_time_of_each_type(self, root: Path) -> None:
        kinds = {
            "file": (file("x"), 0o6751),
            "directory": (directory("x"), 0o7751),
            "char": (device("x", major=5, minor=1), 0o6751),
            "block": (device("x", layers.BLOCK_DEVICE, major=5, minor=1), 0o6751),
            "fifo": (fifo("x"), 0o6751),
        }
        for name, (entry, mode) in kinds.items():
            apply(
                root,
                [replace(entry, path=name.encode(), mode=mode, uid=11, gid=22, mtime_ns=OLD)],
            )
            found = node(root, name)
            assert (found.type, found.mode) == (name, mode)
            assert (found.uid, found.gid, found.mtime_ns) == (11, 22, OLD)
        assert node(root, "char").rdev == (5, 1)

    @pytest.mark.parametrize("uid", [2**31, 2**32 - 2])
    def test_large_owner(self, root: Path, uid: int) -> None:
        apply(root, [file("f", uid=uid), replace(symlink("s", "f"), uid=uid, gid=uid)])
        assert {node(root, name).uid for name in "fs"} == {uid}

    @pytest.mark.parametrize("mtime", [-5 * SECOND, 0, 1, 2**33 * SECOND, 2**40 * SECOND])
    def test_extreme_times_are_clamped(self, root: Path, mtime: int) -> None:
        apply(root, [replace(file("f"), mtime_ns=mtime), replace(directory("d"), mtime_ns=mtime)])
        (root / "probe").touch()
        wanted = min(max(mtime, 0), 2**33 * SECOND)
        os.utime(root / "probe", ns=(wanted, wanted))
        kept = (root / "probe").stat().st_mtime_ns
        assert node(root, "f").mtime_ns == node(root, "d").mtime_ns == kept

    @pytest.mark.parametrize("mode", BOTH)
    def test_directory_keeps_its_time_when_filled(self, root: Path, mode: ApplyMode) -> None:
        entries = [replace(directory("d"), mtime_ns=OLD), file("d/f"), file("d/g"), whiteout("d/f")]
        apply(root, entries, mode)
        assert node(root, "d").mtime_ns == OLD

    @pytest.mark.parametrize("mode", BOTH)
    def test_later_directory_entry_wins(self, root: Path, mode: ApplyMode) -> None:
        first = replace(directory("d", mode=0o2700, uid=1), xattrs={"user.a": b"1"})
        second = replace(directory("d", mode=0o711, uid=2), xattrs={"user.b": b"2"}, mtime_ns=OLD)
        apply(root, [first, file("d/f"), second], mode)
        found = node(root, "d")
        assert (found.mode, found.uid, found.mtime_ns) == (0o711, 2, OLD)
        assert found.xattrs == {"user.b": b"2"}
        assert names(root) == {"d", "d/f"}

    @pytest.mark.parametrize("mode", BOTH)
    def test_implied_parents(self, root: Path, mode: ApplyMode) -> None:
        entries = [file("a/b/c/f"), directory("a/b", mode=0o700), file("a/x/f")]
        applied = apply(root, entries, mode)
        assert applied.implied == {b".", b"a", b"a/b/c", b"a/x"}
        assert {(node(root, p).mode, node(root, p).uid) for p in ("a", "a/b/c")} == {(0o755, 0)}
        assert node(root, "a/b").mode == 0o700

    def test_root_is_implied_only_when_it_is_not_named(self, root: Path) -> None:
        assert apply(root, [file("f")]).implied == {b"."}
        assert apply(root, [directory("./", mode=0o711)]).implied == set()
        assert node(root, ".").mode == 0o711

    def test_empty_layer(self, root: Path) -> None:
        assert apply(root, []).implied == {b"."}
        assert names(root) == set()

    def test_many_directories_do_not_use_up_descriptors(self, root: Path) -> None:
        apply(root, [file(f"d{number}/f") for number in range(600)])
        assert len(names(root)) == 1200


class TestUsage:
    """Inodes and bytes are what du counts, and the root is among them."""

    def test_empty_layer_is_its_root(self, root: Path) -> None:
        applied = apply(root, [])
        assert applied.inodes == 1
        assert (applied.inodes, applied.disk_bytes) == du(root)

    @pytest.mark.parametrize("mode", BOTH)
    def test_everything(self, root: Path, mode: ApplyMode) -> None:
        content = b"x" * 8192 + bytes(65536) + b"y" * 5000
        entries = [
            directory("./"),
            file("a", b"1"),
            file("b", b"2" * 4096),
            file("c", b"3" * 4097),
            file("empty"),
            hard_link("a2", "a"),
            symlink("short", "a"),
            symlink("long", "x/" * 100),
            device("null", major=1, minor=3),
            fifo("p"),
            layers.sparse_file("s", content, [(0, 8192), (73728, 5000)], format="1.0"),
            directory("d"),
            *(file(f"d/{number:0200d}") for number in range(200)),
            file("implied/deep/f", b"4"),
            file("replaced", b"5" * 9000),
            symlink("replaced", "a"),
            directory("gone"),
            file("gone/f", b"6" * 9000),
            hard_link("kept", "gone/f"),
            file("gone", b"7"),
            whiteout("hidden"),
            whiteout("hidden"),
            directory("op"),
            whiteout("op/w"),
            opaque("op"),
        ]
        applied = apply(root, entries, mode)
        os.sync()
        assert (applied.inodes, applied.disk_bytes) == du(root)


class TestWhiteoutNames:
    """Names that begin with .wh. are never files."""

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"etc/.wh...", b"a/.wh./b"])
    def test_hiding_no_name(self, root: Path, mode: ApplyMode, name: bytes) -> None:
        with pytest.raises(ArchiveInvalid, match="whiteout"):
            apply(root, [layers.Entry(name)], mode)

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize("name", [b".wh.a/b", b"x/.wh..wh..opq/b", b".wh.a/.wh.b"])
    def test_below_a_whiteout(self, root: Path, mode: ApplyMode, name: bytes) -> None:
        with pytest.raises(ArchiveInvalid, match="whiteout"):
            apply(root, [layers.Entry(name)], mode)

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize("name", [b".wh..wh.aufs", b".wh..wh.plnk/1.2", b"d/.wh..wh.orph"])
    def test_aufs_bookkeeping_is_ignored(self, root: Path, mode: ApplyMode, name: bytes) -> None:
        apply(root, [layers.Entry(name, data=b"x" * 1000), file("after", b"1")], mode)
        assert "after" in names(root)
        assert not any(".wh." in path for path in names(root))

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize(
        "entry",
        [
            layers.Entry(b"x/.wh.f", data=b"d" * 700),
            symlink("x/.wh.f", "/etc"),
            hard_link("x/.wh.f", "nothing"),
            device("x/.wh.f", major=1, minor=3),
            directory("x/.wh.f"),
            fifo("x/.wh.f"),
        ],
    )
    def test_type_and_data_do_not_matter(
        self, root: Path, mode: ApplyMode, entry: layers.Entry
    ) -> None:
        apply(root, [entry, file("after", b"1")], mode)
        assert names(root) == {"after", "x"} | ({"!x/f"} if mode == "overlay" else set())
        assert (root / "after").read_bytes() == b"1"


class TestPaths:
    """Where an entry goes is decided by its text first."""

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize("path", ["../x", "a/../../outside/victim", "/..", ".."])
    def test_above_the_root(self, root: Path, mode: ApplyMode, path: str) -> None:
        with pytest.raises(ArchiveEscape):
            apply(root, [file(path)], mode)
        assert names(root) == set()

    @pytest.mark.parametrize("mode", BOTH)
    def test_absolute_and_unclean(self, root: Path, outside: Path, mode: ApplyMode) -> None:
        apply(root, [file("/f"), file("./a/../b//c"), file(str(outside / "victim"))], mode)
        assert {"f", "b", "b/c", str(outside / "victim").lstrip("/")} <= names(root)

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize("path", [b".", b"/", b"", b"a/.."])
    @pytest.mark.parametrize("typeflag", [b"0", b"1", b"2", b"3", b"6"])
    def test_root_is_a_directory(
        self, root: Path, mode: ApplyMode, path: bytes, typeflag: bytes
    ) -> None:
        with pytest.raises(ArchiveInvalid):
            apply(root, [file("f"), layers.Entry(path, typeflag, link=b"f")], mode)
        assert root.is_dir()

    @pytest.mark.parametrize("mode", BOTH)
    def test_link_without_usable_target(self, root: Path, mode: ApplyMode) -> None:
        with pytest.raises(ArchiveInvalid, match="target"):
            apply(root, [symlink("s", "")], mode)
        with pytest.raises(ArchiveInvalid, match="target"):
            apply(root, [symlink("s", "x" * (DEFAULTS.link_bytes + 1))], mode)

    def test_type_changes(self, root: Path) -> None:
        kinds = [
            file("x", b"1"),
            directory("x"),
            symlink("x", "y"),
            device("x", major=1, minor=3),
            fifo("x"),
        ]
        for before in kinds:
            for after in kinds:
                applied = apply(root, [before, after])
                found = node(root, "x")
                assert _TYPEFLAGS[found.type] == after.typeflag
                assert applied.inodes == 2
                if found.type == "directory":
                    (root / "x").rmdir()
                else:
                    (root / "x").unlink()

    @pytest.mark.parametrize("mode", BOTH)
    def test_removal_does_not_cross_links(self, root: Path, outside: Path, mode: ApplyMode) -> None:
        entries = [
            directory("d"),
            symlink("d/out", str(outside)),
            file("d/a/b/c/f"),
            symlink("d/a/up", "../../../outside"),
            file("d", b"1"),
        ]
        applied = apply(root, entries, mode)
        assert names(root) == {"d"}
        assert (applied.inodes, applied.implied) == (2, {b"."})


_TYPEFLAGS = {
    "file": layers.REGULAR,
    "directory": layers.DIRECTORY,
    "symlink": layers.SYMLINK,
    "char": layers.CHAR_DEVICE,
    "fifo": layers.FIFO,
}


class TestInheritance:
    """What a directory hands down in Linux, an image's directory does not."""

    @pytest.mark.parametrize("mode", BOTH)
    def test_group(self, root: Path, mode: ApplyMode) -> None:
        setgid = replace(directory("d", mode=0o2775), gid=50)
        entries = [setgid, file("d/f", mode=0o644), directory("d/d"), fifo("d/p"), file("d/i/f")]
        apply(root, entries, mode)
        apply(root, [file("d/later"), directory("d/more"), file("d/implied/f")], mode)
        assert (node(root, "d").mode, node(root, "d").gid) == (0o2775, 50)
        for path in ("d/f", "d/d", "d/p", "d/i", "d/i/f"):
            assert (node(root, path).gid, node(root, path).mode & 0o2000) == (0, 0)

    def test_group_of_a_lower_directory(self, root: Path) -> None:
        setgid = replace(directory("d", mode=0o2775), gid=50)
        apply(root, [setgid], "direct")
        apply(root, [file("d/f"), directory("d/d"), file("d/i/f"), symlink("d/s", "f")], "direct")
        for path in ("d/f", "d/d", "d/i", "d/i/f", "d/s"):
            assert (node(root, path).gid, node(root, path).mode & 0o2000) == (0, 0)
        assert (node(root, "d").mode, node(root, "d").gid) == (0o2775, 50)

    @pytest.mark.parametrize("mode", BOTH)
    def test_default_acl(self, root: Path, mode: ApplyMode) -> None:
        parent = replace(directory("d"), xattrs={"system.posix_acl_default": ACL})
        apply(root, [parent, file("d/f", mode=0o666), directory("d/d", mode=0o777)], mode)
        assert node(root, "d").xattrs == {"system.posix_acl_default": ACL}
        assert (node(root, "d/f").mode, node(root, "d/f").xattrs) == (0o666, {})
        assert (node(root, "d/d").mode, node(root, "d/d").xattrs) == (0o777, {})

    def test_default_acl_of_a_lower_directory(self, root: Path) -> None:
        parent = replace(directory("d"), xattrs={"system.posix_acl_default": ACL}, mtime_ns=OLD)
        apply(root, [parent], "direct")
        apply(root, [file("d/f", mode=0o666), file("d/i/f", mode=0o666)], "direct")
        assert node(root, "d").xattrs == {"system.posix_acl_default": ACL}
        assert node(root, "d").mtime_ns == OLD
        for path in ("d/f", "d/i", "d/i/f"):
            assert node(root, path).xattrs == {}

    def test_default_acl_of_the_staging_root(self, root: Path) -> None:
        os.setxattr(root, "system.posix_acl_default", ACL)
        apply(root, [file("f", mode=0o666), directory("d", mode=0o777)])
        assert (node(root, "f").mode, node(root, "d").mode) == (0o666, 0o777)
        assert node(root, "d").xattrs == {}
        assert node(root, ".").xattrs == {}


def acl(*entries: tuple[int, int, int]) -> bytes:
    """A POSIX ACL as the kernel stores it: (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
ACL = acl((1, 7, NOBODY), (2, 7, 1000), (4, 0, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY))


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("kind", kinds())
def test_attributes_outside_the_inode_are_counted(
    tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    entries = [
        replace(file(f"f{at}", b"x" * 5000 * at), xattrs={"user.large": bytes([65 + at]) * 1500})
        for at in range(20)
    ]
    entries += [replace(directory("d"), xattrs={"user.large": b"d" * 1500}), file("plain", b"x")]
    small = replace(file("small", b"x"), xattrs={"user.s": b"1"})
    with loop_filesystem(kind, 512 << 20, directory=tmp_path_factory.mktemp("disk")) as disk:
        (disk / "tree").mkdir()
        root = new_root(disk / "tree")
        applied = apply(root, [*entries, small])
        os.sync()
        assert applied.disk_bytes == du(root)[1]


class TestSparse:
    """Holes stay holes."""

    @pytest.mark.parametrize("format_", ["gnu", "0.0", "0.1", "1.0"])
    @pytest.mark.parametrize("chunk", [1000, 1 << 20])
    def test_is_sparse(self, root: Path, format_: layers.SparseFormat, chunk: int) -> None:
        content = bytes(1 << 20) + b"a" * 4096 + bytes(1 << 20) + b"b" * 4096 + bytes(1 << 20)
        regions = [(1 << 20, 4096), ((2 << 20) + 4096, 4096)]
        entry = layers.sparse_file("f", content, regions, format=format_)
        applied = apply(root, [entry, file("g", b"1")], chunk=chunk)
        assert (root / "f").read_bytes() == content
        assert (root / "f").stat().st_blocks * 512 < 64 * 1024
        assert (root / "g").read_bytes() == b"1"
        os.sync()
        assert applied.disk_bytes == du(root)[1]

    def test_nothing_but_hole(self, root: Path) -> None:
        apply(root, [layers.sparse_file("f", bytes(1 << 20), [], format="1.0")])
        assert (root / "f").stat().st_size == 1 << 20
        assert (root / "f").stat().st_blocks == 0


class TestInterrupted:
    """An archive that ends too soon leaves nothing open (``apply`` looks)."""

    def test_inside_a_file(self, root: Path) -> None:
        with pytest.raises(ArchiveInvalid, match="truncated"):
            apply(root, [replace(file("f", b"x" * 100), size=5000)])

    def test_data_is_appended_in_pieces(self, root: Path) -> None:
        data = os.urandom(10_000)
        apply(root, [file("f", data), file("g", data[:1])], chunk=700)
        assert (root / "f").read_bytes() == data
        assert (root / "g").read_bytes() == data[:1]

    def test_large_file(self, root: Path) -> None:
        data = os.urandom(1 << 20) * 3
        apply(root, [file("f", data)])
        assert (root / "f").read_bytes() == data
