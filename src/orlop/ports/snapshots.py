"""Snapshots: directory trees that are layered on one another.

Words. A *snapshot* has a key, unique in its namespace and snapshotter, and a
parent or none. It is *active* (somebody writes to it), a *view* (read only,
temporary) or *committed* (never changes again; its key is then the chain id of
the layers it is made of). Only committed snapshots can be parents.

Life, as clients drive it: ``prepare(key, parent)`` → mount, write →
``commit(name, key)``; or ``view(key, parent)`` → mount, read → ``remove(key)``.
A snapshot with children cannot be removed. Mounts are recipes; whoever asks
for them mounts and unmounts.

Life, as a pull drives it (``LayerStaging``): ``stage`` makes a private
directory outside ``snapshots/``; a worker fills it; ``settle`` gives it what
only the layers below can tell; after the barrier ``publish`` renames it to its
number under ``snapshots/``; the record follows in the pull's one transaction.
What is staged and not published is removed by ``discard``, or at the next start
by ``recover``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from orlop.model.digest import Digest
    from orlop.ports.metadata import SnapshotRecord, Usage

ApplyMode = Literal["overlay", "direct"]
"""How a layer is applied.

``overlay``: the tree holds this layer only; deletions become overlayfs whiteouts
and opaque directories. ``direct``: the tree shows the lower layers too;
deletions are carried out.
"""


@dataclass(frozen=True, slots=True)
class Mount:
    """A recipe for mount(2), in containerd's words (type, source, options)."""

    type: str
    source: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Staged:
    """A layer's private directory.

    Attributes:
        directory: the number that it will have under ``snapshots/``.
        root: absolute path of the staging directory.
        fs: absolute path of the tree in it.
    """

    directory: int
    root: str
    fs: str


class LayerStaging(Protocol):
    """The pull's way into a snapshotter. Methods block; call them from a thread.

    ``lower`` is always the layer's parents, topmost first, as absolute paths of
    their trees: ``Staged.fs`` of layers of the same pull, ``tree(directory)`` of
    those that are published.
    """

    @property
    def independent(self) -> bool:
        """True when a layer can be filled before its parents are there."""

    def tree(self, directory: int) -> str:
        """Absolute path of a published snapshot's own tree."""

    def stage(self, lower: Sequence[str]) -> Staged:
        """Make an empty tree, or, when not ``independent``, a copy of ``lower[0]``.

        The tree's root is owned by root with mode 0755.
        """

    def target(
        self, staged: Staged, lower: Sequence[str], mode: ApplyMode
    ) -> AbstractContextManager[int]:
        """A directory descriptor that a worker may fill in ``mode``.

        In ``direct`` mode an overlay snapshotter gives a detached mount (never
        attached to the file system tree; gone when the descriptor closes) of
        ``staged`` over ``lower``.
        """

    def settle(
        self,
        staged: Staged,
        lower: Sequence[str],
        *,
        implied: Sequence[bytes],
        opaque: Sequence[bytes],
    ) -> bool:
        """Finish a tree that was filled in ``overlay`` mode.

        Marks ``opaque`` directories; gives ``implied`` directories (created only
        because something below them was named) the owner, mode, times and extended
        attributes that the lower layers have for them. Paths are relative, without
        leading slash, ``b"."`` is the root; ``implied`` is sorted, parents first.

        Returns:
            False when a lower layer has something other than a directory where
            an implied directory stands: the layer must be applied again in
            ``direct`` mode.
        """

    def records(self, staged: Staged) -> AbstractContextManager[int]:
        """A descriptor of a new file that a worker writes the tree's manifest to."""

    def seal(self, staged: Staged, paths: Sequence[bytes] | None) -> Digest:
        """Complete the manifest of a finished tree; returns the manifest's digest.

        Args:
            staged: filled and settled.
            paths: directories that look otherwise than the worker's records say. None
                when the tree is not what the worker alone made: it is read then.
        """

    def verify(self, directory: int, manifest: str, spend: Callable[[int], None]) -> list[str]:
        """Compare a published tree with its manifest, byte by byte; changes nothing.

        Args:
            directory: of the snapshot.
            manifest: digest that ``seal`` returned; "" when there was none: the tree is
                only looked for.
            spend: told of bytes before they are read; may block.

        Returns:
            What differs, one text each.

        Raises:
            StoreIO: the disk cannot be read.
        """

    def publish(self, staged: Sequence[Staged]) -> None:
        """Rename each into ``snapshots/`` and make the names durable.

        The caller has made the data durable (or chosen not to).

        Raises:
            StoreIO: the disk failed: nothing may be written until a restart.
        """

    def discard(self, staged: Staged) -> None:
        """Remove a staged tree; nothing happens when it is gone or published."""

    def delete(self, directory: int) -> None:
        """Remove a published tree whose record is gone: to the trash, then from disk."""

    def throw_away(self, directory: int) -> None:
        """Rename a published tree whose record is gone into the trash; at once, whatever its size.

        Nothing happens when it is gone.
        """

    def empty_trash(self, inodes: int) -> int:
        """Remove at most so many inodes of what was thrown away.

        Returns:
            How many were removed; fewer than ``inodes`` when the trash is empty.

        Raises:
            OrlopError: something cannot be removed. All else was tried, too.
        """

    def retire(self, directory: int) -> None:
        """Remove a published tree that another has replaced, as soon as no mount uses it.

        One that is in use stays as it is until a later start.
        """

    def measure(self, staged: Staged) -> Usage:
        """Disk bytes and inodes of a staged tree, by walking it.

        Used for trees that a worker could not count (copies, ``direct`` mode).
        """


