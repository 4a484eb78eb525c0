"""Applying layers to real directories: what comes out, and that nothing outside changes."""

from __future__ import annotations

import os
import struct
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from orlop.errors import ArchiveEscape, ArchiveInvalid, LimitExceeded
from orlop.linux.files import DIRECTORY
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.tar import Entry, TarParser
from orlop.testing import layers
from orlop.testing.layers import device, directory, fifo, file, hard_link, opaque, symlink, whiteout
from orlop.unpack.apply import Applier
from orlop.unpack.directories import NeedsParent
from tests.rigs.oracle import extract_with_tar
from tests.rigs.tree import Node, differences, tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orlop.ports.snapshots import ApplyMode

pytestmark = pytest.mark.root

BOTH: tuple[ApplyMode, ...] = ("overlay", "direct")
SECOND = 10**9
OLD = 1_000_000_000 * SECOND + 123_456_789


class Applied(NamedTuple):
    """What ``Applier`` reported."""

    implied: set[bytes]
    opaque: set[bytes]
    dropped: dict[str, int]
    inodes: int
    disk_bytes: int


def apply(
    root: Path,
    entries: Iterable[layers.Entry | bytes],
    mode: ApplyMode = "overlay",
    *,
    limits: Limits = DEFAULTS,
    chunk: int = 1 << 20,
) -> Applied:
    """Apply one layer to ``root``; nothing may stay open, whatever happens."""
    archive = layers.tar_bytes(entries)
    before = set(os.listdir("/proc/self/fd"))
    umask = os.umask(0)
    fd = os.open(root, DIRECTORY)
    try:
        parser = TarParser(limits)
        with Applier(fd, mode, limits) as applier:
            for at in range(0, len(archive), chunk):
                for event in parser.feed(archive[at : at + chunk]):
                    if isinstance(event, Entry):
                        applier.begin(event)
                    else:
                        applier.write(event)
            parser.close()
            applier.finish()
        return Applied(
            applier.implied, applier.opaque, applier.dropped, applier.inodes, applier.disk_bytes
        )
    finally:
        os.close(fd)
        os.umask(umask)
        assert set(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture(autouse=True)
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory beside the root that must be the same afterwards."""
    path = tmp_path / "outside"
    path.mkdir(mode=0o751)
    (path / "victim").write_bytes(b"victim")
    (path / "directory").mkdir(mode=0o700)
    os.symlink("victim", path / "link")
    os.chmod(path / "victim", 0o604)
    before = tree(path)
    yield path
    assert differences(before, tree(path)) == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["outside", "root"]


def names(root: Path) -> set[str]:
    """All paths below ``root``; a whiteout has a ``!`` in front."""
    return {
        ("!" if node.type == "char" and node.rdev == (0, 0) else "") + os.fsdecode(path)
        for path, node in tree(root).items()
        if path != b"."
    }


def node(root: Path, path: str) -> Node:
    return tree(root)[os.fsencode(path)]


def du(root: Path) -> tuple[int, int]:
    """Inodes and bytes of a tree, as du(1) counts them."""
    answers = [
        subprocess.run(["du", "-s", *options, str(root)], capture_output=True, check=True).stdout
        for options in (("--inodes",), ("-B1",))
    ]
    inodes, size = (int(answer.split()[0]) for answer in answers)
    return inodes, size


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


class TestWhiteoutsInOverlay:
    """Deletions as overlayfs has them, in whatever order they come."""

    def test_file(self, root: Path) -> None:
        applied = apply(root, [whiteout("f"), whiteout("d/f")])
        assert names(root) == {"!f", "d", "!d/f"}
        assert applied.opaque == set()
        assert applied.implied == {b".", b"d"}

    @pytest.mark.parametrize("made", [file("x", b"1"), symlink("x", "y"), fifo("x")])
    @pytest.mark.parametrize("reverse", [False, True])
    def test_what_this_layer_makes_wins(
        self, root: Path, made: layers.Entry, reverse: bool
    ) -> None:
        entries = [whiteout("x"), made, whiteout("x")]
        applied = apply(root, entries[1:] if reverse else entries[:2])
        assert names(root) == {"x"}
        assert (applied.inodes, applied.opaque) == (2, set())

    @pytest.mark.parametrize(
        "entries",
        [
            [whiteout("x"), directory("x")],
            [directory("x"), whiteout("x")],
            [file("x"), directory("x")],
            [symlink("x", "y"), directory("x")],
            [whiteout("x"), file("x/f")],
            [file("x/f"), whiteout("x")],
            [device("x", major=0, minor=0), directory("x")],
            [whiteout("x"), file("x"), directory("x")],
            [whiteout("x"), whiteout("x/f")],
        ],
    )
    def test_deleted_directory_that_is_made_again_is_opaque(
        self, root: Path, entries: list[layers.Entry]
    ) -> None:
        applied = apply(root, entries)
        assert applied.opaque == {b"x"}
        assert applied.implied == {b"."}
        assert "!x" not in names(root)
        assert "!x/f" not in names(root)

    @pytest.mark.parametrize(
        "order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1), (1, 1, 0, 2, 3)]
    )
    def test_opaque_in_any_order(self, root: Path, order: tuple[int, ...]) -> None:
        entries = [directory("d"), opaque("d"), file("d/f"), whiteout("d/gone")]
        applied = apply(root, [entries[index] for index in order])
        assert applied.opaque == {b"d"}
        assert names(root) == {"d", "d/f"}
        assert applied.inodes == 3

    def test_whiteouts_deep_below_opaque_leave_no_device(self, root: Path) -> None:
        entries = [whiteout("a/b/c/w"), file("a/b/f"), whiteout("w"), opaque("a"), opaque("a/b")]
        assert apply(root, entries).opaque == {b"a", b"a/b"}
        assert names(root) == {"!w", "a", "a/b", "a/b/f", "a/b/c"}

    def test_opaque_root(self, root: Path) -> None:
        applied = apply(root, [opaque(), whiteout("w"), file("f"), whiteout("d/w")])
        assert applied.opaque == {b"."}
        assert names(root) == {"f", "d"}

    def test_opaque_of_something_that_is_missing_makes_it(self, root: Path) -> None:
        assert apply(root, [opaque("a/b")]).opaque == {b"a/b"}
        assert names(root) == {"a", "a/b"}

    def test_opaque_through_a_link_is_that_of_its_target(self, root: Path) -> None:
        entries = [directory("d"), file("d/f"), symlink("s", "/d"), opaque("s")]
        assert apply(root, entries).opaque == {b"d"}
        assert names(root) == {"d", "d/f", "s"}

    def test_opaque_of_a_directory_that_is_replaced_counts_no_longer(self, root: Path) -> None:
        applied = apply(root, [opaque("a/d"), file("a/d/f"), file("a")])
        assert (applied.opaque, applied.implied) == (set(), {b"."})
        assert names(root) == {"a"}

    def test_whiteout_through_a_link(self, root: Path) -> None:
        apply(root, [directory("d"), symlink("s", "d"), whiteout("s/gone")])
        assert names(root) == {"d", "s", "!d/gone"}

    def test_device_0_0_is_a_whiteout(self, root: Path) -> None:
        entries = [
            device("a", major=0, minor=0),
            hard_link("b", "a"),
            file("c"),
            device("c", major=0, minor=0),
            device("d", layers.BLOCK_DEVICE, major=0, minor=0),
        ]
        applied = apply(root, entries)
        assert names(root) == {"!a", "!b", "c", "d"}
        assert node(root, "d").type == "block"
        assert applied.inodes == 5


class TestWhiteoutsInDirect:
    """Deletions are carried out on lower layers, and spare this one."""

    @pytest.fixture
    def lower(self, root: Path) -> Path:
        entries = [
            replace(directory("d", mode=0o750, uid=3), mtime_ns=OLD),
            replace(file("d/old"), mtime_ns=OLD),
            replace(directory("d/sub"), mtime_ns=OLD),
            file("d/sub/old"),
            file("f"),
            symlink("s", "d"),
        ]
        apply(root, entries, "direct")
        return root

    @pytest.mark.parametrize("path", ["f", "d", "s", "d/old", "missing", "d/sub/missing"])
    def test_removes(self, lower: Path, path: str) -> None:
        before = names(lower)
        applied = apply(lower, [whiteout(path)], "direct")
        gone = {name for name in before if name == path or name.startswith(path + "/")}
        assert names(lower) == before - gone
        assert applied.opaque == set()

    @pytest.mark.parametrize("reverse", [False, True])
    def test_spares_files_of_this_layer(self, lower: Path, reverse: bool) -> None:
        entries = [file("f", b"new"), whiteout("f"), file("d/new"), whiteout("d")]
        apply(lower, entries[::-1] if reverse else entries, "direct")
        assert names(lower) == {"f", "d", "d/new", "s"}
        assert (lower / "f").read_bytes() == b"new"
        # The directory is a new one that nobody describes.
        assert (node(lower, "d").mode, node(lower, "d").uid) == (0o755, 0)

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
    def test_opaque_spares_files_of_this_layer(self, lower: Path, order: tuple[int, ...]) -> None:
        entries = [file("d/sub/new"), opaque("d"), file("d/new")]
        apply(lower, [entries[index] for index in order], "direct")
        assert names(lower) == {"d", "d/new", "d/sub", "d/sub/new", "f", "s"}
        assert node(lower, "d").mtime_ns == OLD
        assert node(lower, "d").mode == 0o750

    def test_opaque_root(self, lower: Path) -> None:
        apply(lower, [file("d/new"), opaque()], "direct")
        assert names(lower) == {"d", "d/new"}

    def test_opaque_through_a_link(self, lower: Path) -> None:
        apply(lower, [opaque("s")], "direct")
        assert names(lower) == {"d", "f", "s"}

    def test_unnamed_directory_keeps_its_looks(self, lower: Path) -> None:
        before = node(lower, "d")
        apply(lower, [file("d/new"), whiteout("d/old"), file("s/sub/new")], "direct")
        assert node(lower, "d") == before
        assert node(lower, "d/sub").mtime_ns == OLD

    def test_named_directory_takes_the_new_looks(self, lower: Path) -> None:
        apply(lower, [file("d/new"), replace(directory("d", mode=0o700), mtime_ns=5)], "direct")
        found = node(lower, "d")
        assert (found.mode, found.uid, found.mtime_ns) == (0o700, 0, 5)

    def test_device_0_0_is_a_whiteout(self, lower: Path) -> None:
        entries = [device("f", major=0, minor=0), hard_link("d/old", "f"), hard_link("s", "f")]
        apply(lower, entries, "direct")
        assert names(lower) == {"d", "d/sub", "d/sub/old"}

    def test_file_replaces_what_was_below(self, lower: Path) -> None:
        apply(lower, [file("d", b"1"), directory("f"), file("s", b"2")], "direct")
        assert {name: node(lower, name).type for name in "dfs"} == {
            "d": "file",
            "f": "directory",
            "s": "file",
        }
        assert names(lower) == {"d", "f", "s"}

    @pytest.mark.parametrize(
        "second",
        [
            [whiteout("d/old"), file("d/new", b"n"), directory("d/more")],
            [opaque("d"), file("d/a")],
            [whiteout("d"), directory("d"), file("d/b")],
            [file("f", b"longer"), symlink("d/old", "../f")],
            [directory("d/sub", mode=0o700), hard_link("h", "f")],
        ],
    )
    def test_two_layers_are_what_the_oracle_makes(
        self, tmp_path: Path, root: Path, second: list[layers.Entry]
    ) -> None:
        first = [
            replace(directory("./"), mtime_ns=OLD),
            replace(directory("d", mode=0o750, uid=3), mtime_ns=OLD),
            file("d/old", b"o"),
            directory("d/sub"),
            file("f", b"f"),
        ]
        apply(root, first, "direct")
        apply(root, second, "direct")
        expected = tmp_path / "tar"
        expected.mkdir()
        extract_with_tar([layers.tar_bytes(first), layers.tar_bytes(second)], expected)
        wanted = tree(expected)
        subprocess.run(["rm", "-r", str(expected)], check=True)
        assert differences(wanted, tree(root)) == []


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


class TestHardLinks:
    """Links never lead outside, and never to what they may not name."""

    @pytest.mark.parametrize("mode", BOTH)
    def test_to_file(self, root: Path, mode: ApplyMode) -> None:
        applied = apply(
            root, [file("f", b"1"), hard_link("d/h", "/f"), hard_link("g", "d/h")], mode
        )
        assert node(root, "f").links == (b"d/h", b"f", b"g")
        assert applied.inodes == 3

    @pytest.mark.parametrize("mode", BOTH)
    def test_takes_neither_mode_nor_time_from_the_link(self, root: Path, mode: ApplyMode) -> None:
        link = replace(hard_link("h", "f"), mode=0o777, uid=9, gid=9, mtime_ns=OLD)
        apply(root, [file("f", mode=0o600), link], mode)
        assert (node(root, "f").mode, node(root, "f").uid) == (0o600, 0)

    @pytest.mark.parametrize("mode", BOTH)
    def test_to_symlink_is_the_link_itself(
        self, root: Path, outside: Path, mode: ApplyMode
    ) -> None:
        link = replace(hard_link("h", "s"), mode=0o777, xattrs={"user.a": b"1"}, mtime_ns=OLD)
        apply(root, [symlink("s", str(outside / "victim")), link], mode)
        assert node(root, "h").type == "symlink"
        assert node(root, "h").links == (b"h", b"s")

    @pytest.mark.parametrize("mode", BOTH)
    def test_repeated(self, root: Path, mode: ApplyMode) -> None:
        applied = apply(root, [file("f", b"1"), *[hard_link("h", "f")] * 3], mode)
        assert node(root, "f").links == (b"f", b"h")
        assert applied.inodes == 2

    @pytest.mark.parametrize("mode", BOTH)
    def test_replaces(self, root: Path, mode: ApplyMode) -> None:
        entries = [file("f", b"1"), directory("h"), file("h/x", b"2"), hard_link("h", "f")]
        applied = apply(root, entries, mode)
        assert names(root) == {"f", "h"}
        assert (root / "h").read_bytes() == b"1"
        assert applied.inodes == 2

    @pytest.mark.parametrize("target", ["missing", "missing/f"])
    def test_to_nothing(self, root: Path, target: str) -> None:
        with pytest.raises(NeedsParent):
            apply(root, [hard_link("h", target)])
        with pytest.raises(ArchiveInvalid, match="nothing"):
            apply(root, [hard_link("h", target)], "direct")

    def test_to_what_is_deleted(self, root: Path) -> None:
        with pytest.raises(ArchiveInvalid, match="nothing"):
            apply(root, [whiteout("f"), hard_link("h", "f")])

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize(
        ("path", "target", "what"),
        [
            ("h", "d", "a directory"),
            ("h", ".", "a directory"),
            ("h", "/", "a directory"),
            ("f", "f", "itself"),
            ("f", "./x/../f", "itself"),
            ("d/h", "d/h", "itself"),
            ("s/h", "d/h", "itself"),
        ],
    )
    def test_refused(self, root: Path, mode: ApplyMode, path: str, target: str, what: str) -> None:
        entries = [directory("d"), file("f"), symlink("s", "d"), hard_link(path, target)]
        with pytest.raises(ArchiveInvalid, match=what):
            apply(root, entries, mode)

    @pytest.mark.parametrize("mode", BOTH)
    def test_to_what_it_replaces(self, root: Path, mode: ApplyMode) -> None:
        with pytest.raises(ArchiveInvalid, match="which it points at"):
            apply(root, [file("d/f"), hard_link("d", "d/f")], mode)

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize("target", ["../outside/victim", "a/../../outside/victim"])
    def test_above_the_root(self, root: Path, mode: ApplyMode, target: str) -> None:
        with pytest.raises(ArchiveEscape):
            apply(root, [hard_link("h", target)], mode)

    def test_to_an_absolute_path_outside(self, root: Path, outside: Path) -> None:
        with pytest.raises(ArchiveInvalid, match="nothing"):
            apply(root, [hard_link("h", str(outside / "victim"))], "direct")

    @pytest.mark.parametrize("mode", BOTH)
    def test_through_a_link_stays_inside(self, root: Path, outside: Path, mode: ApplyMode) -> None:
        inside = str(outside).lstrip("/")
        entries = [
            file(f"{inside}/victim", b"inside"),
            symlink("s", str(outside)),
            symlink("up", "../../../outside"),
            directory("outside"),
            file("outside/victim", b"other"),
            hard_link("h1", "s/victim"),
            hard_link("h2", "up/victim"),
        ]
        apply(root, entries, mode)
        assert (root / "h1").read_bytes() == b"inside"
        assert (root / "h2").read_bytes() == b"other"

    def test_too_many(self, root: Path) -> None:
        links = [hard_link(f"h{number}", "f") for number in range(65_001)]
        with pytest.raises(LimitExceeded, match="more hard links") as caught:
            apply(root, [file("f"), *links])
        assert caught.value.limit == "layer_entries"


class TestPathsThroughLinks:
    """Links in parents are followed inside the root, and nowhere else."""

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize(
        "target", ["d", "/d", "./d", "../d", "../../../../d", "d/../d", "x/../d", "/x/.././d/"]
    )
    def test_inside(self, root: Path, mode: ApplyMode, target: str) -> None:
        entries = [directory("x"), directory("d"), symlink("s", target), file("s/f", b"1")]
        applied = apply(root, entries, mode)
        assert names(root) == {"x", "d", "s", "d/f"}
        assert applied.implied == {b"."}

    @pytest.mark.parametrize("mode", BOTH)
    def test_chain(self, root: Path, mode: ApplyMode) -> None:
        links = [symlink(f"s{number}", f"s{number + 1}") for number in range(39)]
        apply(root, [*links, symlink("s39", "d"), directory("d"), file("s0/f")], mode)
        assert (root / "d" / "f").exists()

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize("target", ["s", "t", "/s/x", "../s"])
    def test_loop(self, root: Path, mode: ApplyMode, target: str) -> None:
        with pytest.raises(ArchiveInvalid, match="no directory"):
            apply(root, [symlink("s", target), symlink("t", "s"), file("s/f")], mode)

    @pytest.mark.parametrize("target", ["missing", "/missing/deep", "../up", "d/missing"])
    def test_dangling(self, root: Path, target: str) -> None:
        entries = [directory("d"), symlink("s", target), file("s/f", b"1")]
        with pytest.raises(NeedsParent):
            apply(root, entries)
        apply(root, entries, "direct")
        inside = target.lstrip("./")
        assert (root / inside / "f").read_bytes() == b"1"
        assert node(root, "s").type == "symlink"

    def test_absolute_link_to_outside_is_made_inside(self, root: Path, outside: Path) -> None:
        entries = [symlink("s", str(outside)), file("s/victim", b"mine"), whiteout("s/link")]
        apply(root, entries, "direct")
        assert (root / str(outside).lstrip("/") / "victim").read_bytes() == b"mine"

    @pytest.mark.parametrize("mode", BOTH)
    def test_last_name_is_not_followed(self, root: Path, outside: Path, mode: ApplyMode) -> None:
        for made in (file("s", b"1"), directory("s"), symlink("s", "x"), fifo("s")):
            apply(root, [symlink("s", str(outside / "victim")), made], mode)
        assert names(root) == {"s"}

    @pytest.mark.parametrize("mode", BOTH)
    def test_directory_over_link_to_directory(self, root: Path, mode: ApplyMode) -> None:
        entries = [directory("d"), symlink("s", "d"), directory("s", mode=0o700), file("s/f")]
        apply(root, entries, mode)
        assert names(root) == {"d", "s", "s/f"}
        assert node(root, "d").mode == 0o755

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize("between", [file("r"), fifo("r"), device("r", major=1, minor=3)])
    def test_through_something_else(
        self, root: Path, mode: ApplyMode, between: layers.Entry
    ) -> None:
        for path in ("r/f", "r/a/b/f", "s/f"):
            with pytest.raises(ArchiveInvalid, match="no directory"):
                apply(root, [between, symlink("s", "r"), file(path)], mode)

    @pytest.mark.parametrize("mode", BOTH)
    def test_link_that_is_replaced_leads_elsewhere(self, root: Path, mode: ApplyMode) -> None:
        entries = [
            directory("a"),
            directory("b"),
            symlink("s", "a"),
            file("s/1"),
            symlink("s", "b"),
            file("s/2"),
            directory("s"),
            file("s/3"),
        ]
        apply(root, entries, mode)
        assert names(root) == {"a", "a/1", "b", "b/2", "s", "s/3"}

    @pytest.mark.parametrize("mode", BOTH)
    @pytest.mark.parametrize("made", [file("b/x"), symlink("b/x", "/"), directory("b/x")])
    def test_directory_replaced_by_another_name(
        self, root: Path, mode: ApplyMode, made: layers.Entry
    ) -> None:
        entries = [
            directory("b"),
            symlink("a", "b"),
            replace(directory("a/x", mode=0o2755), mtime_ns=OLD),
            file("a/x/deep/f"),
            opaque("a/x/deep"),
            whiteout("a/x/w"),
            file("b/x", b"in the way"),
            made,
        ]
        applied = apply(root, entries, mode)
        assert names(root) == {"a", "b", "b/x"}
        assert applied.inodes == 4
        assert applied.implied == {b"."}

    @pytest.mark.parametrize("mode", BOTH)
    def test_directory_replaced_above(self, root: Path, mode: ApplyMode) -> None:
        entries = [
            file("x/y/z/f"),
            directory("x/y"),
            symlink("a", "x/y"),
            directory("a/z", mode=0o700),
            file("x"),
        ]
        applied = apply(root, entries, mode)
        assert names(root) == {"a", "x"}
        assert applied.implied == {b"."}

    @pytest.mark.parametrize("mode", BOTH)
    def test_long_real_path(self, root: Path, mode: ApplyMode) -> None:
        long = "n" * 250
        entries = [symlink("s0", ".")]
        for number in range(20):
            entries += [
                directory(f"s{number}/{long}"),
                symlink(f"s{number + 1}", f"s{number}/{long}"),
            ]
        with pytest.raises(ArchiveInvalid, match="longer"):
            apply(root, [*entries, file("s20/f")], mode)

    @pytest.mark.parametrize("mode", BOTH)
    def test_link_to_a_name_that_is_too_long(self, root: Path, mode: ApplyMode) -> None:
        with pytest.raises(ArchiveInvalid):
            apply(root, [symlink("s", "n" * 300), file("s/f")], mode)


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
