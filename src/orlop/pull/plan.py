"""The plan of a pull: what must be fetched, what unpacked, what is there already.

Pure: documents and sets of names in, frozen records out. ``make`` decides
before the work, ``publication`` describes the result after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orlop.model import labels
from orlop.model.chain import chain_ids
from orlop.ports.metadata import (
    BlobRecord,
    ImageName,
    ImageRecord,
    Publication,
    SnapshotRecord,
    Target,
)
from orlop.pull.processing import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.image import ImageConfig
    from orlop.model.manifest import Index, Manifest
    from orlop.model.mediatype import Compression
    from orlop.model.pins import Pins
    from orlop.model.reference import Reference
    from orlop.ports.metadata import Usage
    from orlop.pull.processing import Processing, Step


@dataclass(frozen=True, slots=True)
class Documents:
    """What a reference was resolved to, verified and parsed.

    ``indexes`` leads from the target to the manifest; empty when the target is one.
    """

    target: Descriptor
    indexes: tuple[Index, ...]
    manifest: Manifest
    config: ImageConfig

    def raw(self) -> dict[Digest, bytes]:
        """Every document by its digest."""
        found = {index.digest: index.raw for index in self.indexes}
        found[self.manifest.digest] = self.manifest.raw
        found[self.config.digest] = self.config.raw
        return found


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One layer: lowest has position 0.

    Attributes:
        chain_id: key of the snapshot that it becomes.
        parent: chain id of the layer below, "" for the lowest.
        fetch: the blob is not in the store, and is needed.
        unpack: the snapshot is not there.
        steps: programs that the blob goes through first; ``compression`` is that of
            what the last one writes.
    """

    position: int
    descriptor: Descriptor
    compression: Compression
    diff_id: Digest
    chain_id: str
    parent: str
    fetch: bool
    unpack: bool
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All layers of one image for one snapshotter, lowest first.

    ``keeps_layers`` is False when blobs of layers are needed only until they are unpacked.
    """

    documents: Documents
    snapshotter: str
    layers: tuple[LayerPlan, ...]
    keeps_layers: bool = True

    @property
    def chain_id(self) -> str:
        """Key of the topmost snapshot; "" for an image without layers."""
        return self.layers[-1].chain_id if self.layers else ""

    @property
    def fetch_bytes(self) -> int:
        """Bytes of all blobs to fetch, each digest once."""
        return sum(
            {la.descriptor.digest: la.descriptor.size for la in self.layers if la.fetch}.values()
        )

    @property
    def complete(self) -> bool:
        """True when there is nothing to fetch or unpack."""
        return not any(layer.fetch or layer.unpack for layer in self.layers)


def make(
    documents: Documents,
    *,
    snapshotter: str,
    present_blobs: AbstractSet[Digest],
    present_snapshots: AbstractSet[str],
    keep_layers: bool = True,
    processing: Processing = NOTHING,
) -> Plan:
    """Decide what is missing.

    A snapshot counts as present only when all of its parents do. A blob that is not to
    be kept is missing only when it is to be unpacked.

    Raises:
        UnsupportedMediaType: a layer is of a kind that cannot be unpacked.
        FailedPrecondition: stream processors lead in a circle.
    """
    chain = [str(digest) for digest in chain_ids(documents.config.diff_ids)]
    layers = []
    parents_present = True
    for position, descriptor in enumerate(documents.manifest.layers):
        parents_present = parents_present and chain[position] in present_snapshots
        wanted = keep_layers or not parents_present
        route = processing.route(descriptor.media_type)
        layers.append(
            LayerPlan(
                position=position,
                descriptor=descriptor,
                compression=route.compression,
                diff_id=documents.config.diff_ids[position],
                chain_id=chain[position],
                parent=chain[position - 1] if position else "",
                fetch=wanted and descriptor.digest not in present_blobs,
                unpack=not parents_present,
                steps=route.steps,
            )
        )
    return Plan(documents, snapshotter, tuple(layers), keep_layers)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the work of a pull gave: snapshots by chain id, for layers that were unpacked.

    ``manifests`` has the digests of the trees' manifests.
    """

    directories: Mapping[str, int] = field(default_factory=dict)
    usage: Mapping[str, Usage] = field(default_factory=dict)
    manifests: Mapping[str, str] = field(default_factory=dict)


def names_of(reference: Reference | None, target: Descriptor, image_id: Digest) -> tuple[str, ...]:
    """The names that a pulled image gets: its tag, its digest, its id.

    Containerd's CRI plugin keeps the same three. Without a reference there is the id alone.
    """
    if reference is None:
        return (str(image_id),)
    by_digest = reference.with_digest(target.digest).without_tag_if_digest()
    names = [str(by_digest), str(image_id)]
    if reference.digest is None:
        names.insert(0, str(reference))
    return tuple(names)