class Snapshotter(Protocol):
    """containerd's snapshotter service for one kind of file system."""

    @property
    def name(self) -> str:
        """What it is called: ``overlayfs``, ``native`` and so on."""

    @property
    def root(self) -> str:
        """Its directory; CRI reports the file system below it."""

    @property
    def staging(self) -> LayerStaging:
        """The pull's way in."""

    async def stat(self, namespace: str, key: str) -> SnapshotRecord:
        """Raises NotFound."""

    async def update(self, namespace: str, key: str, labels: Mapping[str, str]) -> SnapshotRecord:
        """Replace the labels. Raises NotFound."""

    async def usage(self, namespace: str, key: str) -> Usage:
        """Own files of a snapshot (an active one is walked). Raises NotFound."""

    async def prepare(
        self, namespace: str, key: str, parent: str, labels: Mapping[str, str] | None = None
    ) -> list[Mount]:
        """Start an active snapshot.

        Raises:
            AlreadyExists: the key is taken.
            NotFound: no such parent.
            InvalidArgument: the parent is not committed.
        """

    async def view(
        self, namespace: str, key: str, parent: str, labels: Mapping[str, str] | None = None
    ) -> list[Mount]:
        """Start a read-only view; raises as ``prepare``."""

    async def mounts(self, namespace: str, key: str) -> list[Mount]:
        """How to mount an active snapshot or a view.

        Raises:
            NotFound: no such key.
            FailedPrecondition: it is committed.
        """

    async def commit(
        self, namespace: str, name: str, key: str, labels: Mapping[str, str] | None = None
    ) -> None:
        """Make an active snapshot a committed one named ``name``.

        Raises:
            NotFound: no such key.
            AlreadyExists: the name is taken.
            FailedPrecondition: it is a view or committed.
        """

    async def remove(self, namespace: str, key: str) -> None:
        """Remove a snapshot: record, then files.

        Raises:
            NotFound: no such key.
            SnapshotInUse: it has children.
        """

    async def walk(self, namespace: str, label: str = "") -> list[SnapshotRecord]:
        """All snapshots, by key; with a label only those that were given it."""

    async def recover(self) -> None:
        """At start, with the root locked: remove staging, trash and unrecorded trees."""
