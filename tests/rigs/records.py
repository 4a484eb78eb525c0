"""Records of one namespace, and the inventory that a collection makes of them."""

from __future__ import annotations

from dataclasses import dataclass

from orlop.ports.metadata import (
    BlobEntry,
    BlobRecord,
    ImageEntry,
    ImageName,
    ImageRecord,
    Inventory,
    Lease,
    NameEntry,
    Resource,
    SnapshotEntry,
    SnapshotRecord,
)


@dataclass(frozen=True)
class Records:
    """What the database has of a namespace."""

    namespace: str
    names: tuple[ImageName, ...] = ()
    records: tuple[ImageRecord, ...] = ()
    blobs: tuple[BlobRecord, ...] = ()
    snapshots: tuple[SnapshotRecord, ...] = ()
    leases: tuple[Lease, ...] = ()
    resources: tuple[tuple[str, Resource], ...] = ()
    revision: int = 0

    @property
    def inventory(self) -> Inventory:
        """What a collection sees of it."""
        return Inventory(
            self.namespace,
            names=tuple(
                NameEntry(one.name, str(one.target.digest), str(one.image_id), one.labels)
                for one in self.names
            ),
            records=tuple(
                ImageEntry(str(one.id), str(one.manifest), one.snapshotter, one.chain_id)
                for one in self.records
            ),
            blobs=tuple(BlobEntry(str(one.digest), one.size, one.labels) for one in self.blobs),
            snapshots=tuple(map(_snapshot, self.snapshots)),
            leases=self.leases,
            resources=self.resources,
            revision=self.revision,
        )


def _snapshot(record: SnapshotRecord) -> SnapshotEntry:
    return SnapshotEntry(
        record.snapshotter,
        record.key,
        record.directory,
        record.kind,
        record.parent,
        record.labels,
        record.bytes,
    )
