"""What images occupy, alone and together, and what removing one would free; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.gc.graph import Graph, parted
from orlop.gc.removal import Removals, owners
from orlop.model.digest import Digest
from orlop.ports.gc import DiskUsage, ImageUsage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orlop.gc.graph import Root
    from orlop.gc.refs import Node
    from orlop.ports.metadata import Inventory


def disk_usage(
    inventory: Inventory,
    *,
    others: Sequence[Inventory] = (),
    now: int,
    protected: Iterable[Root] = (),
    trash: int = 0,
) -> DiskUsage:
    """The sums of one namespace.

    Args:
        inventory: of the namespace.
        others: of all other namespaces: what they have too is not freed.
        now: nanoseconds since the Unix epoch.
        protected: what running pulls keep.
        trash: bytes that wait in the trash.
    """
    graph = Graph(inventory)
    roots = [*graph.roots(now), *protected]
    flat, followed = parted(roots)
    reached = graph.reach(followed)
    live = reached.union(*map(graph.stack, flat))
    elsewhere = {file: size for other in others for file, size in _files(Graph(other)).items()}
    sizes = graph.sizes()
    owned = owners(graph)
    removals = Removals(graph, roots, live=reached, owned=owned)
    used: set[Node] = set()
    images = []
    named = {name.image_id for node, names in graph.names.items() if node in live for name in names}
    for id_, (led, needed) in _closures(graph, reached, owned).items():
        if id_ not in named:
            continue  # nobody can remove it: it goes with the lease that keeps it
        freed = removals.freed(id_, led)
        closure = needed | freed  # also an inner index that leads to another image only
        used |= closure
        alone = [node for node in freed if _file(graph, node) not in elsewhere] if others else freed
        images.append(
            ImageUsage(
                id=Digest.parse(id_),
                names=tuple(sorted(node.id for node in closure if node in graph.names)),
                snapshotters=tuple(sorted(_snapshotters(graph, id_))),
                bytes=_sum(sizes, closure),
                unique_bytes=_sum(sizes, alone),
            )
        )
    if elsewhere:
        for file in _files(graph):
            elsewhere.pop(file, None)
    return DiskUsage(
        namespace=inventory.namespace,
        images=tuple(sorted(images, key=lambda one: (-one.unique_bytes, -one.bytes, one.id))),
        image_bytes=_sum(sizes, used),
        kept_bytes=_sum(sizes, live - used),
        garbage_bytes=sum(
            size for node, size in sizes.items() if node not in live and node not in used
        ),
        elsewhere_bytes=sum(elsewhere.values()),
        trash_bytes=trash,
    )


def _closures(
    graph: Graph, live: set[Node], owned: Mapping[Node, str]
) -> dict[str, tuple[set[Node], set[Node]]]:
    """What each image that is kept leads to, and what of it it needs, by its id.

    An image that a flat lease alone keeps needs nothing: its record is all that stays.
    An index that was pulled for several platforms belongs to several images; from it no
    image gets at another's manifest.
    """
    own: dict[str, set[Node]] = {}
    for node, record in graph.records.items():
        if node in live:
            own.setdefault(record.id, set()).add(node)
    for node, id_ in owned.items():
        if id_ in own:
            own[id_].add(node)
    starts = {id_: [node for node in nodes if node in live] for id_, nodes in own.items()}
    for node, names in graph.names.items():
        for name in names:
            if node in live and name.image_id in starts:
                starts[name.image_id].append(node)
    others = {node for nodes in own.values() for node in nodes}
    found = {}
    for id_, nodes in starts.items():
        others -= own[id_]
        led = graph.reach(nodes)
        # Most images share no index: then both are the same.
        needed = led if others.isdisjoint(led) else graph.reach(nodes, without=others)
        found[id_] = led, needed
        others |= own[id_]
    return found


def _snapshotters(graph: Graph, id_: str) -> Iterator[str]:
    return (graph.records[node].snapshotter for node in graph.images(id_))


def _sum(sizes: Mapping[Node, int], nodes: Iterable[Node]) -> int:
    return sum(sizes.get(node, 0) for node in nodes)


def _file(graph: Graph, node: Node) -> tuple[str, str]:
    """What a node has on the disk, whichever namespace calls it what."""
    if snapshot := graph.snapshots.get(node):
        return snapshot.snapshotter, str(snapshot.directory)
    return "", node.id


def _files(graph: Graph) -> dict[tuple[str, str], int]:
    """Bytes of all blobs and snapshots."""
    return {_file(graph, node): size for node, size in graph.sizes().items()}
