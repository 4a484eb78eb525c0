"""The transaction that makes an image visible. Runs in the caller's transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.errors import NotFound
from orlop.metadata import content, damage, images, snapshots
from orlop.model.labels import with_sources

if TYPE_CHECKING:
    import apsw

    from orlop.ports.metadata import Publication


def publish(
    connection: apsw.Connection, namespace: str, publication: Publication, *, now: int
) -> None:
    """Write blobs, snapshots, record and names, and check that the image is whole.

    Raises:
        NotFound: a snapshot's parent, the record's chain, manifest or config, or
            the image of a name has no record.
        InvalidArgument: a blob is recorded with another size.
    """
    for blob in publication.blobs:
        known = content.blob(connection, namespace, blob.digest)
        own = with_sources(known.labels, blob.labels) if known else blob.labels
        content.put(connection, namespace, replace(blob, labels=own), now=now)
    damage.clear_blobs(connection, publication.written)
    for snapshot in publication.snapshots:
        snapshots.merge(connection, namespace, snapshot, now=now)
    record = publication.record
    for what, digest in (("manifest", record.manifest), ("config", record.id)):
        if not content.exists(connection, namespace, digest):
            raise NotFound(f"blob {digest}: no record of the {what} of image {record.id}")
    if record.chain_id:
        top = snapshots.snapshot(connection, namespace, record.snapshotter, record.chain_id)
        if top is None or top.kind != "committed":
            raise NotFound(
                f"snapshot {record.chain_id}: not committed in {record.snapshotter},"
                f" for image {record.id}"
            )
    images.put_record(connection, namespace, record, now=now)
    for name in publication.names:
        images.put_name(connection, namespace, name, now=now)
