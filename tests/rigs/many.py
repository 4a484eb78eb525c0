"""Records of many images, as pulls would write them; none has any bytes."""

from __future__ import annotations

from typing import Final

from orlop.model.digest import Digest
from orlop.ports.metadata import (
    BlobRecord,
    ImageName,
    ImageRecord,
    Publication,
    SnapshotRecord,
    Target,
)

LAYERS: Final = 4
"""Of each image; no two images share one."""


def publication(number: int) -> Publication:
    """What a pull of the image with this number would publish."""
    config, manifest = _digest(f"config {number}"), _digest(f"manifest {number}")
    layers = [_digest(f"layer {number} {layer}") for layer in range(LAYERS)]
    chain = [str(_digest(f"chain {number} {layer}")) for layer in range(LAYERS)]
    name = f"registry.example/team/application-{number}"
    target = Target("application/vnd.oci.image.manifest.v1+json", manifest, 1000)
    names = (f"{name}:v1", f"{name}@{manifest}", str(config))
    return Publication(
        blobs=[BlobRecord(digest, 1000) for digest in (config, manifest, *layers)],
        snapshots=[
            SnapshotRecord(
                snapshotter="overlayfs",
                key=key,
                directory=number * LAYERS + layer + 1,
                kind="committed",
                parent=chain[layer - 1] if layer else "",
                bytes=4096,
                inodes=1,
            )
            for layer, key in enumerate(chain)
        ],
        record=ImageRecord(
            id=config,
            manifest=manifest,
            platform="linux/amd64",
            snapshotter="overlayfs",
            chain_id=chain[-1],
            user="1000",
            content_bytes=1000 * (LAYERS + 2),
            unpacked_bytes=4096 * LAYERS,
            synced=True,
        ),
        names=[ImageName(one, target, config) for one in names],
    )


def _digest(word: str) -> Digest:
    return Digest.of(word.encode())
