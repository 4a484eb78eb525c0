"""Mounts: recipes, overlays with awkward names, and both ways to make an overlay."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.linux import mountcalls, mounts
from orlop.linux.mountinfo import read_mountinfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Recipe:
    type: str
    source: str
    options: tuple[str, ...]


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A directory from which everything is unmounted in the end."""
    target = tmp_path / "target"
    target.mkdir()
    yield target
    for mount in reversed(read_mountinfo()):
        if f"{mount.target}/".startswith(f"{target}/"):
            mounts.unmount(mount.target, detach=True)


@contextmanager
def closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def mounted_at(target: Path) -> list[str]:
    return [m.fstype for m in read_mountinfo() if m.target == str(target)]


def layers(where: Path, *names: str) -> list[str]:
    """Directories, each with a file named ``inN`` and one named ``top`` that tells them apart."""
    made = []
    for number, name in enumerate(names):
        (where / name).mkdir()
        (where / name / f"in{number}").touch()
        (where / name / "top").write_text(str(number))
        made.append(str(where / name))
    return made


def overlay(lower: list[str], *more: str) -> Recipe:
    named = ":".join(mounts.escape_overlay(name) for name in lower)
    return Recipe("overlay", "overlay", (f"lowerdir={named}", *more))


# --- names --------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(blacklist_characters="\0"), min_size=1), min_size=1))
def test_lowerdir_is_split_as_it_was_joined(names: list[str]) -> None:
    assert mounts.split_lowerdir(":".join(map(mounts.escape_overlay, names))) == names


@pytest.mark.parametrize(
    ("release", "known"),
    [("6.7.0", True), ("6.18.44-fc", True), ("7.0", True), ("6.6.9", False), ("5.15", False)],
)
def test_which_kernels_take_layers_one_by_one(release: str, known: bool) -> None:
    assert mounts._layer_by_layer(release) is known


def test_an_unknown_kernel_is_an_old_one() -> None:
    assert not mounts._layer_by_layer("mainline")


# --- recipes ------------------------------------------------------------------------------


@pytest.mark.root
def test_bind(tmp_path: Path, target: Path) -> None:
    (source,) = layers(tmp_path, "source")
    mounts.mount_all([Recipe("bind", source, ("rbind", "rw"))], str(target))
    (target / "new").touch()
    assert os.path.exists(os.path.join(source, "new"))
    mounts.unmount(str(target))
    assert os.listdir(target) == []


@pytest.mark.root
def test_bind_with_flags(tmp_path: Path, target: Path) -> None:
    (source,) = layers(tmp_path, "source")
    options = ("rbind", "ro", "nosuid", "nodev", "noexec", "noatime")
    mounts.mount_all([Recipe("bind", source, options)], str(target))
    (mount,) = [m for m in read_mountinfo() if m.target == str(target)]
    assert set(mount.options.split(",")) == {"ro", "nosuid", "nodev", "noexec", "noatime"}
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()


