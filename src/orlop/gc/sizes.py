"""What images occupy, alone and together, and what removing one would free; pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orlop.gc import refs
from orlop.gc.graph import Graph
from orlop.ports.gc import DiskUsage, ImageUsage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.gc.graph import Root
    from orlop.gc.refs import Node
    from orlop.model.digest import Digest
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
    held = graph.kept(root for root in roots if root.kind != "name")
    live = graph.kept(roots)
    shared_files = {file for other in others for file in _files(Graph(other))}
    own_files = _files(graph)
    closures = _closures(graph, live)
    users = Counter(node for closure in closures.values() for node in closure)

    def freed(node: Node) -> bool:
        """True when it goes with its only image."""
        return users[node] == 1 and node not in held and _file(graph, node) not in shared_files

    images = [
        _image(graph, id_, closure, [node for node in closure if freed(node)])
        for id_, closure in closures.items()
    ]
    elsewhere = {file: size for other in others for file, size in _files(Graph(other)).items()}
    return DiskUsage(
        namespace=inventory.namespace,
        images=tuple(sorted(images, key=lambda one: (-one.unique_bytes, -one.bytes, one.id))),
        image_bytes=_sum(graph, users),
        kept_bytes=_sum(graph, (node for node in live if node not in users)),
        garbage_bytes=_sum(
            graph, (node for node in graph.nodes() if node not in live and node not in users)
        ),
        elsewhere_bytes=sum(size for file, size in elsewhere.items() if file not in own_files),
        trash_bytes=trash,
    )


def _closures(graph: Graph, live: set[Node]) -> dict[Digest, set[Node]]:
    """What each image that is kept needs, by its id.

    An index that was pulled for several platforms belongs to several images; from it no
    image gets at another's manifest.
    """
    owners = {node: record.id for node, record in graph.records.items()}
    owners |= {refs.content(str(record.manifest)): record.id for record in graph.records.values()}
    starts: dict[Digest, list[Node]] = {}
    for node, record in graph.records.items():
        if node in live:
            starts.setdefault(record.id, []).append(node)
    for node, names in graph.names.items():
        for name in names:
            if node in live and name.image_id in starts:
                starts[name.image_id].append(node)
    return {id_: graph.reach(nodes, owner=id_, owners=owners) for id_, nodes in starts.items()}


def _image(graph: Graph, id_: Digest, closure: set[Node], freed: Sequence[Node]) -> ImageUsage:
    return ImageUsage(
        id=id_,
        names=tuple(sorted(node.id for node in closure if node in graph.names)),
        snapshotters=tuple(
            sorted(graph.records[node].snapshotter for node in graph.images(str(id_)))
        ),
        bytes=_sum(graph, closure),
        unique_bytes=_sum(graph, freed),
    )


def _sum(graph: Graph, nodes: Iterable[Node]) -> int:
    return sum(graph.size(node) for node in nodes)


def _file(graph: Graph, node: Node) -> tuple[str, str]:
    """What a node has on the disk, whichever namespace calls it what."""
    if snapshot := graph.snapshots.get(node):
        return snapshot.snapshotter, str(snapshot.directory)
    return "", node.id


def _files(graph: Graph) -> dict[tuple[str, str], int]:
    """Bytes of all blobs and snapshots."""
    things = (*graph.blobs, *graph.snapshots)
    return {_file(graph, node): graph.size(node) for node in things}
