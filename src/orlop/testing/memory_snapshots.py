"""Snapshot records in memory, for tests of snapshotters without a database.

Implements ``orlop.ports.metadata.SnapshotRecords``. Nothing is durable, and
nothing is safe across threads: use it on one event loop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.errors import AlreadyExists, NotFound, SnapshotInUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.ports.metadata import SnapshotRecord


class MemorySnapshotRecords:
    """Keeps records by namespace, snapshotter and key."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str, str], SnapshotRecord] = {}

    async def snapshot(self, namespace: str, snapshotter: str, key: str) -> SnapshotRecord | None:
        """One snapshot."""
        return self._records.get((namespace, snapshotter, key))

    async def snapshots(
        self, namespace: str, snapshotter: str = "", label: str = ""
    ) -> list[SnapshotRecord]:
        """All of a namespace's snapshots (of one snapshotter, with one label), by key."""
        return [
            record
            for (owner, keeper, _), record in sorted(self._records.items())
            if owner == namespace
            and snapshotter in ("", keeper)
            and (not label or label in record.labels)
        ]

    async def chain(self, namespace: str, snapshotter: str, key: str) -> list[SnapshotRecord]:
        """The snapshot and its parents, topmost first. Raises NotFound."""
        found = []
        while key:
            found.append(self._get(namespace, snapshotter, key))
            key = found[-1].parent
        return found

    async def add_snapshot(self, namespace: str, record: SnapshotRecord) -> None:
        """Insert it. Raises AlreadyExists, NotFound (the parent)."""
        if record.parent:
            self._get(namespace, record.snapshotter, record.parent)
        self._insert(namespace, record)

    async def commit_snapshot(
        self, namespace: str, snapshotter: str, key: str, committed: SnapshotRecord
    ) -> None:
        """Replace the active snapshot ``key``. Raises AlreadyExists, NotFound."""
        if self._get(namespace, snapshotter, key).kind != "active":
            raise NotFound(f"there is no active snapshot {key}")
        self._insert(namespace, committed)
        del self._records[namespace, snapshotter, key]

    async def label_snapshot(
        self, namespace: str, snapshotter: str, key: str, labels: Mapping[str, str]
    ) -> SnapshotRecord:
        """Replace its labels. Raises NotFound."""
        record = replace(self._get(namespace, snapshotter, key), labels=dict(labels))
        self._records[namespace, snapshotter, key] = record
        return record

    async def remove_snapshot(self, namespace: str, snapshotter: str, key: str) -> SnapshotRecord:
        """Remove it and return what it was. Raises NotFound, SnapshotInUse."""
        record = self._get(namespace, snapshotter, key)
        children = [r.key for r in await self.snapshots(namespace, snapshotter) if r.parent == key]
        if children:
            raise SnapshotInUse(f"snapshot {key} is the parent of {children[0]}")
        del self._records[namespace, snapshotter, key]
        return record

    async def directories(self, snapshotter: str) -> set[int]:
        """Every directory number that any namespace uses."""
        return {r.directory for (_, keeper, _), r in self._records.items() if keeper == snapshotter}

    def _get(self, namespace: str, snapshotter: str, key: str) -> SnapshotRecord:
        record = self._records.get((namespace, snapshotter, key))
        if record is None:
            raise NotFound(f"snapshot {key} does not exist in {snapshotter}")
        return record

    def _insert(self, namespace: str, record: SnapshotRecord) -> None:
        place = (namespace, record.snapshotter, record.key)
        if place in self._records:
            raise AlreadyExists(f"snapshot {record.key} exists already")
        self._records[place] = record