def publication(
    plan: Plan,
    outcome: Outcome,
    *,
    reference: Reference | None,
    distributed: bool = True,
    present_bytes: int,
    written: Sequence[Digest] = (),
    synced: bool,
    annotated: bool = False,
    pins: Pins | None = None,
    now: int,
) -> Publication:
    """All that the pull makes visible at once.

    Args:
        plan: what was to be done.
        outcome: what the work gave.
        reference: as it was asked for; None for an image without a name.
        distributed: whether the registry of the reference has it.
        present_bytes: disk bytes of the chain's snapshots that were there before.
        written: blobs that the pull has written.
        synced: whether a barrier covered it.
        annotated: whether snapshots are labelled with what they come from.
        pins: images that are labelled as pinned.
        now: wall-clock time in ns.
    """
    documents = plan.documents
    manifest, config = documents.manifest, documents.config
    unpacked = present_bytes + sum(usage.bytes for usage in outcome.usage.values())
    record = ImageRecord(
        id=config.digest,
        manifest=manifest.digest,
        platform=str(config.platform),
        snapshotter=plan.snapshotter,
        chain_id=plan.chain_id,
        user=config.user,
        content_bytes=_content_bytes(plan),
        unpacked_bytes=unpacked,
        synced=synced,
        created_at=now,
    )
    target = Target(documents.target.media_type, documents.target.digest, documents.target.size)
    names = names_of(reference, documents.target, config.digest)
    own = {labels.CRI_IMAGE: labels.CRI_IMAGE_MANAGED}
    if pins is not None:
        own |= pins.labels(names, manifest.digest)
    return Publication(
        blobs=_blob_records(plan, reference if distributed else None, now),
        snapshots=_snapshot_records(plan, outcome, reference if annotated else None, now),
        record=record,
        names=[ImageName(name, target, config.digest, own, now, now) for name in names],
        written=written,
    )


def _content_bytes(plan: Plan) -> int:
    manifest = plan.documents.manifest
    kept = manifest.layers if plan.keeps_layers else ()
    sizes = {layer.digest: layer.size for layer in kept}
    sizes[manifest.config.digest] = manifest.config.size
    return sum(sizes.values()) + len(manifest.raw)


def _blob_records(plan: Plan, source_name: Reference | None, now: int) -> Sequence[BlobRecord]:
    documents = plan.documents
    manifest = documents.manifest
    source = {}
    if source_name is not None:
        source[labels.distribution_source(source_name.domain)] = source_name.path
    records = []
    path = [*(index.digest for index in documents.indexes), manifest.digest]
    for index, child in zip(documents.indexes, path[1:], strict=True):
        own = {
            labels.gc_ref_manifest(at): str(child)
            for at, entry in enumerate(index.manifests)
            if entry.digest == child
        }
        records.append(_blob(index.digest, len(index.raw), source | own, now))
    refers = {labels.GC_REF_CONFIG: str(manifest.config.digest)}
    kept = plan.layers if plan.keeps_layers else ()
    for layer in kept:
        refers[labels.gc_ref_layer(layer.position)] = str(layer.descriptor.digest)
    records.append(_blob(manifest.digest, len(manifest.raw), source | refers, now))
    snapshot = {labels.gc_ref_snapshot(plan.snapshotter): plan.chain_id} if plan.layers else {}
    records.append(_blob(manifest.config.digest, manifest.config.size, source | snapshot, now))
    for layer in {layer.descriptor.digest: layer for layer in kept}.values():
        own = {labels.UNCOMPRESSED: str(layer.diff_id)}
        records.append(_blob(layer.descriptor.digest, layer.descriptor.size, source | own, now))
    return records


def _blob(digest: Digest, size: int, own: Mapping[str, str], now: int) -> BlobRecord:
    return BlobRecord(digest, size, own, now, now)


def _snapshot_records(
    plan: Plan, outcome: Outcome, told: Reference | None, now: int
) -> Sequence[SnapshotRecord]:
    records = []
    for layer in plan.layers:
        directory = outcome.directories.get(layer.chain_id)
        if directory is None:
            continue
        usage = outcome.usage[layer.chain_id]
        annotations = {} if told is None else _annotations(plan, told, layer)
        if manifest := outcome.manifests.get(layer.chain_id):
            annotations[labels.SNAPSHOT_MANIFEST] = manifest
        records.append(
            SnapshotRecord(
                snapshotter=plan.snapshotter,
                key=layer.chain_id,
                directory=directory,
                kind="committed",
                parent=layer.parent,
                labels={labels.SNAPSHOT_REF: layer.chain_id} | annotations,
                bytes=usage.bytes,
                inodes=usage.inodes,
                created_at=now,
                updated_at=now,
            )
        )
    return records


def _annotations(plan: Plan, reference: Reference, layer: LayerPlan) -> dict[str, str]:
    """What a snapshot is made from, in the words that containerd's remote snapshotters read."""
    above = [str(one.descriptor.digest) for one in plan.layers[layer.position :]]
    return {
        labels.SNAPSHOT_IMAGE_REF: str(reference),
        labels.SNAPSHOT_MANIFEST_DIGEST: str(plan.documents.manifest.digest),
        labels.SNAPSHOT_LAYER_DIGEST: str(layer.descriptor.digest),
        labels.SNAPSHOT_IMAGE_LAYERS: labels.fitting(labels.SNAPSHOT_IMAGE_LAYERS, above),
    }
