"""The overlay format: recipes, layers in the making, and what a file system must be able to do."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from orlop.errors import FailedPrecondition, InvalidArgument, StoreCorrupt, StoreIO
from orlop.linux.mountinfo import read_mountinfo
from orlop.linux.mounts import OVERLAY_OPTIONS, detached_overlay, mount, unmount
from orlop.ports.snapshots import Mount
from orlop.snapshots.overlay import Overlay, OverlaySettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orlop.ports.snapshots import Staged
    from tests.rigs.store_calls import StoreCalls

pytestmark = pytest.mark.root


@pytest.fixture
def overlay(tmp_path: Path) -> Overlay:
    made = Overlay(str(tmp_path))
    made.recover(set())
    return made


def merged(layers: Sequence[str]) -> dict[str, tuple[int, int, bytes]]:
    """All paths of some layers as one tree: type and mode, owner, content."""
    root = detached_overlay(layers)
    seen = {}
    try:
        for above, directories, files, fd in os.fwalk(".", dir_fd=root):
            for name in (*directories, *files, "."):
                path = os.path.normpath(os.path.join(above, name))
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                content = b""
                if stat.S_ISREG(found.st_mode):
                    opened = os.open(name, os.O_RDONLY, dir_fd=fd)
                    content = os.read(opened, 100)
                    os.close(opened)
                seen[path] = (found.st_mode, found.st_uid, content)
    finally:
        os.close(root)
    return seen


def fill(staged: Staged, files: dict[str, str]) -> None:
    for path, text in files.items():
        place = os.path.join(staged.fs, path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w") as file:
            file.write(text)


# --- recipes ------------------------------------------------------------------------------


def test_recipes_are_containerds(overlay: Overlay) -> None:
    root = f"{overlay.root}/snapshots"
    layers = [overlay.tree(3), overlay.tree(2)]
    assert overlay.mounts(9, [], writable=True) == [Mount("bind", f"{root}/9/fs", ("rw", "rbind"))]
    assert overlay.mounts(9, [], writable=False) == [Mount("bind", f"{root}/9/fs", ("ro", "rbind"))]
    assert overlay.mounts(9, layers[:1], writable=False) == [
        Mount("bind", f"{root}/3/fs", ("ro", "rbind"))
    ]
    assert overlay.mounts(9, layers, writable=False) == [
        Mount("overlay", "overlay", (*OVERLAY_OPTIONS, f"lowerdir={root}/3/fs:{root}/2/fs"))
    ]
    writable = (f"workdir={root}/9/work", f"upperdir={root}/9/fs", f"lowerdir={root}/3/fs")
    assert overlay.mounts(9, layers[:1], writable=True) == [
        Mount("overlay", "overlay", (*OVERLAY_OPTIONS, *writable))
    ]


def test_a_root_with_an_awkward_name(tmp_path: Path) -> None:
    root = tmp_path / "a:b,c\\d"
    root.mkdir(mode=0o700)
    overlay = Overlay(str(root))
    overlay.recover(set())
    (recipe,) = overlay.mounts(1, [overlay.tree(2), overlay.tree(3)], writable=False)
    assert recipe.options[-1].count("a\\:b\\,c\\\\d") == 2


# --- a pull's way in ----------------------------------------------------------------------


def test_layers_are_independent(overlay: Overlay) -> None:
    assert overlay.independent
    staged = overlay.stage(["/no/such/layer"])
    assert os.listdir(staged.root) == ["fs"]
    assert os.listdir(staged.fs) == []


def test_the_target_is_the_layers_own_tree(overlay: Overlay) -> None:
    lower, staged = overlay.stage([]), overlay.stage([])
    before = os.listdir("/proc/self/fd")
    with overlay.target(staged, [lower.fs], "overlay") as fd:
        assert os.fstat(fd).st_ino == os.stat(staged.fs).st_ino
        os.fchmod(fd, 0o711)
    with overlay.target(staged, [], "direct") as fd:
        assert os.fstat(fd).st_ino == os.stat(staged.fs).st_ino
    assert os.listdir("/proc/self/fd") == before


def test_in_direct_mode_the_target_shows_the_layers_below(overlay: Overlay) -> None:
    first, second, third = (overlay.stage([]) for _ in range(3))
    fill(first, {"a": "1", "b": "1", "dir/x": "1"})
    fill(second, {"b": "2"})
    os.chmod(second.fs, 0o1711)
    os.chown(second.fs, 5, 6)
    before = os.listdir("/proc/self/fd"), read_mountinfo()
    with overlay.target(third, [second.fs, first.fs], "direct") as fd:
        assert sorted(os.listdir(fd)) == ["a", "b", "dir"]
        found = os.fstat(fd)
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o1711, 5, 6)
        os.unlink("dir/x", dir_fd=fd)
        os.rmdir("dir", dir_fd=fd)
        os.link("a", "link", src_dir_fd=fd, dst_dir_fd=fd)
        os.fchown(fd, 7, 7)
        assert len(read_mountinfo()) == len(before[1])
    assert (os.listdir("/proc/self/fd"), read_mountinfo()) == before
    assert os.listdir(third.root) == ["fs"]
    tree = merged([third.fs, second.fs, first.fs])
    assert {path: content for path, (_, _, content) in tree.items()} == {
        ".": b"", "a": b"1", "link": b"1", "b": b"2",
    }  # fmt: skip
    assert tree["."][1] == 7
    assert os.path.samefile(f"{third.fs}/a", f"{third.fs}/link")


def test_a_target_cleans_up_after_a_failure(overlay: Overlay) -> None:
    lower, staged = overlay.stage([]), overlay.stage([])
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileExistsError), overlay.target(staged, [lower.fs], "direct") as fd:
        os.mkdir(".", dir_fd=fd)
    assert os.listdir(staged.root) == ["fs"]
    with pytest.raises(StoreCorrupt), overlay.target(staged, ["/dev/null"], "direct"):
        pass
    assert os.listdir(staged.root) == ["fs"]
    assert os.listdir("/proc/self/fd") == before


def test_settled_layers_look_as_if_they_had_been_applied_in_order(overlay: Overlay) -> None:
    first, second, third = (overlay.stage([]) for _ in range(3))
    fill(first, {"var/lib/old": "1", "etc/conf": "1"})
    for path, mode in ((".", 0o751), ("var", 0o711), ("var/lib", 0o700), ("etc", 0o2755)):
        os.chmod(os.path.join(first.fs, path), mode)
        os.chown(os.path.join(first.fs, path), mode, mode)
    fill(second, {"var/lib/new": "2"})
    fill(third, {"etc/only": "3", "fresh/dir/x": "3"})
    implied = [b".", b"var", b"var/lib"]
    assert overlay.settle(second, [first.fs], implied=implied, opaque=[])
    implied = [b".", b"etc", b"fresh", b"fresh/dir"]
    assert overlay.settle(third, [second.fs, first.fs], implied=implied, opaque=[b"etc"])
    tree = merged([third.fs, second.fs, first.fs])
    owners = {path: (stat.S_IMODE(mode), owner) for path, (mode, owner, _) in tree.items()}
    assert owners["."] == (0o751, 0o751)
    assert owners["var"] == (0o711, 0o711)
    assert owners["var/lib"] == (0o700, 0o700)
    assert owners["etc"] == (0o2755, 0o2755)
    assert owners["fresh"] == owners["fresh/dir"] == (0o755, 0)
    assert "etc/conf" not in tree
    assert {"etc/only", "var/lib/old", "var/lib/new"} <= tree.keys()


def test_a_root_needs_the_topmost_layer_alone(overlay: Overlay) -> None:
    """Most layers imply no more; a mount of all layers below each would be dear."""
    first, second = (overlay.make() for _ in range(2))
    os.chmod(first.fs, 0o1750)
    os.chown(first.fs, 5, 6)
    lower = [first.fs, f"{first.root}/none"]
    assert overlay.settle(second, lower, implied=[b"."], opaque=[])
    found = os.stat(second.fs)
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o1750, 5, 6)


def test_what_cannot_be_settled(overlay: Overlay) -> None:
    first, second, third = (overlay.stage([]) for _ in range(3))
    fill(first, {"file": "", "dir/x": ""})
    os.symlink("dir", f"{first.fs}/link")
    for name in ("file", "link"):
        fill(third, {f"{name}/y": ""})
        implied = [b".", name.encode()]
        assert not overlay.settle(third, [second.fs, first.fs], implied=implied, opaque=[])
    assert not overlay.settle(third, [first.fs], implied=[b"."], opaque=[b"."])
    with pytest.raises(StoreCorrupt):
        overlay.settle(third, [], implied=[], opaque=[b"file/y"])


def test_the_kernel_ignores_an_opaque_root(overlay: Overlay) -> None:
    """Why ``settle`` refuses it: were this to fail, the detour could go."""
    first, second = overlay.stage([]), overlay.stage([])
    fill(first, {"file": ""})
    os.setxattr(second.fs, "trusted.overlay.opaque", b"y")
    assert "file" in merged([second.fs, first.fs])


def test_the_lowest_layer_has_nothing_to_inherit(overlay: Overlay) -> None:
    staged = overlay.stage([])
    fill(staged, {"a/b": ""})
    assert overlay.settle(staged, [], implied=[b".", b"a"], opaque=[b".", b"a"])
    assert stat.S_IMODE(os.stat(f"{staged.fs}/a").st_mode) == 0o755


# --- the service's way in -----------------------------------------------------------------


def test_a_new_snapshots_root_looks_like_its_parents(overlay: Overlay) -> None:
    parent = overlay.stage([])
    os.chmod(parent.fs, 0o1770)
    os.chown(parent.fs, 3, 4)
    os.setxattr(parent.fs, "user.a", b"b")
    os.utime(parent.fs, ns=(5, 6))
    for writable in (True, False):
        staged = overlay.start([parent.fs], writable=writable)
        found = os.stat(staged.fs)
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o1770, 3, 4)
        assert found.st_mtime_ns == 6
        assert os.getxattr(staged.fs, "user.a") == b"b"
        assert sorted(os.listdir(staged.root)) == (["fs", "work"] if writable else ["fs"])


def test_a_new_snapshots_directories_are_durable(overlay: Overlay, calls: StoreCalls) -> None:
    with calls.watched() as seen:
        overlay.start([], writable=True)
    assert seen[-1] == "fsync"


def test_a_parent_that_is_gone_leaves_nothing(overlay: Overlay) -> None:
    with pytest.raises(Exception, match="No such file"):
        overlay.start([overlay.tree(77)], writable=True)
    assert os.listdir(f"{overlay.root}/staging") == []


# --- file systems -------------------------------------------------------------------------


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """A root on an overlay, on which no overlay can write."""
    for name in ("lower", "upper", "work", "root"):
        (tmp_path / name).mkdir(mode=0o700)
    data = ",".join(f"{key}dir={tmp_path / key}" for key in ("lower", "upper", "work"))
    mount("overlay", str(tmp_path / "root"), fstype="overlay", data=data)
    yield tmp_path / "root"
    unmount(str(tmp_path / "root"), detach=True)


def test_a_file_system_that_cannot_carry_overlays_is_refused(nested: Path) -> None:
    with pytest.raises(FailedPrecondition, match="overlayfs does not work") as refused:
        Overlay(str(nested)).recover(set())
    assert "native" in refused.value.hint
    assert os.listdir(nested / "io.containerd.snapshotter.v1.overlayfs/staging") == []


def test_tmpfs_can_carry_overlays(tmp_path: Path) -> None:
    mount("tmpfs", str(tmp_path), fstype="tmpfs", data="mode=700")
    try:
        Overlay(str(tmp_path)).recover(set())
    finally:
        unmount(str(tmp_path), detach=True)


def test_a_read_only_file_system_is_an_error_of_the_disk(tmp_path: Path) -> None:
    overlay = Overlay(str(tmp_path))
    overlay.recover(set())
    mount(str(tmp_path), str(tmp_path), fstype="", flags=4096)
    try:
        mount("none", str(tmp_path), fstype="", flags=4096 | 32 | 1)
        with pytest.raises(Exception, match=os.strerror(errno.EROFS)):
            overlay.recover(set())
    finally:
        unmount(str(tmp_path), detach=True)


class _ReadOnlyMeanwhile(Overlay):
    """The disk is read-only from when a tree has been made until it is discarded."""

    def make(self, *, work: bool = False) -> Staged:
        staged = super().make(work=work)
        mount(staged.root, staged.root, fstype="", flags=4096)
        mount("none", staged.root, fstype="", flags=4096 | 32 | 1)
        return staged

    def discard(self, staged: Staged) -> None:
        unmount(staged.root, detach=True)
        super().discard(staged)


def test_a_file_system_that_goes_read_only_is_not_taken_for_one_without_overlays(
    tmp_path: Path,
) -> None:
    with pytest.raises(StoreIO, match=os.strerror(errno.EROFS)):
        _ReadOnlyMeanwhile(str(tmp_path)).recover(set())


# --- settings -----------------------------------------------------------------------------


def test_mount_options_come_beside_ours(tmp_path: Path) -> None:
    overlay = Overlay(str(tmp_path), OverlaySettings(mount_options=("volatile", "index=off")))
    (recipe,) = overlay.mounts(9, [overlay.tree(3), overlay.tree(2)], writable=True)
    assert recipe.options[: len(OVERLAY_OPTIONS) + 1] == (*OVERLAY_OPTIONS, "volatile")
    assert recipe.options.count("index=off") == 1


@pytest.mark.parametrize(
    "option", ["lowerdir=/etc", "upperdir=/etc", "lowerdir+=/etc", "redirect_dir=on", "metacopy=on"]
)
def test_mount_options_that_undo_what_images_rely_on(tmp_path: Path, option: str) -> None:
    with pytest.raises(InvalidArgument, match="refused"):
        Overlay(str(tmp_path), OverlaySettings(mount_options=(option,)))


def test_a_place_of_its_own(tmp_path: Path) -> None:
    overlay = Overlay(str(tmp_path / "root"), OverlaySettings(path=str(tmp_path / "place")))
    overlay.recover(set())
    assert overlay.root == str(tmp_path / "place")
    assert overlay.tree(1) == str(tmp_path / "place" / "snapshots" / "1" / "fs")
