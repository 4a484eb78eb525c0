"""Labels: containerd's grammar, letter by letter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orlop.errors import InvalidArgument
from orlop.model import labels
from orlop.model.limits import DEFAULTS


@pytest.mark.parametrize(
    ("built", "text"),
    [
        (labels.GC_ROOT, "containerd.io/gc.root"),
        (labels.GC_EXPIRE, "containerd.io/gc.expire"),
        (labels.GC_FLAT, "containerd.io/gc.flat"),
        (labels.GC_REF_CONTENT, "containerd.io/gc.ref.content"),
        (labels.GC_REF_CONFIG, "containerd.io/gc.ref.content.config"),
        (labels.gc_ref_layer(0), "containerd.io/gc.ref.content.l.0"),
        (labels.gc_ref_manifest(12), "containerd.io/gc.ref.content.m.12"),
        (labels.gc_ref_snapshot("overlayfs"), "containerd.io/gc.ref.snapshot.overlayfs"),
        (labels.UNCOMPRESSED, "containerd.io/uncompressed"),
        (
            labels.distribution_source("registry.example:5000"),
            "containerd.io/distribution.source.registry.example:5000",
        ),
        (labels.SNAPSHOT_REF, "containerd.io/snapshot.ref"),
        (labels.SNAPSHOT_IMAGE_REF, "containerd.io/snapshot/cri.image-ref"),
        (labels.SNAPSHOT_MANIFEST_DIGEST, "containerd.io/snapshot/cri.manifest-digest"),
        (labels.SNAPSHOT_LAYER_DIGEST, "containerd.io/snapshot/cri.layer-digest"),
        (labels.SNAPSHOT_IMAGE_LAYERS, "containerd.io/snapshot/cri.image-layers"),
        (f"{labels.CRI_IMAGE}={labels.CRI_IMAGE_MANAGED}", "io.cri-containerd.image=managed"),
        (f"{labels.CRI_PINNED}={labels.CRI_PINNED_VALUE}", "io.cri-containerd.pinned=pinned"),
    ],
)
def test_names(built: str, text: str) -> None:
    assert built == text


def test_key_and_value_share_the_limit() -> None:
    labels.validate({"k" * 96: "v" * 4000, "other": ""})
    with pytest.raises(InvalidArgument, match="4097 bytes"):
        labels.validate({"k" * 96: "v" * 4001})
    with pytest.raises(InvalidArgument, match="more than 4096"):
        labels.validate({"k" * 4097: ""})


def test_the_limit_counts_bytes() -> None:
    labels.validate({"k": "\u20ac" * 1365})
    with pytest.raises(InvalidArgument):
        labels.validate({"k": "\u20ac" * 1366})


def test_every_label_is_looked_at() -> None:
    with pytest.raises(InvalidArgument):
        labels.validate({"good": "one", "bad": "x" * 5000})


@pytest.mark.parametrize(
    ("bad", "cause"), [({"": "v"}, "empty key"), ({"k": "\ud800"}, "not valid Unicode")]
)
def test_unusable_labels(bad: dict[str, str], cause: str) -> None:
    with pytest.raises(InvalidArgument, match=cause):
        labels.validate(bad)


def test_no_labels_are_fine() -> None:
    labels.validate({})


def test_as_many_as_fit() -> None:
    limits = replace(DEFAULTS, label_bytes=12)
    assert labels.fitting("key", [], limits) == ""
    assert labels.fitting("key", ["abcd", "efgh"], limits) == "abcd,efgh"
    assert labels.fitting("longer", ["abcd", "efgh"], limits) == "abcd"
    assert labels.fitting("too long a key", ["abcd"], limits) == ""
    labels.validate({"key": labels.fitting("key", ["abcd"] * 9, limits)}, limits)


def test_repositories_that_a_blob_came_from() -> None:
    key = labels.distribution_source("registry.example")
    assert labels.sources({key: "team/app,library/base"}, "registry.example") == (
        "team/app",
        "library/base",
    )
    assert labels.sources({}, "registry.example") == ()


@pytest.mark.parametrize(
    ("known", "new", "merged"),
    [
        ({}, "b", "b"),
        ({"r": "a"}, "b", "a,b"),
        ({"r": "a,b,c"}, "b", "a,c,b"),
        ({"other": "a"}, "b", "b"),
        # The oldest one does not fit.
        ({"r": f"{'a' * 2000},{'c' * 2040}"}, "b" * 20, f"{'c' * 2040},{'b' * 20}"),
    ],
)
def test_repositories_add_up(known: dict[str, str], new: str, merged: str) -> None:
    before = {labels.distribution_source(host): paths for host, paths in known.items()}
    key = labels.distribution_source("r")
    found = labels.with_sources(before, {key: new, "x": "y"})
    assert found == {key: merged, "x": "y"}
    labels.validate(found)
