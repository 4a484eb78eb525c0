"""The blob store as one namespace may use it (``content_sharing_policy = "isolated"``).

Blobs lie in one place for all namespaces. When namespaces do not trust each other,
knowing a digest must not be enough to get what another one has pulled: whatever a
namespace has no record of is fetched for it, with its own credentials, and compared
with its digest. The bytes are then dropped if the blob is here already.

Which blobs have a record is asked of the metadata by the pull; here is the rest: no
document is read for its digest alone, and downloads of other namespaces are neither
joined nor continued.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orlop.model.digest import Digest
    from orlop.ports.content import BlobStat, BlobStore, Ingest, IngestStatus


class Isolated:
    """Implements ``orlop.ports.content.BlobStore`` for the pulls of one namespace.

    Args:
        store: of all namespaces.
        namespace: whose pulls these are.
    """

    def __init__(self, store: BlobStore, namespace: str) -> None:
        self._store = store
        self._prefix = f"{namespace}/"

    def read(self, digest: Digest, limit: int) -> bytes:
        """Nothing is here for its digest alone. Raises NotFound."""
        del limit
        raise NotFound(f"blob {digest} is not looked for: namespaces are isolated")

    def ingest(self, ref: str, *, total: int = 0) -> Ingest:
        """An ingest of this namespace; see the port."""
        return self._store.ingest(self._prefix + ref, total=total)

    def status(self) -> list[IngestStatus]:
        """The ingests of this namespace."""
        return [
            replace(one, ref=one.ref.removeprefix(self._prefix))
            for one in self._store.status()
            if one.ref.startswith(self._prefix)
        ]

    def abort(self, ref: str) -> None:
        """Delete a closed ingest of this namespace; see the port."""
        self._store.abort(self._prefix + ref)

    # What follows is asked only for blobs that the namespace has shown to have.

    def stat(self, digest: Digest) -> BlobStat | None:
        """See the port."""
        return self._store.stat(digest)

    def open(self, digest: Digest) -> int:
        """See the port."""
        return self._store.open(digest)

    def verify(self, digest: Digest, spend: Callable[[int], None] | None = None) -> None:
        """See the port."""
        self._store.verify(digest, spend)

    def publish(self, ingests: Sequence[Ingest], *, synced: bool = False) -> None:
        """See the port."""
        self._store.publish(ingests, synced=synced)

    def walk(self) -> Iterator[BlobStat]:
        """See the port."""
        return self._store.walk()

    def digests(self) -> set[str]:
        """See the port."""
        return self._store.digests()

    def delete(self, digest: Digest) -> None:
        """See the port."""
        self._store.delete(digest)
