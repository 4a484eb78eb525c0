"""What goes when an image is removed; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.gc import refs
from orlop.gc.graph import parted
from orlop.model.labels import GC_REF_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orlop.gc.graph import Graph, Root
    from orlop.gc.refs import Node


def owners(graph: Graph) -> dict[Node, str]:
    """Whose a manifest is, or an index that leads to one image only."""
    found = {refs.content(record.manifest): record.id for record in graph.records.values()}
    children = {
        node: [
            refs.content(value)
            for key, value in blob.labels.items()
            if key.startswith(GC_REF_MANIFEST)
        ]
        for node, blob in graph.blobs.items()
    }
    indexes = {node: below for node, below in children.items() if below and node not in found}
    while more := {
        node: found[below[0]]
        for node, below in indexes.items()
        if node not in found
        and len({found.get(child) for child in below}) == 1
        and below[0] in found
    }:
        found |= more
    return found


class Removals:
    """Tells for each image what is live with it and not without it.

    An image that is removed is gone, whatever lists it, and no index refers to it any more.
    What it leads to stays when something else that is live leads there, too.

    Args:
        graph: what there is.
        roots: all that keep anything.
        live: what those of them that are not flat lead to.
        owned: what ``owners`` found.
    """

    def __init__(
        self,
        graph: Graph,
        roots: Iterable[Root],
        *,
        live: set[Node],
        owned: Mapping[Node, str],
    ) -> None:
        flat, followed = parted(roots)
        self._graph = graph
        self._roots = set(followed)
        self._stacked: set[Node] = set().union(*map(graph.stack, flat))
        self._owned: dict[str, set[Node]] = {}
        for node, id_ in owned.items():
            self._owned.setdefault(id_, set()).add(node)
        self._gone: dict[str, set[Node]] = {}
        for node, names in graph.names.items():
            ids = {name.image_id for name in names}
            if len(ids) == 1:
                self._gone.setdefault(ids.pop(), set()).add(node)
        for node, record in graph.records.items():
            self._gone.setdefault(record.id, set()).add(node)
        self._referrers: dict[Node, list[tuple[Node, str]]] = {}
        for node in live:
            for target, how in graph.references(node):
                self._referrers.setdefault(target, []).append((node, how))

    def freed(self, id_: str, touched: set[Node]) -> set[Node]:
        """What goes with an image, whether other namespaces share files with it or not.

        Args:
            id_: of the image.
            touched: all that its names, records and manifests lead to.
        """
        gone, owned = self._gone[id_], self._owned.get(id_, set())

        def stays(node: Node) -> bool:
            """True when something that the removal does not touch keeps it."""
            return node in self._roots or any(
                referrer not in touched and not (node in owned and how.startswith(GC_REF_MANIFEST))
                for referrer, how in self._referrers.get(node, ())
            )

        kept = self._graph.reach(filter(stays, touched), without=gone, forgotten=owned)
        return touched - kept - self._stacked
