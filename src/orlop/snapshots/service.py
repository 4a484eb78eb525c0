"""The snapshot service: containerd's life of a snapshot, for any way to keep trees.

Records say what exists, directories hold it, the rules are ``tree``'s. The
order of the steps makes a crash leave garbage at worst, never a record without
its tree: in, the directory first and the record last; out, the record first.
Blocking work runs in threads.

Cancellation. What has begun to change the disk is finished before the
cancellation goes on; a snapshot that was started for nobody is removed again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from orlop.errors import NotFound, SnapshotInUse
from orlop.model import labels as label_rules
from orlop.model.quote import quote
from orlop.ports.metadata import Usage
from orlop.ports.snapshots import LayerStaging
from orlop.snapshots import tree

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from orlop.ports.clock import Clock
    from orlop.ports.metadata import SnapshotRecord, SnapshotRecords
    from orlop.ports.snapshots import Mount, Staged

_T = TypeVar("_T")


class Format(LayerStaging, Protocol):
    """A way to keep trees: ``Overlay`` or ``Native``. Methods block."""

    @property
    def name(self) -> str:
        """The snapshotter's name."""

    @property
    def root(self) -> str:
        """Absolute path of its directory."""

    def start(self, layers: Sequence[str], *, writable: bool) -> Staged:
        """Make the tree of a new snapshot on top of ``layers``, topmost first."""

    def mounts(self, directory: int, layers: Sequence[str], *, writable: bool) -> list[Mount]:
        """How to mount a published tree on top of ``layers``."""

    def labels(self, directory: int) -> Mapping[str, str]:
        """Labels that a snapshot has because of the way it is kept; never stored."""

    def measure_published(self, directory: int) -> Usage:
        """Disk bytes and inodes of a published tree."""

    def sync(self) -> None:
        """Make what was written to the trees durable."""

    def recover(self, recorded: AbstractSet[int]) -> None:
        """Make the layout and remove all trees but ``recorded``."""


