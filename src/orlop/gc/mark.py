"""What is garbage; pure.

Roots are: image names, leases (until they expire) with what they list, things
labelled as roots, snapshots that somebody works in (active ones and views), and
what the caller protects. From there references are followed:

* a name → the records of its image, and its target;
* a record → manifest, config, topmost snapshot;
* a snapshot → its parent;
* anything with labels → what its labels refer to (``orlop.gc.refs``).

Whatever is not reached is garbage. A name is never garbage: what is listed stays
whole until somebody removes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.gc import refs
from orlop.ports.metadata import Garbage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from orlop.gc.refs import Node
    from orlop.ports.metadata import (
        BlobRecord,
        ImageName,
        ImageRecord,
        Inventory,
        Lease,
        Resource,
        SnapshotRecord,
    )


def mark(inventory: Inventory, *, now: int, protected: Collection[Node] = frozenset()) -> Garbage:
    """Find what nothing refers to.

    Args:
        inventory: everything in one namespace.
        now: nanoseconds since the Unix epoch; leases that expired by then keep nothing.
        protected: more roots, whether they exist or not.

    Returns:
        What can be removed; no snapshot in it has a child outside it.
    """
    graph = _Graph(inventory)
    expired = {lease.id for lease in inventory.leases if _has_expired(lease, now)}
    followed, flat = _leased(inventory, expired)
    kept = graph.reach([*graph.roots(), *followed, *protected])
    kept |= graph.stacks(flat)
    return Garbage(
        records=[
            (record.id, record.snapshotter)
            for node, record in graph.records.items()
            if node not in kept
        ],
        blobs=[blob.digest for node, blob in graph.blobs.items() if node not in kept],
        snapshots=[
            (snapshot.snapshotter, snapshot.key)
            for node, snapshot in graph.snapshots.items()
            if node not in kept
        ],
        leases=sorted(expired),
    )


class _Graph:
    """The inventory as nodes and references."""

    def __init__(self, inventory: Inventory) -> None:
        self.names: tuple[ImageName, ...] = inventory.names
        self.blobs: Mapping[Node, BlobRecord] = {
            refs.content(str(blob.digest)): blob for blob in inventory.blobs
        }
        self.snapshots: Mapping[Node, SnapshotRecord] = {
            refs.snapshot(snapshot.snapshotter, snapshot.key): snapshot
            for snapshot in inventory.snapshots
        }
        self.records: Mapping[Node, ImageRecord] = {
            refs.image(record.snapshotter, str(record.id)): record for record in inventory.records
        }

    def roots(self) -> Iterator[Node]:
        """What is kept for its own sake."""
        named = {name.image_id for name in self.names}
        for node, record in self.records.items():
            if record.id in named:
                yield node
        for name in self.names:
            yield refs.content(str(name.target.digest))
            yield from refs.references(name.labels)
        for node, blob in self.blobs.items():
            if refs.is_root(blob.labels):
                yield node
        for node, snapshot in self.snapshots.items():
            if snapshot.kind != "committed" or refs.is_root(snapshot.labels):
                yield node

    def reach(self, roots: Iterable[Node]) -> set[Node]:
        """The roots, and all that can be reached from them."""
        reached: set[Node] = set()
        open_ends = list(roots)
        while open_ends:
            node = open_ends.pop()
            if node not in reached:
                reached.add(node)
                open_ends.extend(self._references(node))
        return reached

    def stacks(self, nodes: Iterable[Node]) -> set[Node]:
        """The nodes, and the parents of those that are snapshots: they cannot do without."""
        found: set[Node] = set()
        for start in nodes:
            node: Node | None = start
            while node is not None and node not in found:
                found.add(node)
                snapshot = self.snapshots.get(node)
                node = None if snapshot is None else _parent(snapshot)
        return found

    def _references(self, node: Node) -> Iterator[Node]:
        if blob := self.blobs.get(node):
            yield from refs.references(blob.labels)
        elif snapshot := self.snapshots.get(node):
            yield from refs.references(snapshot.labels)
            if parent := _parent(snapshot):
                yield parent
        elif record := self.records.get(node):
            yield refs.content(str(record.manifest))
            yield refs.content(str(record.id))
            if record.chain_id:
                yield refs.snapshot(record.snapshotter, record.chain_id)


def _parent(snapshot: SnapshotRecord) -> Node | None:
    return refs.snapshot(snapshot.snapshotter, snapshot.parent) if snapshot.parent else None


def _has_expired(lease: Lease, now: int) -> bool:
    if 0 < lease.expires_at <= now:
        return True
    return refs.has_expired(lease.labels, now=now)


def _leased(inventory: Inventory, expired: set[str]) -> tuple[list[Node], list[Node]]:
    """What valid leases list: with all it refers to, and (flat leases) without."""
    leases = {lease.id: lease for lease in inventory.leases if lease.id not in expired}
    followed: list[Node] = []
    flat: list[Node] = []
    for lease, resource in inventory.resources:
        if lease in leases:
            nodes = flat if refs.is_flat(leases[lease].labels) else followed
            nodes.extend(_nodes(resource, inventory))
    return followed, flat


def _nodes(resource: Resource, inventory: Inventory) -> Iterator[Node]:
    """The nodes of a lease's resource; ingests have none, they are not in the inventory."""
    if resource.kind == "content":
        yield refs.content(resource.id)
    elif resource.kind == "snapshots":
        snapshotter, _, key = resource.id.partition("/")
        yield refs.snapshot(snapshotter, key)
    elif resource.kind == "images":
        for record in inventory.records:
            if str(record.id) == resource.id:
                yield refs.image(record.snapshotter, resource.id)
