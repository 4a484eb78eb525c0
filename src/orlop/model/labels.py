"""Labels: keys that orlop gives to blobs, images, snapshots and leases.

They are containerd's, so that records can be exchanged and its habits hold
(docs/garbage-collection.md, pkg/labels and pkg/snapshotters of containerd).
An image's own labels and annotations never become labels of the store: they
come from strangers, and some of these keys command the garbage collector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidArgument
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What the garbage collector obeys.

GC_ROOT: Final = "containerd.io/gc.root"
"""On a blob or snapshot: keep it, and all that it refers to. The value is a time, for people."""

GC_EXPIRE: Final = "containerd.io/gc.expire"
"""On a lease or an image name: RFC 3339 time from which it keeps nothing any more."""

GC_FLAT: Final = "containerd.io/gc.flat"
"""On a lease: keep the listed resources only, not what they refer to."""

GC_REF_CONTENT: Final = "containerd.io/gc.ref.content"
"""Refers to the blob in the value; also with ``.`` or ``/`` and any suffix."""

GC_REF_SNAPSHOT: Final = "containerd.io/gc.ref.snapshot."
"""Before the name of a snapshotter: refers to the snapshot in the value."""

GC_REF_IMAGE: Final = "containerd.io/gc.ref.image"
"""Refers to the image name in the value; also with ``.`` or ``/`` and any suffix."""

GC_BREF: Final = "containerd.io/gc.bref."
"""What all back references begin with: something else refers to what has the label."""

GC_BREF_CONTENT: Final = f"{GC_BREF}content"
"""The blob in the value refers to what has this label; also with ``.`` or ``/`` and any suffix."""

GC_BREF_SNAPSHOT: Final = f"{GC_BREF}snapshot."
"""Ditto, the snapshot in the value; the name of a snapshotter follows."""

GC_BREF_IMAGE: Final = f"{GC_BREF}image"
"""Ditto, the image name in the value; also with ``.`` or ``/`` and any suffix."""

GC_REF_MANIFEST: Final = f"{GC_REF_CONTENT}.m."
"""On an index, before a position: a manifest (or an index) that it names there."""

GC_REF_CONFIG: Final = f"{GC_REF_CONTENT}.config"
"""On a manifest: its config."""

# What blobs are.

UNCOMPRESSED: Final = "containerd.io/uncompressed"
"""On a layer: its diffID."""

DISTRIBUTION_SOURCE: Final = "containerd.io/distribution.source."
"""Before a registry: repositories there that have the blob, separated by commas."""

# What snapshots are.

SNAPSHOT_REF: Final = "containerd.io/snapshot.ref"
"""On a snapshot in the making: the chain id that it will be committed as."""

SNAPSHOT_MANIFEST: Final = "orlop/snapshot.manifest"
"""On a snapshot: digest of the manifest of its tree (``orlop.model.treemanifest``)."""

SNAPSHOT_IMAGE_REF: Final = "containerd.io/snapshot/cri.image-ref"
"""Told to a snapshotter: the reference that is being pulled."""

SNAPSHOT_MANIFEST_DIGEST: Final = "containerd.io/snapshot/cri.manifest-digest"
"""Told to a snapshotter: the manifest that is being pulled."""

SNAPSHOT_LAYER_DIGEST: Final = "containerd.io/snapshot/cri.layer-digest"
"""Told to a snapshotter: the layer that the snapshot is made from."""

SNAPSHOT_IMAGE_LAYERS: Final = "containerd.io/snapshot/cri.image-layers"
"""Told to a snapshotter: that layer and those above it, separated by commas, as many as fit."""

OVERLAY_UPPERDIR: Final = "containerd.io/snapshot/overlay.upperdir"
"""Told by the overlayfs snapshotter: the directory that holds a snapshot's changes."""

# What images are to CRI.

CRI_IMAGE: Final = "io.cri-containerd.image"
"""On an image name: CRI shows it."""

CRI_IMAGE_MANAGED: Final = "managed"
"""The value of ``CRI_IMAGE``."""

CRI_PINNED: Final = "io.cri-containerd.pinned"
"""On an image name: kubelet must not remove it."""

CRI_PINNED_VALUE: Final = "pinned"
"""The value of ``CRI_PINNED``."""

MOUNT_TARGET: Final = "orlop/mount.target"
"""On a snapshot that somebody works in: the directory that it is mounted on."""

PINNED_BY: Final = "orlop/pinned-by"
"""On an image name, beside ``CRI_PINNED``: who pinned it, and may take the pin out."""

PINNED_BY_CONFIGURATION: Final = "configuration"
"""The value of ``PINNED_BY`` for ``pinned_images``."""


def gc_ref_layer(position: int) -> str:
    """Key by which a manifest refers to its layer at ``position``, lowest 0."""
    return f"{GC_REF_CONTENT}.l.{position}"


def gc_ref_manifest(position: int) -> str:
    """Key by which an index refers to its manifest at ``position``, first 0."""
    return f"{GC_REF_MANIFEST}{position}"


def gc_ref_snapshot(snapshotter: str) -> str:
    """Key by which a config refers to its topmost snapshot in ``snapshotter``."""
    return GC_REF_SNAPSHOT + snapshotter


def distribution_source(domain: str) -> str:
    """Key under which a blob remembers repositories of the registry ``domain``."""
    return DISTRIBUTION_SOURCE + domain


def sources(known: Mapping[str, str], domain: str) -> tuple[str, ...]:
    """Repositories of the registry ``domain`` that a blob with these labels came from."""
    return tuple(filter(None, known.get(distribution_source(domain), "").split(",")))


def with_sources(
    known: Mapping[str, str], new: Mapping[str, str], limits: Limits = DEFAULTS
) -> dict[str, str]:
    """The labels ``new``, whose repositories come after those that are ``known`` already.

    What does not fit into a label is forgotten, the oldest first.
    """
    merged = dict(new)
    for key, value in new.items():
        if not key.startswith(DISTRIBUTION_SOURCE) or key not in known:
            continue
        added = value.split(",")
        every = [one for one in known[key].split(",") if one not in added] + added
        newest = fitting(key, every[::-1], limits).split(",")
        merged[key] = ",".join(newest[::-1])
    return merged


def fitting(key: str, values: Sequence[str], limits: Limits = DEFAULTS) -> str:
    """The first of ``values`` that fit into a label with ``key``, separated by commas."""
    text = ""
    for value in values:
        longer = f"{text},{value}" if text else value
        if len(key.encode()) + len(longer.encode()) > limits.label_bytes:
            break
        text = longer
    return text


def validate(labels: Mapping[str, str], limits: Limits = DEFAULTS) -> None:
    """Refuse labels that containerd would refuse.

    Raises:
        InvalidArgument: a key is empty, a key and its value are too long together, or
            one of them cannot be encoded.
    """
    for key, value in labels.items():
        if not key:
            raise InvalidArgument("a label has an empty key")
        try:
            size = len(key.encode()) + len(value.encode())
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"label {quote(key)} is not valid Unicode") from error
        if size > limits.label_bytes:
            raise InvalidArgument(
                f"label {quote(key)} has {size} bytes with its value,"
                f" more than {limits.label_bytes}"
            )
