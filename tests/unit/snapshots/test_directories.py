"""Numbered trees: staging, publishing, deleting, starting again."""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    AlreadyExists,
    FailedPrecondition,
    Internal,
    OrlopError,
    StoreCorrupt,
    StoreFull,
    StoreIO,
)
from orlop.linux.mountinfo import read_mountinfo
from orlop.linux.mounts import mount, unmount
from orlop.snapshots.directories import Directories, _names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rigs.store_calls import StoreCalls


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "io.containerd.snapshotter.v1.test"


@pytest.fixture
def directories(tmp_path: Path, root: Path) -> Iterator[Directories]:
    made = Directories(str(tmp_path), "test")
    made.recover(set())
    yield made
    for found in reversed(read_mountinfo()):
        if found.target.startswith(f"{root}/"):
            unmount(found.target, detach=True)


def content(root: Path) -> dict[str, list[str]]:
    return {name: sorted(os.listdir(root / name)) for name in ("snapshots", "staging", "trash")}


EMPTY: dict[str, list[str]] = {"snapshots": [], "staging": [], "trash": []}


def test_all_is_roots_alone_but_the_trees(directories: Directories, root: Path) -> None:
    old = os.umask(0o077)
    try:
        staged = directories.make(work=True)
    finally:
        os.umask(old)
    directories.publish([staged])
    modes = {
        str(p.relative_to(root)): stat.S_IMODE(p.stat().st_mode) for p in [root, *root.rglob("*")]
    }
    assert modes == {
        ".": 0o700,
        "snapshots": 0o700,
        "snapshots/1": 0o700,
        "snapshots/1/fs": 0o755,
        "snapshots/1/work": 0o700,
        "staging": 0o700,
        "trash": 0o700,
    }
    assert directories.tree(1) == str(root / "snapshots/1/fs")
    assert directories.work(1) == str(root / "snapshots/1/work")


def test_nothing_works_before_recovery(tmp_path: Path) -> None:
    with pytest.raises(Internal, match="recovered"):
        Directories(str(tmp_path), "test").make()
    assert os.listdir(tmp_path) == []


def test_names_are_durable_before_publish_returns(
    directories: Directories, calls: StoreCalls
) -> None:
    staged = [directories.make(), directories.make()]
    with calls.watched() as seen:
        directories.publish(staged)
    assert seen == ["rename", "rename", "fsync"]
    with calls.watched() as seen:
        directories.publish([])
    assert seen == []


def test_a_failed_barrier_stops_everything(directories: Directories, calls: StoreCalls) -> None:
    staged = directories.make()
    with calls.watched("fsync"), pytest.raises(StoreIO):
        directories.publish([staged])


@pytest.mark.parametrize("operation", ["mkdir", "chmod"])
def test_a_full_disk_leaves_nothing(
    directories: Directories, root: Path, calls: StoreCalls, operation: str
) -> None:
    with calls.watched(operation, errno.ENOSPC), pytest.raises(StoreFull, match="No space"):
        directories.make(work=True)
    assert content(root) == EMPTY


def test_a_tree_in_the_way_is_not_replaced(directories: Directories, root: Path) -> None:
    staged = directories.make()
    (root / "snapshots" / str(staged.directory)).mkdir()
    with pytest.raises(AlreadyExists):
        directories.publish([staged])


def test_deleting_goes_through_the_trash(
    directories: Directories, root: Path, calls: StoreCalls
) -> None:
    staged = directories.make()
    directories.publish([staged])
    with calls.watched("rmdir"), pytest.raises(StoreIO):
        directories.delete(staged.directory)
    assert content(root) == EMPTY | {"trash": ["1"]}
    # A second attempt, or the next start, finishes it.
    directories.delete(staged.directory)
    assert content(root) == EMPTY


def test_a_number_that_is_in_the_trash_can_be_deleted_again(
    directories: Directories, root: Path
) -> None:
    staged = directories.make()
    directories.publish([staged])
    (root / "trash" / "1" / "old").mkdir(parents=True)
    directories.delete(staged.directory)
    assert content(root) == EMPTY