@pytest.mark.root
def test_read_only_reaches_what_is_mounted_below(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    mounts.mount("tmpfs", str(source / "below"), fstype="tmpfs")
    try:
        mounts.mount_all([Recipe("bind", str(source), ("rbind", "ro"))], str(target))
        with pytest.raises(OSError, match="Read-only"):
            (target / "below" / "new").touch()
    finally:
        mounts.unmount(str(source / "below"), detach=True)


@pytest.mark.root
def test_other_types_go_to_the_kernel_as_they_are(target: Path) -> None:
    mounts.mount_all([Recipe("tmpfs", "mine", ("nosuid", "size=64k", "mode=700"))], str(target))
    (mount,) = [m for m in read_mountinfo() if m.target == str(target)]
    assert (mount.fstype, mount.source) == ("tmpfs", "mine")
    assert "nosuid" in mount.options
    assert "size=64k" in mount.super_options


@pytest.mark.root
def test_all_or_none(tmp_path: Path, target: Path) -> None:
    (source,) = layers(tmp_path, "source")
    good = Recipe("bind", source, ("rbind",))
    bad = Recipe("bind", str(tmp_path / "missing"), ("rbind",))
    with pytest.raises(FileNotFoundError, match="missing"):
        mounts.mount_all([good, good, bad], str(target))
    assert mounted_at(target) == []


@pytest.mark.root
def test_a_bind_knows_its_options(tmp_path: Path, target: Path) -> None:
    with pytest.raises(OSError, match="lowerdir") as refused:
        mounts.mount_all([Recipe("bind", str(tmp_path), ("lowerdir=/",))], str(target))
    assert refused.value.errno == errno.EINVAL


@pytest.mark.root
def test_a_link_is_no_target(tmp_path: Path, target: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(OSError, match=r"Not a directory|Invalid|loop"):
        mounts.mount_all([Recipe("bind", str(tmp_path), ("rbind",))], str(link))
    assert mounted_at(target) == []


@pytest.mark.root
def test_unmount_says_when_nothing_is_mounted(target: Path) -> None:
    with pytest.raises(OSError, match="unmount") as refused:
        mounts.unmount(str(target))
    assert refused.value.errno == errno.EINVAL


@pytest.mark.root
def test_unmount_follows_no_link(tmp_path: Path, target: Path) -> None:
    mounts.mount("tmpfs", str(target), fstype="tmpfs")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OSError, match="unmount"):
        mounts.unmount(str(tmp_path / "link"))
    assert mounted_at(target) == ["tmpfs"]


@pytest.mark.root
def test_a_busy_mount_is_only_detached(target: Path) -> None:
    mounts.mount("tmpfs", str(target), fstype="tmpfs")
    with closing(os.open(target, os.O_RDONLY)) as fd:
        with pytest.raises(OSError, match="busy"):
            mounts.unmount(str(target))
        mounts.unmount(str(target), detach=True)
        assert mounted_at(target) == []
        os.mkdir("still there", dir_fd=fd)


# --- overlay ------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("old_kernel", [False, True])
@pytest.mark.parametrize("names", [("a", "b"), ("a:b", "c,d"), ("e\\f", "g h"), ("\\:", "ü\n")])
def test_overlay_with_any_names(
    tmp_path: Path, target: Path, names: tuple[str, str], old_kernel: bool
) -> None:
    lower = layers(tmp_path, *names)
    upper, work = tmp_path / f"upper{names[0]}", tmp_path / f"work{names[1]}"
    upper.mkdir()
    work.mkdir()
    recipe = overlay(
        lower,
        f"upperdir={mounts.escape_overlay(str(upper))}",
        f"workdir={mounts.escape_overlay(str(work))}",
        *mounts.OVERLAY_OPTIONS,
    )
    made = mounts._Overlay.from_options(recipe.options)
    (made.mount_by_options if old_kernel else made.mount_on)(str(target))
    assert sorted(os.listdir(target)) == ["in0", "in1", "top"]
    assert (target / "top").read_text() == "0"
    (target / "new").touch()
    assert os.listdir(upper) == ["new"]


@pytest.mark.root
@pytest.mark.parametrize("old_kernel", [False, True])
def test_overlay_of_500_layers_with_long_names(
    tmp_path: Path, target: Path, old_kernel: bool
) -> None:
    where = tmp_path / ("n" * 250)
    where.mkdir()
    lower = layers(where, *(f"layer{n}" for n in range(mounts.OVERLAY_LAYERS)))
    made = mounts._Overlay.from_options(overlay(lower, *mounts.OVERLAY_OPTIONS).options)
    (made.mount_by_options if old_kernel else made.mount_on)(str(target))
    assert len(os.listdir(target)) == mounts.OVERLAY_LAYERS + 1
    assert (target / "top").read_text() == "0"
    assert os.getcwd() != "/proc/self/fd"


@pytest.mark.root
def test_an_overlay_has_the_flags_of_its_recipe(tmp_path: Path, target: Path) -> None:
    recipe = overlay(layers(tmp_path, "a", "b"), "ro", "nodev", "rw", "index=off")
    mounts.mount_all([recipe], str(target))
    (mount,) = [m for m in read_mountinfo() if m.target == str(target)]
    assert (mount.fstype, mount.source) == ("overlay", "overlay")
    assert {"ro", "nodev"} <= set(mount.options.split(","))


@pytest.mark.root
def test_the_kernels_own_words_are_kept(tmp_path: Path, target: Path) -> None:
    recipe = overlay(layers(tmp_path, "a", "b"), "no_such_option=1")
    with pytest.raises(OSError, match="no_such_option") as refused:
        mounts.mount_all([recipe], str(target))
    assert refused.value.errno == errno.EINVAL
    assert mounted_at(target) == []


@pytest.mark.root
@pytest.mark.parametrize("old_kernel", [False, True])
def test_detached_overlays_have_no_place(tmp_path: Path, old_kernel: bool) -> None:
    lower = layers(tmp_path, "a", "b")
    before = read_mountinfo()
    made = mounts._Overlay(tuple(lower), upper="", work="", options=mounts.OVERLAY_OPTIONS)
    with closing(made.detached_by_options() if old_kernel else made.detached()) as fd:
        assert read_mountinfo() == before
        with closing(os.open(".", os.O_RDONLY, dir_fd=fd)) as root:
            assert sorted(os.listdir(root)) == ["in0", "in1", "top"]
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("new", dir_fd=fd)
    assert sorted(os.listdir(lower[0])) == ["in0", "top"]


@pytest.mark.root
def test_detached_overlays_do_not_spread(target: Path) -> None:
    """What is mounted below a shared mount appears in all namespaces that share it."""
    mounts.mount("tmpfs", str(target), fstype="tmpfs")
    mounts.mount("none", str(target), fstype="", flags=1 << 20)  # MS_SHARED
    made = mounts._Overlay(tuple(layers(target, "a", "b")), upper="", work="", options=())
    before = read_mountinfo()
    with closing(made.detached_by_options()):
        assert read_mountinfo() == before


@pytest.mark.root
def test_a_detached_overlay_that_is_written_to(tmp_path: Path) -> None:
    lower = layers(tmp_path, "a", "b")
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    with closing(mounts.detached_overlay(lower, upper=str(upper), work=str(work))) as fd:
        os.unlink("in1", dir_fd=fd)
        os.mkdir("new", dir_fd=fd)
    assert sorted(os.listdir(upper)) == ["in1", "new"]
    assert os.stat(upper / "in1").st_rdev == 0


@pytest.mark.root
def test_one_lower_layer_is_opened_as_it_is(tmp_path: Path) -> None:
    (only,) = layers(tmp_path, "only")
    with closing(mounts.detached_overlay([only])) as fd:
        assert os.fstat(fd).st_ino == os.stat(only).st_ino
    link = tmp_path / "link"
    link.symlink_to(only)
    with pytest.raises(NotADirectoryError):
        mounts.detached_overlay([str(link)])


@pytest.mark.root
def test_nothing_is_left_open(tmp_path: Path, target: Path) -> None:
    lower = layers(tmp_path, "a:b", *(f"{n:0250}" for n in range(20)))  # more than a page
    before = os.listdir("/proc/self/fd")
    for made in (["--missing"], lower):
        recipe = overlay(made, *mounts.OVERLAY_OPTIONS)
        for mount in (
            mounts._Overlay.from_options(recipe.options).mount_on,
            mounts._Overlay.from_options(recipe.options).mount_by_options,
        ):
            try:
                mount(str(target))
            except FileNotFoundError:
                assert made == ["--missing"]
            else:
                mounts.unmount(str(target))
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.root
def test_a_thread_apart_reports_its_error() -> None:
    def fail() -> None:
        raise LookupError("in the thread")

    with pytest.raises(LookupError, match="in the thread"):
        mountcalls.apart(mountcalls.CLONE_FS, fail)


@pytest.mark.root
def test_a_thread_apart_has_its_own_directory(tmp_path: Path) -> None:
    here = os.getcwd()

    def move() -> str:
        os.chdir(tmp_path)
        return os.getcwd()

    assert mountcalls.apart(mountcalls.CLONE_FS, move) == str(tmp_path)
    assert os.getcwd() == here
