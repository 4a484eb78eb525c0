"""What keeps a thing, told as chains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orlop.errors import InvalidArgument
from orlop.gc import refs
from orlop.gc.explain import explain, select
from orlop.gc.graph import Graph, Root
from orlop.model.digest import Digest
from orlop.ports.gc import Chain, Explanation, Link
from orlop.ports.metadata import (
    BlobRecord,
    ImageName,
    ImageRecord,
    Lease,
    Resource,
    SnapshotRecord,
    Target,
)
from tests.rigs.records import Records

FS = "overlayfs"
CONFIG, MANIFEST, LAYER = (Digest.of(word) for word in (b"config", b"manifest", b"layer"))
CHAIN = str(Digest.of(b"chain"))
NAME = "docker.io/library/app:1"
RECORDS = Records(
    "k8s.io",
    names=(ImageName(NAME, Target("manifest", MANIFEST, 1), CONFIG),),
    records=(ImageRecord(CONFIG, MANIFEST, "linux/amd64", FS, CHAIN, "", 1, 1, synced=True),),
    blobs=(
        BlobRecord(CONFIG, 10, {f"containerd.io/gc.ref.snapshot.{FS}": CHAIN}),
        BlobRecord(
            MANIFEST,
            20,
            {
                "containerd.io/gc.ref.content.config": str(CONFIG),
                "containerd.io/gc.ref.content.l.0": str(LAYER),
            },
        ),
        BlobRecord(LAYER, 30),
    ),
    snapshots=(
        SnapshotRecord(FS, "base", 1, "committed", "", bytes=40),
        SnapshotRecord(FS, CHAIN, 2, "committed", "base", bytes=50),
    ),
    leases=(),
    resources=(),
)


def why(records: Records, node: refs.Node, *, now: int = 0, pull: str = "") -> Explanation:
    graph = Graph(records.inventory)
    roots = [*graph.roots(now), *([Root(node, "pull", pull)] if pull else [])]
    return explain(graph, node, roots, namespace="k8s.io")


def test_a_layer_is_kept_by_a_name() -> None:
    found = why(RECORDS, refs.content(str(LAYER)))
    links = (
        Link("", "name", NAME),
        Link("target", "content", str(MANIFEST)),
        Link("containerd.io/gc.ref.content.l.0", "content", str(LAYER)),
    )
    chain = Chain("name", NAME, "", 0, links)
    assert found == Explanation("k8s.io", "content", str(LAYER), 30, (chain,))
    assert found.expires_at == 0


def test_a_parent_is_kept_by_what_stands_on_it() -> None:
    mount = SnapshotRecord(FS, "mount-1", 3, "view", CHAIN, {"orlop/mount.target": "/mnt"})
    inventory = replace(RECORDS, names=(), snapshots=(*RECORDS.snapshots, mount))
    (chain,) = why(inventory, refs.snapshot(FS, "base")).chains
    assert (chain.keeper, chain.id, chain.detail) == ("snapshot", "view", "/mnt")
    assert [link.by for link in chain.links] == ["", "parent", "parent"]


def test_what_nothing_keeps_has_no_chain() -> None:
    inventory = replace(RECORDS, names=())
    assert why(inventory, refs.content(str(LAYER))).chains == ()
    assert why(inventory, refs.content(str(LAYER)), pull="x").chains[0].id == "x"


def test_a_lease_keeps_until_it_expires() -> None:
    inventory = replace(
        RECORDS,
        names=(),
        leases=(Lease("short", expires_at=5), Lease("long", expires_at=9), Lease("gone", {}, 0, 1)),
        resources=tuple(
            (lease, Resource("content", str(MANIFEST))) for lease in ("short", "long", "gone")
        ),
    )
    found = why(inventory, refs.content(str(LAYER)), now=2)
    assert [chain.id for chain in found.chains] == ["long", "short"]
    assert found.expires_at == 9
    for_ever = replace(inventory, names=RECORDS.names)
    assert why(for_ever, refs.content(str(LAYER)), now=2).expires_at == 0


def test_a_flat_lease_keeps_parents_and_no_more() -> None:
    inventory = replace(
        RECORDS,
        names=(),
        leases=(Lease("flat", {"containerd.io/gc.flat": "1"}),),
        resources=(
            ("flat", Resource("content", str(CONFIG))),
            ("flat", Resource("snapshots", f"{FS}/{CHAIN}")),
        ),
    )
    (chain,) = why(inventory, refs.snapshot(FS, "base")).chains
    assert chain.links == (
        Link("", "snapshot", f"{FS}/{CHAIN}"),
        Link("parent", "snapshot", f"{FS}/base"),
    )
    assert len(why(inventory, refs.snapshot(FS, CHAIN)).chains) == 1
    assert why(inventory, refs.content(str(LAYER))).chains == ()


def test_one_chain_from_each_keeper_and_the_short_ones_first() -> None:
    other = replace(RECORDS.names[0], name="docker.io/library/app:2")
    rooted = BlobRecord(LAYER, 30, {"containerd.io/gc.root": "now"})
    inventory = replace(
        RECORDS,
        names=(*RECORDS.names, other),
        blobs=(*RECORDS.blobs[:2], rooted),
    )
    found = why(inventory, refs.content(str(LAYER)))
    keepers = [(chain.keeper, chain.id) for chain in found.chains]
    assert keepers == [("label", "containerd.io/gc.root"), ("name", NAME), ("name", other.name)]


@pytest.mark.parametrize("text", ["app:1", NAME, "docker.io/library/app:1"])
def test_a_name_means_its_image(text: str) -> None:
    assert select(Graph(RECORDS.inventory), text) == [refs.image(FS, str(CONFIG))]


@pytest.mark.parametrize(
    "text", [str(CONFIG), CONFIG.hex, CONFIG.hex[:9], f"sha256:{CONFIG.hex[:9]}"]
)
def test_an_id_means_the_image_and_its_config(text: str) -> None:
    assert select(Graph(RECORDS.inventory), text) == [
        refs.image(FS, str(CONFIG)),
        refs.content(str(CONFIG)),
    ]


def test_blobs_and_snapshots_have_names_of_their_own() -> None:
    graph = Graph(RECORDS.inventory)
    assert select(graph, LAYER.hex[:12]) == [refs.content(str(LAYER))]
    for text in ("base", f"{FS}/base"):
        assert select(graph, text) == [refs.snapshot(FS, "base")]
    assert select(graph, CHAIN) == [refs.snapshot(FS, CHAIN)]
    for text in ("nobody", "", "NOT/valid", "0" * 64, "native/base"):
        assert select(graph, text) == []


def test_a_start_that_several_digests_have() -> None:
    blobs = tuple(BlobRecord(Digest.of(bytes([n])), 1) for n in range(40))
    with pytest.raises(InvalidArgument, match="digests start with"):
        select(Graph(replace(RECORDS, blobs=blobs).inventory), blobs[0].digest.hex[:1])