def test_thrown_away_at_once_and_removed_in_parts(directories: Directories, root: Path) -> None:
    for _ in range(2):
        staged = directories.make()
        for name in range(10):
            os.makedirs(os.path.join(staged.fs, str(name), "below"))
        directories.publish([staged])
        directories.throw_away(staged.directory)
    assert content(root) == EMPTY | {"trash": ["1", "2"]}
    directories.throw_away(7)
    parts: list[int] = []
    while not parts or parts[-1]:
        parts.append(directories.empty_trash(9))
    assert max(parts) == 9
    assert sum(parts) == 2 * 22
    assert content(root) == EMPTY


def test_what_cannot_be_removed_stays_alone(directories: Directories, root: Path) -> None:
    for _ in range(3):
        staged = directories.make()
        directories.publish([staged])
    busy = root / "snapshots" / "2" / "fs"
    mount("tmpfs", str(busy), fstype="tmpfs")
    for number in (1, 2, 3):
        directories.throw_away(number)
    with pytest.raises(OrlopError):
        directories.empty_trash(100)
    assert content(root) == EMPTY | {"trash": ["2"]}
    unmount(str(root / "trash" / "2" / "fs"))
    assert directories.empty_trash(100) == 2
    assert content(root) == EMPTY


def test_what_is_being_deleted_is_left_alone(directories: Directories, root: Path) -> None:
    (root / "trash" / "5").mkdir()
    directories._deleting.add("5")
    assert directories.empty_trash(100) == 0
    directories._deleting.clear()
    assert directories.empty_trash(100) == 1


def test_synchronous_removal_leaves_no_trash(tmp_path: Path, root: Path) -> None:
    made = Directories(str(tmp_path), "test", sync_remove=True)
    made.recover(set())
    staged = made.make()
    made.publish([staged])
    made.throw_away(staged.directory)
    assert content(root) == EMPTY


def test_discarding(directories: Directories, root: Path) -> None:
    staged = directories.make()
    os.makedirs(os.path.join(staged.fs, "a/b"))
    directories.discard(staged)
    directories.discard(staged)
    assert content(root) == EMPTY


def test_discarding_what_is_published_does_nothing(directories: Directories, root: Path) -> None:
    staged = directories.make()
    directories.publish([staged])
    directories.discard(staged)
    assert content(root) == EMPTY | {"snapshots": ["1"]}


def test_measuring(directories: Directories) -> None:
    staged = directories.make()
    os.mkdir(os.path.join(staged.fs, "a"))
    before = directories.measure(staged)
    directories.publish([staged])
    assert directories.measure_published(staged.directory) == before
    assert before.inodes == 2


def test_numbers_are_given_once_to_all_threads(directories: Directories) -> None:
    numbers: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: numbers.extend(directories.make().directory for _ in "12345")
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 21))


# --- starting again -----------------------------------------------------------------------


def test_recovery_keeps_what_has_a_record(tmp_path: Path, root: Path) -> None:
    first = Directories(str(tmp_path), "test")
    first.recover(set())
    trees = [first.make() for _ in range(4)]
    first.publish(trees[:3])
    (root / "snapshots" / "stray file").touch()
    (root / "snapshots" / "02").mkdir()
    (root / "trash" / "77").mkdir()
    (root / "staging" / "link").symlink_to(tmp_path)
    second = Directories(str(tmp_path), "test")
    second.recover({2, 50})
    assert content(root) == EMPTY | {"snapshots": ["2"]}
    assert second.make().directory == 78
    third = Directories(str(tmp_path), "test")
    third.recover({2, 50})
    assert third.make().directory == 79
    fourth = Directories(str(tmp_path), "test")
    fourth.recover({2, 500})
    assert fourth.make().directory == 501


