"""Why something is kept: the chains of references that lead to it; pure."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidArgument, InvalidReference
from orlop.gc import refs
from orlop.gc.graph import PARENT
from orlop.model.labels import MOUNT_TARGET
from orlop.model.reference import from_user
from orlop.ports.gc import Chain, Explanation, Link

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.gc.graph import Graph, Root
    from orlop.gc.refs import Node

_DIGEST: Final = re.compile(r"(?:(sha256|sha512):)?([0-9a-f]{1,128})")


def explain(graph: Graph, node: Node, roots: Iterable[Root], *, namespace: str) -> Explanation:
    """The shortest chain to a node from each root that keeps it.

    Args:
        graph: what there is.
        node: what is asked about.
        roots: all that keep anything.
        namespace: that the graph is of; repeated in the answer.
    """
    roots = list(roots)
    ways = _ways(graph, node)
    stacks = _ways(graph, node, by=PARENT) if any(root.flat for root in roots) else {}
    found: dict[tuple[str, str, Node], Chain] = {}
    for root in roots:
        links = _links(root.node, stacks if root.flat else ways)
        if links:
            found.setdefault((root.kind, root.id, root.node), _chain(graph, root, links))
    chains = sorted(found.values(), key=lambda one: (len(one.links), one.keeper, one.id))
    return Explanation(namespace, node.kind, node.id, graph.sizes().get(node, 0), tuple(chains))


def select(graph: Graph, text: str) -> Sequence[Node]:
    """The nodes that a text names; none when nothing is called so.

    In this order: a whole digest, a key of a snapshot, an image name, the start of a
    digest. An image id names the image and its config.

    Raises:
        InvalidArgument: several digests start with it.
    """
    keys = [
        node
        for node, snapshot in graph.snapshots.items()
        if text in (snapshot.key, f"{snapshot.snapshotter}/{snapshot.key}")
    ]
    match = _DIGEST.fullmatch(text)
    digest = f"{match[1] or 'sha256'}:{match[2]}" if match else ""
    exact = _by_digest(graph, digest) if digest else []
    if exact or keys:
        return list(dict.fromkeys([*exact, *keys]))
    if named := _by_name(graph, text):
        return named
    return _by_start(graph, digest) if digest else []


def _by_digest(graph: Graph, digest: str) -> list[Node]:
    blob = refs.content(digest)
    found = [*graph.images(digest), *([blob] if blob in graph.blobs else [])]
    return found + [node for node, one in graph.snapshots.items() if one.key == digest]


def _by_name(graph: Graph, text: str) -> list[Node]:
    try:
        node = refs.name(str(from_user(text)))
    except InvalidReference:
        return []
    names = graph.names.get(node, ())
    return [image for name in names for image in graph.images(name.image_id)]


def _by_start(graph: Graph, digest: str) -> list[Node]:
    known = {node.id for node in graph.blobs} | {one.key for one in graph.snapshots.values()}
    known |= {record.id for record in graph.records.values()}
    found = sorted(one for one in known if one.startswith(digest))
    if len(found) > 1:
        raise InvalidArgument(
            f"{len(found)} digests start with {digest}", hint="give more characters of it"
        )
    return _by_digest(graph, found[0]) if found else []


def _ways(graph: Graph, end: Node, *, by: str = "") -> dict[Node, tuple[Node, str]]:
    """For each node from which ``end`` can be reached: the next one on the shortest way.

    ``by`` follows references of this kind only. The end leads to itself.
    """
    referrers: dict[Node, list[tuple[Node, str]]] = {}
    for node in graph.nodes():
        for target, how in graph.references(node):
            if by in ("", how):
                referrers.setdefault(target, []).append((node, how))
    ways = {end: (end, "")}
    open_ends = deque([end])
    while open_ends:
        node = open_ends.popleft()
        for referrer, how in referrers.get(node, ()):
            if referrer not in ways:
                ways[referrer] = (node, how)
                open_ends.append(referrer)
    return ways


def _links(start: Node, ways: dict[Node, tuple[Node, str]]) -> tuple[Link, ...]:
    """The way from ``start`` to the end; empty if there is none."""
    if start not in ways:
        return ()
    links = [Link("", start.kind, start.id)]
    node, (following, how) = start, ways[start]
    while following != node:
        links.append(Link(how, following.kind, following.id))
        node, (following, how) = following, ways[following]
    return tuple(links)


def _chain(graph: Graph, root: Root, links: tuple[Link, ...]) -> Chain:
    snapshot = graph.snapshots.get(root.node) if root.kind == "snapshot" else None
    detail = snapshot.labels.get(MOUNT_TARGET, "") if snapshot else ""
    return Chain(root.kind, root.id, detail, root.expires_at, links)
