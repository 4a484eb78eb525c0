"""Links in layers: none leads outside, and none to what it may not name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import ArchiveEscape, ArchiveInvalid, LimitExceeded
from orlop.testing.layers import device, directory, fifo, file, hard_link, opaque, symlink, whiteout
from orlop.unpack.directories import NeedsParent
from tests.unit.unpack.applying import BOTH, OLD, apply, names, new_root, node, tripwire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.ports.snapshots import ApplyMode
    from orlop.testing import layers

pytestmark = pytest.mark.root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return new_root(tmp_path)


@pytest.fixture(autouse=True)
def outside(tmp_path: Path) -> Iterator[Path]:
    with tripwire(tmp_path) as path:
        yield path


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
