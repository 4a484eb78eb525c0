"""What keeps what in one namespace, as a graph; pure.

Nodes are image names, image records, blobs and snapshots (``orlop.gc.refs.Node``).
References lead from

* a name to the records of its image and to its target;
* a record to its manifest, its config and its topmost snapshot;
* a snapshot to its parent;
* anything with labels to what they refer to, and to what refers back to it
  (``orlop.gc.refs``).

Roots keep what can be reached from them: names and leases until they expire, things
labelled as roots, snapshots that somebody works in (active ones and views), and what
running pulls protect. A flat lease keeps what it lists and the parents of that.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

from orlop.gc import refs
from orlop.model.labels import GC_BREF, GC_REF_MANIFEST, GC_ROOT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from orlop.gc.refs import Node
    from orlop.ports.metadata import (
        BlobEntry,
        ImageEntry,
        Inventory,
        Lease,
        NameEntry,
        Resource,
        SnapshotEntry,
    )

RootKind = Literal["name", "lease", "label", "snapshot", "pull"]

PARENT = "parent"
"""How a snapshot refers to the one below it."""


class Root(NamedTuple):
    """Something that keeps a node for its own sake.

    Attributes:
        node: what it keeps; it need not exist.
        kind: an image name, a lease, a label, work on a snapshot, or a running pull.
        id: of the name, lease or pull; key of the label; kind of the snapshot.
        expires_at: nanoseconds since the Unix epoch; 0 for never.
        flat: it keeps the node and, if that is a snapshot, its parents; nothing else.
    """

    node: Node
    kind: RootKind
    id: str
    expires_at: int = 0
    flat: bool = False


def parted(roots: Iterable[Root]) -> tuple[list[Node], list[Node]]:
    """What flat roots keep, and what all others do."""
    parts: tuple[list[Node], list[Node]] = ([], [])
    for root in roots:
        parts[not root.flat].append(root.node)
    return parts


class Graph:
    """An inventory as nodes and references.

    Args:
        inventory: of one namespace.

    Attributes:
        names: all of a name, since it can belong to several images.
        records: image records by node.
        blobs: ditto.
        snapshots: ditto.
    """

    def __init__(self, inventory: Inventory) -> None:
        self.names: dict[Node, list[NameEntry]] = {}
        for name in inventory.names:
            self.names.setdefault(refs.name(name.name), []).append(name)
        self.records: Mapping[Node, ImageEntry] = {
            refs.image(record.snapshotter, record.id): record for record in inventory.records
        }
        self.blobs: Mapping[Node, BlobEntry] = {
            refs.content(blob.digest): blob for blob in inventory.blobs
        }
        self.snapshots: Mapping[Node, SnapshotEntry] = {
            refs.snapshot(snapshot.snapshotter, snapshot.key): snapshot
            for snapshot in inventory.snapshots
        }
        self._leases = inventory.leases
        self._resources = inventory.resources
        self._images: dict[str, list[Node]] = {}
        for node, record in self.records.items():
            self._images.setdefault(record.id, []).append(node)
        # What refers to nothing, as most blobs do, is not in it.
        self._references: dict[Node, list[tuple[Node, str]]] = {}
        self._add_references()
        self._add_back_references()

    # --- roots ----------------------------------------------------------------------------

    def roots(self, now: int) -> Iterator[Root]:
        """All that have not expired.

        Args:
            now: nanoseconds since the Unix epoch.
        """
        for node, names in self.names.items():
            expires_at = refs.expiry(names[0].labels)
            if not 0 < expires_at <= now:
                yield Root(node, "name", node.id, expires_at)
        for node, blob in self.blobs.items():
            if refs.is_root(blob.labels):
                yield Root(node, "label", GC_ROOT)
        for node, snapshot in self.snapshots.items():
            if snapshot.kind != "committed":
                yield Root(node, "snapshot", snapshot.kind)
            elif refs.is_root(snapshot.labels):
                yield Root(node, "label", GC_ROOT)
        yield from self._leased(now)

    def expired_leases(self, now: int) -> list[str]:
        """Ids of the leases that keep nothing any more, sorted."""
        return sorted(lease.id for lease in self._leases if 0 < _expiry(lease) <= now)

    def _leased(self, now: int) -> Iterator[Root]:
        leases = {lease.id: lease for lease in self._leases if not 0 < _expiry(lease) <= now}
        for id_, resource in self._resources:
            if lease := leases.get(id_):
                for node in self._nodes(resource):
                    flat = refs.is_flat(lease.labels)
                    yield Root(node, "lease", id_, _expiry(lease), flat)

    def _nodes(self, resource: Resource) -> Iterator[Node]:
        """The nodes of a lease's resource; ingests have none, they are not in the inventory."""
        if resource.kind == "content":
            yield refs.content(resource.id)
        elif resource.kind == "snapshots":
            snapshotter, _, key = resource.id.partition("/")
            yield refs.snapshot(snapshotter, key)
        elif resource.kind == "images":
            yield refs.name(resource.id)
            yield from self._images.get(resource.id, ())

    # --- references -----------------------------------------------------------------------

    def references(self, node: Node) -> Sequence[tuple[Node, str]]:
        """What a node refers to, whether that exists or not, and by what.

        What does not exist refers to nothing, also when something says so of itself.
        """
        return self._references.get(node, ())

    def _add_references(self) -> None:
        found = self._references
        for node, blob in self.blobs.items():
            if blob.labels and (targets := refs.references(blob.labels)):
                found[node] = targets
        for node, snapshot in self.snapshots.items():
            targets = refs.references(snapshot.labels) if snapshot.labels else []
            if snapshot.parent:
                targets.insert(0, (refs.snapshot(snapshot.snapshotter, snapshot.parent), PARENT))
            if targets:
                found[node] = targets
        for node, record in self.records.items():
            found[node] = [
                (refs.content(record.manifest), "manifest"),
                (refs.content(record.id), "config"),
            ]
            if record.chain_id:
                unpacked = refs.snapshot(record.snapshotter, record.chain_id)
                found[node].append((unpacked, "unpacked"))
        for node, names in self.names.items():
            found[node] = targets = []
            for name in names:
                targets += [(image, "image") for image in self._images.get(name.image_id, ())]
                targets.append((refs.content(name.target), "target"))
                if name.labels:
                    targets += refs.references(name.labels)

    def _add_back_references(self) -> None:
        """What nodes refer to because the label of another one says so."""
        labelled: Iterable[tuple[Node, Mapping[str, str]]] = chain(
            ((node, blob.labels) for node, blob in self.blobs.items()),
            ((node, snapshot.labels) for node, snapshot in self.snapshots.items()),
            ((node, name.labels) for node, names in self.names.items() for name in names),
        )
        for node, labels in labelled:
            for key in labels:
                # Few things have such a label, and all are looked at.
                if key.startswith(GC_BREF):
                    for referrer, label in refs.referrers({key: labels[key]}):
                        if self._is_here(referrer):
                            self._references.setdefault(referrer, []).append((node, label))

    def _is_here(self, node: Node) -> bool:
        return (
            node in self.blobs
            or node in self.snapshots
            or node in self.records
            or node in self.names
        )

    def reach(
        self,
        roots: Iterable[Node],
        *,
        without: Collection[Node] = (),
        forgotten: Collection[Node] = (),
    ) -> set[Node]:
        """The roots, and all that can be reached from them.

        Args:
            roots: whether they exist or not.
            without: nodes that are not entered.
            forgotten: manifests that indexes are taken not to refer to.
        """
        reached: set[Node] = set()
        references = self._references
        open_ends = list(roots)
        while open_ends:
            node = open_ends.pop()
            if node in reached or node in without:
                continue
            reached.add(node)
            for target, how in references.get(node, ()):
                if target not in reached and not (
                    forgotten and target in forgotten and how.startswith(GC_REF_MANIFEST)
                ):
                    open_ends.append(target)
        return reached

    def kept(self, roots: Iterable[Root]) -> set[Node]:
        """All that these roots keep."""
        flat, followed = parted(roots)
        return self.reach(followed).union(*map(self.stack, flat))

    def stack(self, node: Node) -> Iterator[Node]:
        """The node and, if it is a snapshot, those below it: it cannot do without them."""
        seen: set[Node] = set()
        while node not in seen:
            seen.add(node)
            yield node
            snapshot = self.snapshots.get(node)
            if snapshot is None or not snapshot.parent:
                return
            node = refs.snapshot(snapshot.snapshotter, snapshot.parent)

    def nodes(self) -> Iterator[Node]:
        """All that are here."""
        yield from self.names
        yield from self.records
        yield from self.blobs
        yield from self.snapshots

    def sizes(self) -> dict[Node, int]:
        """Bytes that blobs and snapshots occupy by themselves; nothing else does."""
        found = {node: blob.size for node, blob in self.blobs.items()}
        found.update((node, snapshot.bytes) for node, snapshot in self.snapshots.items())
        return found

    def images(self, id_: str) -> list[Node]:
        """The records of an image id, one for each snapshotter."""
        return self._images.get(id_, [])


def _expiry(lease: Lease) -> int:
    """The earlier of a lease's own time and that in its labels; 0 for never."""
    times = [time for time in (lease.expires_at, refs.expiry(lease.labels)) if time > 0]
    return min(times, default=0)