def test_recovery_can_be_repeated_wherever_it_stopped(
    tmp_path: Path, root: Path, calls: StoreCalls
) -> None:
    for operation in ("rename", "unlink", "rmdir"):
        made = Directories(str(tmp_path), "test")
        made.recover(set())
        trees = [made.make() for _ in range(3)]
        for tree in trees:
            (open(os.path.join(tree.fs, "file"), "w")).close()
        made.publish(trees[:2])
        with calls.watched(operation), pytest.raises(StoreIO):
            Directories(str(tmp_path), "test").recover({99})
        Directories(str(tmp_path), "test").recover({99})
        assert content(root) == EMPTY


@pytest.mark.root
def test_recovery_ends_mounts_that_a_crash_left(
    directories: Directories, tmp_path: Path, root: Path
) -> None:
    staged, orphan, kept = (directories.make() for _ in range(3))
    directories.publish([orphan, kept])
    places = [staged.fs, directories.tree(orphan.directory), directories.tree(kept.directory)]
    places.append(os.path.join(staged.fs, "below"))
    places.append(str(root / "snapshots" / str(orphan.directory)))
    for place in places:
        os.makedirs(place, exist_ok=True)
        mount("tmpfs", place, fstype="tmpfs")
    Directories(str(tmp_path), "test").recover({kept.directory})
    left = [m.target for m in read_mountinfo() if m.target.startswith(f"{root}/")]
    assert left == [directories.tree(kept.directory)]
    assert content(root) == EMPTY | {"snapshots": [str(kept.directory)]}


@pytest.mark.root
def test_recovery_leaves_a_mount_that_is_the_layout_itself(tmp_path: Path, root: Path) -> None:
    first = Directories(str(tmp_path), "test")
    first.recover(set())
    mount("tmpfs", str(root / "staging"), fstype="tmpfs", data="mode=700")
    try:
        first.make()
        first.recover(set())
        assert os.path.ismount(root / "staging")
        assert content(root) == EMPTY
    finally:
        unmount(str(root / "staging"))


@pytest.mark.parametrize("name", ["snapshots", "staging", "trash", "."])
def test_a_layout_that_others_can_change_is_refused(tmp_path: Path, root: Path, name: str) -> None:
    Directories(str(tmp_path), "test").recover(set())
    (root / name / "thing").touch()
    (root / name).chmod(0o777)
    with pytest.raises(StoreCorrupt, match="0777"):
        Directories(str(tmp_path), "test").recover(set())


def test_a_link_is_no_layout(tmp_path: Path, root: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreCorrupt, match="symbolic link"):
        Directories(str(tmp_path), "test").recover(set())
    assert os.listdir(tmp_path / "elsewhere") == []


def test_snapshots_that_are_not_there(tmp_path: Path) -> None:
    """As when their disk is not mounted: nothing of them may be listed."""
    with pytest.raises(FailedPrecondition, match="not in"):
        Directories(str(tmp_path), "test").recover({1})
    assert os.listdir(tmp_path) == []


def test_sync_remove(tmp_path: Path, calls: StoreCalls) -> None:
    for sync in (False, True):
        made = Directories(str(tmp_path), "test", sync_remove=sync)
        made.recover(set())
        tree = made.make()
        made.publish([tree])
        with calls.watched() as operations:
            made.delete(tree.directory)
        assert operations.count("fsync") == (2 if sync else 0)
        assert operations[-1] == ("fsync" if sync else "rmdir")


@pytest.mark.parametrize(
    ("mounted", "meant"),
    [
        ("/store/a.overlayfs/snapshots/12/fs", True),
        ("12/fs", True),
        ("snapshots/12/fs", True),
        ("/a.overlayfs/snapshots/12/fs", True),  # the root is a mount point
        ("/@volume/store/a.overlayfs/snapshots/12/fs", True),  # a volume of a disk
        ("2/fs", False),
        ("/elsewhere/a.overlayfs/snapshots/12/fs", False),
        ("/store/a.overlayfs/snapshots/12/work", False),
        ("/fs", False),
        ("/", False),
    ],
)
def test_which_mounts_use_a_tree(mounted: str, meant: bool) -> None:
    assert _names(mounted, "/store/a.overlayfs/snapshots/12/fs") is meant
