"""What every snapshotter must do, as tests.

Subclass it where pytest looks, and say how to make yours::

    @pytest.mark.root
    class TestMine(SnapshotterSuite):
        def make(self, root: str, records: SnapshotRecords) -> Snapshotter:
            return mine(root, records)

The tests mount for real (as root) and undo every mount. They need
pytest-asyncio in auto mode.
"""

# The names of tests say what they test, and tests may block their own loop:
# ruff: noqa: ASYNC230, ASYNC240, D102

from __future__ import annotations

import errno
import os
import stat
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import pytest

from orlop.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    SnapshotInUse,
)
from orlop.linux.mounts import mount_all, unmount
from orlop.ports.metadata import SnapshotRecord
from orlop.testing.memory_snapshots import MemorySnapshotRecords

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orlop.ports.metadata import SnapshotRecords
    from orlop.ports.snapshots import Mount, Snapshotter, Staged

NAMESPACE = "k8s.io"


class SnapshotterSuite(ABC):
    """Conformance to ``orlop.ports.snapshots``.

    Attributes:
        deepest: how many layers a chain must be able to have.
    """

    deepest: ClassVar[int] = 100

    @abstractmethod
    def make(self, root: str, records: SnapshotRecords) -> Snapshotter:
        """A new snapshotter that keeps its trees below ``root``; not recovered yet."""

    @pytest.fixture
    def records(self) -> SnapshotRecords:
        """Where the snapshotter keeps its records."""
        return MemorySnapshotRecords()

    @pytest.fixture
    async def snapshots(self, tmp_path: Path, records: SnapshotRecords) -> Snapshotter:
        """A snapshotter on an empty root."""
        return await self.opened(tmp_path, records)

    @pytest.fixture
    def target(self, tmp_path: Path) -> Path:
        """An empty directory to mount on."""
        target = tmp_path / "target"
        target.mkdir()
        return target

    async def opened(self, tmp_path: Path, records: SnapshotRecords) -> Snapshotter:
        """What a start of the service does."""
        root = tmp_path / "root"
        root.mkdir(mode=0o700, exist_ok=True)
        snapshots = self.make(str(root), records)
        await snapshots.recover()
        return snapshots

    # The life of a snapshot.

    async def test_written_committed_viewed(self, snapshots: Snapshotter, target: Path) -> None:
        mounts = await snapshots.prepare(NAMESPACE, "active", "")
        with mounted(mounts, target):
            (target / "file").write_text("first")
        await snapshots.commit(NAMESPACE, "committed", "active")
        assert (await snapshots.stat(NAMESPACE, "committed")).kind == "committed"
        with pytest.raises(NotFound):
            await snapshots.stat(NAMESPACE, "active")
        with mounted(await snapshots.view(NAMESPACE, "view", "committed"), target):
            assert (target / "file").read_text() == "first"

    async def test_mounts_are_given_again(self, snapshots: Snapshotter) -> None:
        await committed(snapshots, "one", "")
        await committed(snapshots, "two", "one")
        for start in (snapshots.prepare, snapshots.view):
            for parent in ("", "one", "two"):
                key = f"{start.__name__} {parent}"
                first = await start(NAMESPACE, key, parent)
                assert first
                assert await snapshots.mounts(NAMESPACE, key) == first

    async def test_a_new_root_is_everybodys_to_enter(
        self, snapshots: Snapshotter, target: Path
    ) -> None:
        with mounted(await snapshots.prepare(NAMESPACE, "active", ""), target):
            found = target.stat()
            assert stat.S_IMODE(found.st_mode) == 0o755
            assert (found.st_uid, found.st_gid) == (0, 0)

    async def test_the_roots_attributes_are_inherited(
        self, snapshots: Snapshotter, target: Path
    ) -> None:
        with mounted(await snapshots.prepare(NAMESPACE, "active", ""), target):
            os.chown(target, 12, 34)
            target.chmod(0o1750)
        await snapshots.commit(NAMESPACE, "one", "active")
        await committed(snapshots, "two", "one")
        with mounted(await snapshots.prepare(NAMESPACE, "next", "two"), target):
            found = target.stat()
            assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12, 34, 0o1750)

    @pytest.mark.parametrize("parents", [0, 1, 2])
    async def test_a_view_cannot_be_written(
        self, snapshots: Snapshotter, target: Path, parents: int
    ) -> None:
        parent = ""
        for number in range(parents):
            await committed(snapshots, str(number), parent)
            parent = str(number)
        with mounted(await snapshots.view(NAMESPACE, "view", parent), target):
            with pytest.raises(OSError, match="Read-only") as refused:
                (target / "file").write_text("")
            assert refused.value.errno == errno.EROFS

    async def test_siblings_do_not_see_each_other(
        self, snapshots: Snapshotter, target: Path
    ) -> None:
        await written(snapshots, "parent", "", target, {"file": "parent"})
        await written(snapshots, "left", "parent", target, {"file": "left", "only": ""})
        await written(snapshots, "right", "parent", target, {})
        with mounted(await snapshots.view(NAMESPACE, "view", "right"), target):
            assert (target / "file").read_text() == "parent"
            assert not (target / "only").exists()

    async def test_what_was_deleted_stays_deleted(
        self, snapshots: Snapshotter, target: Path
    ) -> None:
        await written(snapshots, "one", "", target, {"file": "", "dir/old": "", "keep/old": ""})
        with mounted(await snapshots.prepare(NAMESPACE, "active", "one"), target):
            (target / "file").unlink()
            (target / "dir" / "old").unlink()
            (target / "dir").rmdir()
            (target / "dir").mkdir()
            (target / "dir" / "new").write_text("new")
        await snapshots.commit(NAMESPACE, "two", "active")
        await written(snapshots, "three", "two", target, {"keep/new": ""})
        with mounted(await snapshots.view(NAMESPACE, "view", "three"), target):
            assert tree_of(target) == ["dir", "dir/new", "keep", "keep/new", "keep/old"]

    async def test_a_deep_chain_is_mounted_and_read(
        self, snapshots: Snapshotter, records: SnapshotRecords, target: Path
    ) -> None:
        lower: list[str] = []
        staged = []
        for number in range(self.deepest):
            layer = snapshots.staging.stage(lower)
            with open(os.path.join(layer.fs, f"file{number}"), "w") as file:
                file.write(str(number))
            lower.insert(0, layer.fs)
            staged.append(layer)
        await published(snapshots, records, staged)
        with mounted(await snapshots.view(NAMESPACE, "view", f"layer{self.deepest}"), target):
            names = sorted(os.listdir(target))
            assert names == sorted(f"file{n}" for n in range(self.deepest))
            assert all((target / name).read_text() == name[4:] for name in names)
        with mounted(await snapshots.prepare(NAMESPACE, "top", f"layer{self.deepest}"), target):
            (target / "file0").write_text("changed")
            assert (target / "file0").read_text() == "changed"

    # The rules.

    async def test_a_key_is_used_once(self, snapshots: Snapshotter) -> None:
        await snapshots.prepare(NAMESPACE, "key", "")
        for start in (snapshots.prepare, snapshots.view):
            with pytest.raises(AlreadyExists):
                await start(NAMESPACE, "key", "")

    async def test_the_same_key_in_another_namespace(self, snapshots: Snapshotter) -> None:
        first = await snapshots.prepare(NAMESPACE, "key", "")
        assert await snapshots.prepare("other", "key", "") != first
        await snapshots.remove(NAMESPACE, "key")
        assert [record.key for record in await snapshots.walk("other")] == ["key"]

    async def test_a_parent_must_be_there_and_committed(self, snapshots: Snapshotter) -> None:
        await committed(snapshots, "parent", "")
        await snapshots.prepare(NAMESPACE, "active", "")
        await snapshots.view(NAMESPACE, "view", "parent")
        for start in (snapshots.prepare, snapshots.view):
            with pytest.raises(NotFound):
                await start(NAMESPACE, "child", "missing")
            for parent in ("active", "view"):
                with pytest.raises(InvalidArgument):
                    await start(NAMESPACE, "child", parent)
        assert len(await snapshots.walk(NAMESPACE)) == 3

    @pytest.mark.parametrize("key", ["", "line\nbreak", "nul\0", "k" * 5000])
    async def test_a_key_must_make_sense(self, snapshots: Snapshotter, key: str) -> None:
        with pytest.raises(InvalidArgument):
            await snapshots.prepare(NAMESPACE, key, "")
        await snapshots.prepare(NAMESPACE, "active", "")
        with pytest.raises(InvalidArgument):
            await snapshots.commit(NAMESPACE, key, "active")

    async def test_only_active_snapshots_are_committed(self, snapshots: Snapshotter) -> None:
        await committed(snapshots, "done", "")
        await snapshots.view(NAMESPACE, "view", "done")
        for key in ("done", "view"):
            with pytest.raises(FailedPrecondition):
                await snapshots.commit(NAMESPACE, "name", key)
        with pytest.raises(NotFound):
            await snapshots.commit(NAMESPACE, "name", "missing")

    async def test_a_name_is_used_once(self, snapshots: Snapshotter) -> None:
        await committed(snapshots, "name", "")
        await snapshots.prepare(NAMESPACE, "active", "")
        with pytest.raises(AlreadyExists):
            await snapshots.commit(NAMESPACE, "name", "active")
        assert (await snapshots.stat(NAMESPACE, "active")).kind == "active"

    async def test_committed_snapshots_have_no_mounts(self, snapshots: Snapshotter) -> None:
        await committed(snapshots, "name", "")
        with pytest.raises(FailedPrecondition):
            await snapshots.mounts(NAMESPACE, "name")
        with pytest.raises(NotFound):
            await snapshots.mounts(NAMESPACE, "missing")

    async def test_removing(self, snapshots: Snapshotter) -> None:
        await committed(snapshots, "parent", "")
        await snapshots.view(NAMESPACE, "child", "parent")
        with pytest.raises(SnapshotInUse, match="cannot remove"):
            await snapshots.remove(NAMESPACE, "parent")
        trees = [tree_path(snapshots, await snapshots.stat(NAMESPACE, "parent"))]
        trees.append(tree_path(snapshots, await snapshots.stat(NAMESPACE, "child")))
        await snapshots.remove(NAMESPACE, "child")
        await snapshots.remove(NAMESPACE, "parent")
        assert [tree for tree in trees if os.path.exists(tree)] == []
        assert await snapshots.walk(NAMESPACE) == []
        with pytest.raises(NotFound):
            await snapshots.remove(NAMESPACE, "parent")

    # Labels, usage, listing.

    async def test_labels(self, snapshots: Snapshotter) -> None:
        await snapshots.prepare(NAMESPACE, "active", "", {"a": "1"})
        assert (await snapshots.stat(NAMESPACE, "active")).labels == {"a": "1"}
        assert (await snapshots.update(NAMESPACE, "active", {"b": "2"})).labels == {"b": "2"}
        await snapshots.commit(NAMESPACE, "name", "active", {"c": "3"})
        assert (await snapshots.stat(NAMESPACE, "name")).labels == {"c": "3"}
        with pytest.raises(NotFound):
            await snapshots.update(NAMESPACE, "missing", {})
        for labels in ({"": "x"}, {"k": "v" * 5000}):
            with pytest.raises(InvalidArgument):
                await snapshots.update(NAMESPACE, "name", labels)
            with pytest.raises(InvalidArgument):
                await snapshots.prepare(NAMESPACE, "other", "", labels)

    async def test_usage(self, snapshots: Snapshotter, target: Path) -> None:
        with mounted(await snapshots.prepare(NAMESPACE, "active", ""), target):
            empty = await snapshots.usage(NAMESPACE, "active")
            (target / "file").write_bytes(b"x" * 1_000_000)
            os.link(target / "file", target / "link")
            (target / "dir").mkdir()
            os.symlink("file", target / "symlink")
            full = await snapshots.usage(NAMESPACE, "active")
        assert full.inodes == empty.inodes + 3
        assert 1_000_000 <= full.bytes - empty.bytes < 1_100_000
        await snapshots.commit(NAMESPACE, "name", "active")
        assert (await snapshots.usage(NAMESPACE, "name")).inodes == full.inodes
        assert 1_000_000 <= (await snapshots.usage(NAMESPACE, "name")).bytes < 1_200_000
        await snapshots.view(NAMESPACE, "view", "name")
        assert (await snapshots.usage(NAMESPACE, "view")).bytes == 0
        with pytest.raises(NotFound):
            await snapshots.usage(NAMESPACE, "missing")

    async def test_walk_is_sorted(self, snapshots: Snapshotter) -> None:
        for key in ("b", "c", "a"):
            await snapshots.prepare(NAMESPACE, key, "")
        assert [record.key for record in await snapshots.walk(NAMESPACE)] == ["a", "b", "c"]
        assert await snapshots.walk("other") == []

    # A pull's way in.

    async def test_staged_published_deleted(
        self, snapshots: Snapshotter, records: SnapshotRecords, target: Path
    ) -> None:
        staging = snapshots.staging
        staged = staging.stage([])
        with staging.target(staged, [], "direct") as fd:
            os.mkdir("dir", dir_fd=fd)
        assert staging.measure(staged).inodes == 2
        await published(snapshots, records, [staged])
        staging.discard(staged)
        assert os.path.isdir(os.path.join(staging.tree(staged.directory), "dir"))
        with mounted(await snapshots.view(NAMESPACE, "view", "layer1"), target):
            assert tree_of(target) == ["dir"]
        await snapshots.remove(NAMESPACE, "view")
        await records.remove_snapshot(NAMESPACE, snapshots.name, "layer1")
        staging.delete(staged.directory)
        assert not os.path.exists(staging.tree(staged.directory))
        staging.delete(staged.directory)

    async def test_staged_published_thrown_away(
        self, snapshots: Snapshotter, records: SnapshotRecords
    ) -> None:
        staging = snapshots.staging
        staged = staging.stage([])
        for name in ("a", "b", "c"):
            os.mkdir(os.path.join(staged.fs, name))
        await published(snapshots, records, [staged])
        await records.remove_snapshot(NAMESPACE, snapshots.name, "layer1")
        staging.throw_away(staged.directory)
        assert not os.path.exists(staging.tree(staged.directory))
        staging.throw_away(staged.directory)
        assert staging.empty_trash(2) <= 2
        while staging.empty_trash(2) == 2:
            pass
        assert staging.empty_trash(2) == 0

    async def test_discarded(self, snapshots: Snapshotter) -> None:
        staged = snapshots.staging.stage([])
        os.makedirs(os.path.join(staged.fs, "a", "b"))
        snapshots.staging.discard(staged)
        assert not os.path.exists(staged.root)
        snapshots.staging.discard(staged)

    async def test_a_layer_is_applied_to_what_is_below(
        self, snapshots: Snapshotter, records: SnapshotRecords, target: Path
    ) -> None:
        staging = snapshots.staging
        first = staging.stage([])
        with staging.target(first, [], "direct") as fd:
            for name in ("gone", "kept", "linked"):
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
            os.fchown(fd, 7, 8)
        second = staging.stage([first.fs])
        with staging.target(second, [first.fs], "direct") as fd:
            assert os.fstat(fd).st_uid == 7
            os.unlink("gone", dir_fd=fd)
            os.link("linked", "link", src_dir_fd=fd, dst_dir_fd=fd)
        assert os.listdir(second.root) == ["fs"]
        await published(snapshots, records, [first, second])
        with mounted(await snapshots.view(NAMESPACE, "view", "layer2"), target):
            assert tree_of(target) == ["kept", "link", "linked"]
            assert (target / "link").samefile(target / "linked")
            assert (target.stat().st_uid, target.stat().st_gid) == (7, 8)

    # Starting again.

    async def test_recover_removes_what_has_no_record(
        self, snapshots: Snapshotter, records: SnapshotRecords, tmp_path: Path, target: Path
    ) -> None:
        await written(snapshots, "kept", "", target, {"file": "kept"})
        await snapshots.prepare(NAMESPACE, "active", "kept")
        staged = snapshots.staging.stage([])
        orphan = snapshots.staging.stage([])
        snapshots.staging.publish([orphan])
        again = await self.opened(tmp_path, records)
        assert not os.path.exists(staged.root)
        assert not os.path.exists(again.staging.tree(orphan.directory))
        with mounted(await again.mounts(NAMESPACE, "active"), target):
            assert (target / "file").read_text() == "kept"
        assert len(await again.walk(NAMESPACE)) == 2

    async def test_numbers_are_not_given_twice(
        self, snapshots: Snapshotter, records: SnapshotRecords, tmp_path: Path
    ) -> None:
        used = snapshots.staging.stage([])
        await published(snapshots, records, [used])
        again = await self.opened(tmp_path, records)
        numbers = [again.staging.stage([]).directory for _ in range(3)]
        assert len({used.directory, *numbers}) == 4


