"""Whiteouts and opaque directories, as they come out of whole layers."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.testing import layers
from orlop.testing.layers import device, directory, fifo, file, hard_link, opaque, symlink, whiteout
from tests.rigs.oracle import extract_with_tar
from tests.rigs.tree import differences, tree
from tests.unit.unpack.applying import OLD, apply, names, new_root, node, tripwire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return new_root(tmp_path)


@pytest.fixture(autouse=True)
def outside(tmp_path: Path) -> Iterator[Path]:
    with tripwire(tmp_path) as path:
        yield path


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