class SnapshotService:
    """Implements ``orlop.ports.snapshots.Snapshotter``.

    Args:
        format_: keeps the trees.
        records: keeps the records.
        clock: dates them.
    """

    def __init__(self, format_: Format, records: SnapshotRecords, clock: Clock) -> None:
        self._format = format_
        self._records = records
        self._clock = clock

    @property
    def name(self) -> str:
        """The snapshotter's name."""
        return self._format.name

    @property
    def root(self) -> str:
        """Absolute path of its directory."""
        return self._format.root

    @property
    def staging(self) -> LayerStaging:
        """The pull's way in."""
        return self._format

    async def stat(self, namespace: str, key: str) -> SnapshotRecord:
        """One snapshot's record. Raises NotFound."""
        return self._labelled(await self._record(namespace, key))

    async def update(self, namespace: str, key: str, labels: Mapping[str, str]) -> SnapshotRecord:
        """Replace the labels.

        Raises:
            NotFound: no such snapshot.
            InvalidArgument: a label is bad.
        """
        label_rules.validate(labels)
        record = await self._record(namespace, key)
        computed = self._format.labels(record.directory)
        own = {name: value for name, value in labels.items() if name not in computed}
        return self._labelled(await self._records.label_snapshot(namespace, self.name, key, own))

    async def usage(self, namespace: str, key: str) -> Usage:
        """Own files of a snapshot; those of an active one are walked. Raises NotFound."""
        record = await self._record(namespace, key)
        if record.kind == "active":
            return await asyncio.to_thread(self._format.measure_published, record.directory)
        return Usage(bytes=record.bytes, inodes=record.inodes)

    async def prepare(
        self, namespace: str, key: str, parent: str, labels: Mapping[str, str] | None = None
    ) -> list[Mount]:
        """Start an active snapshot.

        Raises:
            AlreadyExists: the key is taken.
            NotFound: no such parent.
            InvalidArgument: the parent is not committed; the key or a label is bad.
            StoreFull, StoreIO: the disk.
        """
        return await self._start("active", namespace, key, parent, labels or {})

    async def view(
        self, namespace: str, key: str, parent: str, labels: Mapping[str, str] | None = None
    ) -> list[Mount]:
        """Start a read-only view; raises as ``prepare``."""
        return await self._start("view", namespace, key, parent, labels or {})

    async def mounts(self, namespace: str, key: str) -> list[Mount]:
        """How to mount an active snapshot or a view.

        Raises:
            NotFound: no such key.
            FailedPrecondition: it is committed.
        """
        record = await self._record(namespace, key)
        tree.check_mountable(record)
        return self._mounts(record, await self._chain(namespace, record.parent))

    async def commit(
        self, namespace: str, name: str, key: str, labels: Mapping[str, str] | None = None
    ) -> None:
        """Make an active snapshot a committed one; its files are durable when this returns.

        Raises:
            NotFound: no such key.
            AlreadyExists: the name is taken.
            FailedPrecondition: it is a view or committed.
            InvalidArgument: the name or a label is bad.
            StoreIO: the disk failed.
        """
        tree.check_key(name, "snapshot name")
        label_rules.validate(labels or {})
        active = await self._record(namespace, key)
        tree.check_committable(active)
        tree.check_free(name, await self._records.snapshot(namespace, self.name, name))
        usage = await asyncio.to_thread(self._measure_and_sync, active.directory)
        committed = tree.commit(
            active, name, labels=labels or {}, usage=usage, now=self._clock.now()
        )
        await self._records.commit_snapshot(namespace, self.name, key, committed)

    async def remove(self, namespace: str, key: str) -> None:
        """Remove a snapshot: record, then files.

        Raises:
            NotFound: no such key.
            SnapshotInUse: it has children.
            OrlopError: its files could not be removed; they wait in the trash.
        """
        await _to_the_end(self._remove(namespace, key))

    async def walk(self, namespace: str, label: str = "") -> list[SnapshotRecord]:
        """All snapshots, by key; with a label only those that were given it."""
        found = await self._records.snapshots(namespace, self.name, label)
        return [self._labelled(one) for one in found]

    async def recover(self) -> None:
        """At start, with the root locked: remove staging, trash and unrecorded trees.

        Nothing else may be called before.

        Raises:
            StoreCorrupt, StoreFull, StoreIO, PermissionDenied: the disk.
            FailedPrecondition: the file system below the root is of no use here.
        """
        recorded = await self._records.directories(self.name)
        await asyncio.to_thread(self._format.recover, recorded)

    # Steps.

    async def _record(self, namespace: str, key: str) -> SnapshotRecord:
        record = await self._records.snapshot(namespace, self.name, key)
        if record is None:
            raise NotFound(f"snapshot {quote(key)} does not exist in {self.name}")
        return record

    def _labelled(self, record: SnapshotRecord) -> SnapshotRecord:
        """The record as clients see it."""
        computed = self._format.labels(record.directory)
        return replace(record, labels={**record.labels, **computed}) if computed else record

    async def _start(
        self,
        kind: Literal["active", "view"],
        namespace: str,
        key: str,
        parent: str,
        labels: Mapping[str, str],
    ) -> list[Mount]:
        tree.check_key(key)
        tree.check_free(key, await self._records.snapshot(namespace, self.name, key))
        chain = await self._chain(namespace, parent)
        # The rules are asked before the disk is touched; the number follows.
        draft = tree.start(
            kind,
            key,
            snapshotter=self.name,
            chain=chain,
            directory=0,
            labels=labels,
            now=self._clock.now(),
        )
        record = await _to_the_end(
            self._add(namespace, draft, chain), undo=lambda: self._remove(namespace, key)
        )
        return self._mounts(record, chain)

    async def _add(
        self, namespace: str, draft: SnapshotRecord, chain: Sequence[SnapshotRecord]
    ) -> SnapshotRecord:
        """Make the tree, then the record."""
        directory = await asyncio.to_thread(
            self._make, self._layers(chain), writable=draft.kind == "active"
        )
        record = replace(draft, directory=directory)
        try:
            await self._records.add_snapshot(namespace, record)
        except BaseException:
            await asyncio.to_thread(self._format.delete, directory)
            raise
        return record

    async def _remove(self, namespace: str, key: str) -> None:
        """Remove the record, then the tree, unless another namespace holds it, too."""
        try:
            record = await self._records.remove_snapshot(namespace, self.name, key)
        except SnapshotInUse as error:
            raise SnapshotInUse(f"{error}: cannot remove snapshot {quote(key)}") from error
        if record.directory not in await self._records.directories(self.name):
            await asyncio.to_thread(self._format.delete, record.directory)

    async def _chain(self, namespace: str, parent: str) -> list[SnapshotRecord]:
        return await self._records.chain(namespace, self.name, parent) if parent else []

    def _make(self, layers: Sequence[str], *, writable: bool) -> int:
        staged = self._format.start(layers, writable=writable)
        try:
            self._format.publish([staged])
        except BaseException:
            self._format.discard(staged)
            raise
        return staged.directory

    def _measure_and_sync(self, directory: int) -> Usage:
        usage = self._format.measure_published(directory)
        self._format.sync()
        return usage

    def _layers(self, chain: Sequence[SnapshotRecord]) -> list[str]:
        return [self._format.tree(record.directory) for record in chain]

    def _mounts(self, record: SnapshotRecord, chain: Sequence[SnapshotRecord]) -> list[Mount]:
        return self._format.mounts(
            record.directory, self._layers(chain), writable=record.kind == "active"
        )


async def _to_the_end(
    work: Coroutine[None, None, _T], undo: Callable[[], Coroutine[None, None, None]] | None = None
) -> _T:
    """Wait for ``work`` even when cancelled; then ``undo`` it, and pass the cancellation on."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if undo is not None and not task.cancelled() and task.exception() is None:
        await _to_the_end(undo())
    raise cancelled
