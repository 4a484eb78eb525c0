"""What is garbage; pure.

Whatever the roots of ``orlop.gc.graph`` do not keep is garbage. A name is garbage only
when it has expired: what is listed stays whole until somebody removes it, or said
beforehand when it shall go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.gc.graph import Graph
from orlop.model.digest import Digest
from orlop.ports.metadata import Garbage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.gc.graph import Root
    from orlop.ports.metadata import Inventory


def mark(inventory: Inventory, *, now: int, protected: Iterable[Root] = ()) -> Garbage:
    """Find what nothing refers to.

    Args:
        inventory: everything in one namespace.
        now: nanoseconds since the Unix epoch; what expired by then keeps nothing.
        protected: more roots.

    Returns:
        What can be removed; no snapshot in it has a child outside it.
    """
    graph = Graph(inventory)
    kept = graph.kept([*graph.roots(now), *protected])
    return Garbage(
        names=tuple(node.id for node in graph.names if node not in kept),
        records=[
            (Digest.parse(record.id), record.snapshotter)
            for node, record in graph.records.items()
            if node not in kept
        ],
        blobs=[Digest.parse(blob.digest) for node, blob in graph.blobs.items() if node not in kept],
        snapshots=[
            (snapshot.snapshotter, snapshot.key)
            for node, snapshot in graph.snapshots.items()
            if node not in kept
        ],
        leases=graph.expired_leases(now),
        revision=inventory.revision,
    )
