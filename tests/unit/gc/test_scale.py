"""Ten thousand images: what a collection, a reason and the sums cost.

The figures are what is wanted on a quiet machine; the tests allow three times as much.
"""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING, Final

import pytest

from orlop.gc.explain import explain, select
from orlop.gc.graph import Graph
from orlop.gc.mark import mark
from orlop.gc.sizes import disk_usage
from orlop.model.digest import Digest
from orlop.ports.metadata import (
    BlobRecord,
    ImageName,
    ImageRecord,
    SnapshotRecord,
    Target,
)
from tests.rigs.records import Records

if TYPE_CHECKING:
    from orlop.ports.metadata import Inventory

IMAGES: Final = 10_000
BASES: Final = 50
"""Layers that images begin with; each image has three of its own."""

SLACK: Final = 3.0
MARK_SECONDS: Final = 0.5
USAGE_SECONDS: Final = 1.5
WHY_SECONDS: Final = 0.6
MEGABYTES: Final = 100
"""Beside the inventory."""

FS: Final = "overlayfs"


def _digest(*words: object) -> Digest:
    return Digest.of(" ".join(map(str, words)).encode())


def _image(at: int, blobs: dict[Digest, BlobRecord], trees: dict[str, SnapshotRecord]) -> str:
    """Add the blobs and snapshots of one image; returns its topmost snapshot."""
    layers = [_digest("base", at % BASES), *(_digest("layer", at, n) for n in range(3))]
    labels = {"containerd.io/gc.ref.content.config": str(_digest("config", at))}
    labels |= {f"containerd.io/gc.ref.content.l.{n}": str(one) for n, one in enumerate(layers)}
    parent = ""
    for layer in layers:
        blobs[layer] = BlobRecord(layer, 1000, {"containerd.io/uncompressed": str(layer)})
        key = str(_digest("chain", parent, layer))
        trees[key] = SnapshotRecord(FS, key, len(trees), "committed", parent, bytes=5000)
        parent = key
    config, manifest = _digest("config", at), _digest("manifest", at)
    blobs[config] = BlobRecord(config, 500, {f"containerd.io/gc.ref.snapshot.{FS}": parent})
    blobs[manifest] = BlobRecord(manifest, 500, labels)
    return parent


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    blobs: dict[Digest, BlobRecord] = {}
    trees: dict[str, SnapshotRecord] = {}
    names, records = [], []
    for at in range(IMAGES):
        top = _image(at, blobs, trees)
        config, manifest = _digest("config", at), _digest("manifest", at)
        records.append(ImageRecord(config, manifest, "linux/amd64", FS, top, "", 1, 1, synced=True))
        if at % 10:
            target = Target("manifest", manifest, 500)
            name = f"registry.example/app{at}"
            texts = (f"{name}:v1", f"{name}@{manifest}", str(config))
            names += [ImageName(text, target, config) for text in texts]
    return Records(
        "k8s.io",
        tuple(names),
        tuple(records),
        tuple(blobs.values()),
        tuple(trees.values()),
    ).inventory


def test_marking(inventory: Inventory, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.process_time()
    garbage = mark(inventory, now=0)
    seconds = time.process_time() - begun
    assert len(garbage.records) == IMAGES // 10
    tracemalloc.start()
    mark(inventory, now=0)
    megabytes = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    with capsys.disabled():
        print(f"\n{IMAGES} images: marked in {seconds:.2f} s with {megabytes:.0f} MB")
    assert seconds < MARK_SECONDS * SLACK
    assert megabytes < MEGABYTES


def test_sums_and_reasons(inventory: Inventory, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.process_time()
    usage = disk_usage(inventory, now=0)
    summed = time.process_time() - begun
    assert len(usage.images) == IMAGES * 9 // 10
    begun = time.process_time()
    graph = Graph(inventory)
    (node,) = select(graph, str(_digest("base", 7)))
    found = explain(graph, node, graph.roots(0), namespace="k8s.io")
    explained = time.process_time() - begun
    with capsys.disabled():
        print(f"\n{IMAGES} images: sums in {summed:.2f} s, a reason in {explained:.2f} s")
    assert len(found.chains) > IMAGES / BASES
    assert summed < USAGE_SECONDS * SLACK
    assert explained < WHY_SECONDS * SLACK