# --- steps that tests share ---------------------------------------------------------------


@contextmanager
def mounted(mounts: Sequence[Mount], target: Path) -> Iterator[None]:
    """Mount on ``target`` for the length of a block."""
    mount_all(mounts, str(target))
    try:
        yield
    finally:
        for _ in mounts:
            unmount(str(target), detach=True)


def tree_of(root: Path) -> list[str]:
    """Paths of all that is below ``root``, sorted."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def tree_path(snapshots: Snapshotter, record: SnapshotRecord) -> str:
    """Where a snapshot's own tree is on disk."""
    return snapshots.staging.tree(record.directory)


async def committed(snapshots: Snapshotter, name: str, parent: str) -> None:
    """An empty committed snapshot."""
    await snapshots.prepare(NAMESPACE, f"{name} in the making", parent)
    await snapshots.commit(NAMESPACE, name, f"{name} in the making")


async def written(
    snapshots: Snapshotter, name: str, parent: str, target: Path, files: dict[str, str]
) -> None:
    """A committed snapshot into which ``files`` were written through its mount."""
    key = f"{name} in the making"
    with mounted(await snapshots.prepare(NAMESPACE, key, parent), target):
        for path, text in files.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_text(text)
    await snapshots.commit(NAMESPACE, name, key)


async def published(
    snapshots: Snapshotter, records: SnapshotRecords, staged: Sequence[Staged]
) -> None:
    """Publish layers, lowest first, as the chain ``layer1``, ``layer2``, … as a pull does."""
    snapshots.staging.publish(staged)
    parent = ""
    for number, layer in enumerate(staged, 1):
        record = SnapshotRecord(
            snapshotter=snapshots.name,
            key=f"layer{number}",
            directory=layer.directory,
            kind="committed",
            parent=parent,
        )
        await records.add_snapshot(NAMESPACE, record)
        parent = record.key
