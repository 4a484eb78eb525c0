r"""Directories: the numbered trees of one snapshotter, from staging to trash.

::

    ROOT/io.containerd.snapshotter.v1.NAME/
        snapshots/ID/fs      a snapshot's own tree; its root has the tree's own mode
    snapshots/ID/manifest  what is to be in it, see orlop.model.treemanifest
        snapshots/ID/work    overlayfs's workshop, for snapshots that are written to
        staging/ID/          a tree in the making; wiped at the start
        trash/ID/            a tree on its way out; wiped at the start

All but ``fs`` are root's alone (0700), so that nobody reaches an image's setuid
files. A number is given once per run: the next one is above all that are on
disk or in records. The order of steps is what recovery relies on:

* in: fill ``staging/ID`` → barrier → rename to ``snapshots/ID`` → fsync of
  ``snapshots/`` → record. Before the record it is garbage.
* out: the record goes → rename to ``trash/ID`` → unlink. After that it is garbage.

Garbage is removed by ``recover``. Records are none of this module's business.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from orlop.errors import FailedPrecondition, Internal, StoreCorrupt
from orlop.linux import files
from orlop.linux.mountinfo import mounted_directories, read_mountinfo
from orlop.linux.mounts import unmount
from orlop.linux.root import open_root
from orlop.ports.snapshots import Mount, Staged
from orlop.snapshots import sealing, verifying, walk
from orlop.snapshots.attributes import copy_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager

    from orlop.model.digest import Digest
    from orlop.ports.metadata import Usage

_SNAPSHOTS: Final = "snapshots"
_STAGING: Final = "staging"
_TRASH: Final = "trash"
_LAYOUT: Final = (_SNAPSHOTS, _STAGING, _TRASH)


class Directories:
    """The trees of the snapshotter ``name``; nothing is made before ``recover``.

    Methods block and may be called from any thread. The caller holds the lock of
    ``root``, and of ``path`` (see ``orlop.snapshots.place``).

    Args:
        root: the store's root directory.
        name: the snapshotter's name.
        path: its directory; "" is the one below ``root`` that is called after it.
        sync_remove: a removal waits until the disk has it.

    Attributes:
        name: the snapshotter's name.
        root: absolute path of its directory.
    """

    def __init__(self, root: str, name: str, *, path: str = "", sync_remove: bool = False) -> None:
        self.name = name
        below = os.path.join(root, f"io.containerd.snapshotter.v1.{name}")
        self.root = os.path.abspath(path or below)
        self._sync_remove = sync_remove
        self._numbering = threading.Lock()
        self._deleting: set[str] = set()
        self._next = 0

    def tree(self, directory: int) -> str:
        """Absolute path of a published snapshot's own tree."""
        return os.path.join(self.root, _SNAPSHOTS, str(directory), "fs")

    def work(self, directory: int) -> str:
        """Absolute path of a published snapshot's work directory."""
        return os.path.join(self.root, _SNAPSHOTS, str(directory), "work")

    def make(self, *, work: bool = False) -> Staged:
        """Make an empty tree in staging, root's own with mode 0755.

        Args:
            work: make a work directory, too.

        Raises:
            Internal: ``recover`` has not been called.
            StoreFull, StoreIO: the disk.
        """
        number = self._take_number()
        root = os.path.join(self.root, _STAGING, str(number))
        staged = Staged(directory=number, root=root, fs=os.path.join(root, "fs"))
        try:
            with files.translated(f"make {root}"), self._opened(_STAGING) as staging:
                _make_directory(staging, str(number), mode=0o700)
                with self._opened(_STAGING, str(number)) as own:
                    _make_directory(own, "fs", mode=0o755)
                    if work:
                        _make_directory(own, "work", mode=0o700)
        except BaseException:
            self.discard(staged)
            raise
        return staged

    def publish(self, staged: Sequence[Staged]) -> None:
        """Rename each into ``snapshots/`` and make the names durable.

        Raises:
            AlreadyExists: the number is taken; the store was changed behind our back.
            StoreIO: the disk failed.
        """
        if not staged:
            return
        with (
            files.translated(f"publish snapshots of {self.name}"),
            self._opened(_STAGING) as source,
            self._opened(_SNAPSHOTS) as target,
        ):
            for tree in staged:
                number = b"%d" % tree.directory
                files.renameat2(source, number, target, number, files.RENAME_NOREPLACE)
            files.fsync(target, what=os.path.join(self.root, _SNAPSHOTS))

    def discard(self, staged: Staged) -> None:
        """Remove a staged tree; nothing happens when it is gone or published."""
        with files.translated(f"remove {staged.root}"), self._opened(_STAGING) as staging:
            walk.remove_tree(staging, str(staged.directory))

    def delete(self, directory: int) -> None:
        """Remove a published tree whose record is gone: to the trash, then from disk.

        Nothing happens when it is gone. What cannot be removed waits in the trash.

        Raises:
            StoreIO: the disk failed, or, with ``sync_remove``, does not have it.
        """
        with (
            files.translated(f"remove snapshot directory {directory} of {self.name}"),
            self._opened(_SNAPSHOTS) as source,
            self._opened(_TRASH) as trash,
        ):
            name = str(directory)
            self._deleting.add(name)
            try:
                _throw_away(source, trash, name)
                walk.remove_tree(trash, name)
            finally:
                self._deleting.discard(name)
            if self._sync_remove:
                for fd, place in ((source, _SNAPSHOTS), (trash, _TRASH)):
                    files.fsync(fd, what=os.path.join(self.root, place))

    def throw_away(self, directory: int) -> None:
        """Rename a published tree whose record is gone into the trash.

        With ``sync_remove`` it is deleted at once. Nothing happens when it is gone.

        Raises:
            StoreIO: the disk failed.
        """
        if self._sync_remove:
            self.delete(directory)
            return
        with (
            files.translated(f"throw away snapshot directory {directory} of {self.name}"),
            self._opened(_SNAPSHOTS) as source,
            self._opened(_TRASH) as trash,
        ):
            _throw_away(source, trash, str(directory))

    def empty_trash(self, inodes: int) -> int:
        """Remove at most so many inodes of what was thrown away; returns how many.

        Raises:
            OrlopError: something cannot be removed. All else was tried, too.
        """
        removed = 0
        failure: OSError | None = None
        with files.translated(f"empty the trash of {self.name}"), self._opened(_TRASH) as trash:
            for name in os.listdir(trash):
                if removed >= inodes:
                    return removed
                if name in self._deleting:
                    continue
                try:
                    removed += walk.remove_part(trash, name, inodes - removed)
                except OSError as error:
                    failure = failure or error
            if failure is not None:
                raise failure
        return removed

    def retire(self, directory: int) -> None:
        """See the port. Raises StoreIO."""
        with files.translated("look for mounts"):
            used = self._in_use([str(directory)])
        if not used:
            self.delete(directory)

    def labels(self, directory: int) -> Mapping[str, str]:  # noqa: ARG002 - others have some
        """Labels that a snapshot has because of the way it is kept: none."""
        return {}

    @contextmanager
    def records(self, staged: Staged) -> Iterator[int]:
        """See the port."""
        with files.translated(f"open {staged.root}"), opened(staged.root) as own:
            fd = sealing.create(own)
        try:
            yield fd
        finally:
            os.close(fd)

    def seal(self, staged: Staged, paths: Sequence[bytes] | None) -> Digest:
        """See the port. Raises StoreFull, StoreIO, StoreCorrupt."""
        with (
            files.translated(f"seal {staged.root}"),
            opened(staged.root) as own,
            opened(staged.fs) as tree,
        ):
            # Others' unpackers need not record anything.
            if paths is None or not sealing.is_begun(own):
                return sealing.seal_whole(own, tree)
            return sealing.seal(own, tree, paths)

    def verify(self, directory: int, manifest: str, spend: Callable[[int], None]) -> list[str]:
        """See the port."""
        own = os.path.join(self.root, _SNAPSHOTS, str(directory))
        if not os.path.isdir(os.path.join(own, "fs")):
            return [f"snapshot directory {own}/fs is missing"]
        if not manifest:
            return []
        try:
            with files.translated(f"read {own}"), opened(own) as fd:
                found = verifying.verify(fd, manifest, spend)
        except StoreCorrupt as error:
            found = [error.message]
        return [f"snapshot directory {own}: {one}" for one in found]

    def measure(self, staged: Staged) -> Usage:
        """Disk bytes and inodes of a staged tree."""
        return self._measure(staged.fs)

    def measure_published(self, directory: int) -> Usage:
        """Disk bytes and inodes of a published tree."""
        return self._measure(self.tree(directory))

    def sync(self) -> None:
        """Make all that was written to the file system of the trees durable.

        Raises:
            StoreIO: the barrier failed.
        """
        with files.translated(f"open {self.root}"), self._opened(_SNAPSHOTS) as fd:
            files.syncfs(fd, what=f"the file system of {self.root}")

    def recover(self, recorded: AbstractSet[int]) -> None:
        """Make the layout, remove what has no record, and begin to give numbers.

        Args:
            recorded: every number that a record holds.

        Raises:
            FailedPrecondition: there are records, and no snapshots at all.
            StoreCorrupt: a directory of ours is not ours alone.
            StoreFull, StoreIO, PermissionDenied: the disk.
        """
        if recorded and not os.path.lexists(os.path.join(self.root, _SNAPSHOTS)):
            raise FailedPrecondition(
                f"the snapshots of {self.name} are not in {self.root}",
                hint="mount the file system that they are on, or set root_path back",
            )
        for path in (self.root, *(os.path.join(self.root, name) for name in _LAYOUT)):
            os.close(open_root(path))
        with files.translated(f"clean up {self.root}"):
            present = {name: os.listdir(os.path.join(self.root, name)) for name in _LAYOUT}
            kept = {str(number) for number in recorded}
            garbage = [name for name in present[_SNAPSHOTS] if name not in kept]
            self._detach_mounts(garbage)
            used = self._in_use(filter(str.isdecimal, garbage)) if garbage else set()
            garbage = [name for name in garbage if name not in used]
            numbers = {int(n) for names in present.values() for n in names if n.isdecimal()}
            self._empty(garbage)
            with self._numbering:
                self._next = max(self._next, max(numbers | recorded, default=0) + 1)

    def _detach_mounts(self, garbage: Iterable[str]) -> None:
        """End mounts that a crash left on or below what is to be removed."""
        places = [os.path.join(self.root, name) for name in (_STAGING, _TRASH)]
        doomed = [os.path.join(self.root, _SNAPSHOTS, name) for name in garbage]
        below = tuple(place + "/" for place in places + doomed)
        for found in reversed(read_mountinfo()):
            if found.target.startswith(below) or found.target in doomed:
                unmount(found.target, detach=True)

    def _in_use(self, names: Iterable[str]) -> set[str]:
        """Which of these directories some process has mounted, alone or below others."""
        mounted = mounted_directories()
        return {name for name in names if any(_names(one, self.tree(int(name))) for one in mounted)}

    def _empty(self, garbage: Iterable[str]) -> None:
        with self._opened(_SNAPSHOTS) as snapshots, self._opened(_TRASH) as trash:
            for name in garbage:
                _throw_away(snapshots, trash, name)
        for place in (_STAGING, _TRASH):
            with self._opened(place) as fd:
                for name in os.listdir(fd):
                    walk.remove_tree(fd, name)

    def _take_number(self) -> int:
        with self._numbering:
            if not self._next:
                raise Internal(f"snapshotter {self.name} is used before it was recovered")
            self._next += 1
            return self._next - 1

    def _measure(self, tree: str) -> Usage:
        with files.translated(f"measure {tree}"):
            return walk.measure(tree)

    def _opened(self, *names: str) -> AbstractContextManager[int]:
        return opened(os.path.join(self.root, *names))


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of a directory, which is no link, for the length of a block.

    Raises:
        OSError: it cannot be opened.
    """
    fd = os.open(path, files.DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def copy_root(source: str, target: str) -> None:
    """Give a tree's root what the root of another has: owner, mode, times, attributes.

    Raises:
        OSError: the file system refused.
    """
    with opened(source) as given, opened(target) as taking:
        copy_attributes(given, taking)


def bind(tree: str, *, writable: bool) -> Mount:
    """How to mount a tree as it is."""
    return Mount(type="bind", source=tree, options=("rw" if writable else "ro", "rbind"))


def _make_directory(dirfd: int, name: str, *, mode: int) -> None:
    """Make a directory that must be new, with exactly this mode whatever the umask is."""
    if not files.make_directory(dirfd, name, mode=mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    fd = files.open_directory(dirfd, name)
    try:
        files.change_mode(fd, mode)
    finally:
        os.close(fd)


def _throw_away(source: int, trash: int, name: str) -> None:
    """Rename into the trash, where an older tree of the same name makes room."""
    walk.remove_tree(trash, name)
    with suppress(FileNotFoundError):
        files.renameat2(source, os.fsencode(name), trash, os.fsencode(name))


def _names(mounted: str, tree: str) -> bool:
    """True when what somebody has mounted may be this tree.

    It may have been named from a directory on the way to it (``12/fs``), from the root of
    its file system, or from the root of the disk that has it.
    """
    if mounted.rsplit("/", 2)[-2:] != tree.rsplit("/", 2)[-2:]:
        return False
    return tree.endswith("/" + mounted.lstrip("/")) or mounted.endswith(tree)
