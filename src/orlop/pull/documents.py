"""From a reference to verified documents: index, manifest, config.

Each is checked against its descriptor before it is parsed. What the store has
is read from there (and hashed again); the registry is asked for the rest. The
registry is always asked what the reference means and whether this caller may
have it. A ``Document`` brings into the store what it does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import LimitExceeded, NoMatchingPlatform, NotFound, StoreCorrupt
from orlop.model import manifest as manifests
from orlop.model.image import check_pair, parse_config
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.manifest import Index, Manifest
from orlop.model.mediatype import layer_compression
from orlop.model.platform import rank
from orlop.pull.completion import in_thread
from orlop.pull.pending import PendingBlob
from orlop.pull.plan import Documents

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.platform import Platform
    from orlop.ports.content import Ingester, Provider
    from orlop.ports.registry import Remote


async def resolve(
    remote: Remote,
    store: Provider,
    wanted: Platform,
    limits: Limits = DEFAULTS,
    *,
    approve: Callable[[Descriptor], Awaitable[None]] | None = None,
    check_layer: Callable[[str], object] = layer_compression,
) -> Documents:
    """Resolve a reference and fetch its documents for one platform.

    Args:
        remote: what is asked.
        store: what is here already.
        wanted: the platform.
        limits: of the documents.
        approve: is shown what the reference means before anything is fetched, and
            raises when it must not be.
        check_layer: raises for the media type of a layer that cannot be unpacked.

    Raises:
        ManifestInvalid, UnsupportedMediaType, LimitExceeded: the documents are bad.
        NoMatchingPlatform: an index has nothing for ``wanted``.
        NotFound, AuthFailed, RegistryError: as ``Remote.resolve``.
    """
    resolved = await remote.resolve()
    target = resolved.descriptor
    if approve is not None:
        await approve(target)
    raw = resolved.raw
    if raw is None:
        raw = await _document(remote, store, target, limits.manifest_bytes)
    document = _parse(raw, target, limits)
    indexes: list[Index] = []
    entry = target
    while isinstance(document, Index):
        if len(indexes) >= limits.index_depth:
            raise LimitExceeded(
                f"index {target.digest} nests more than {limits.index_depth} indexes",
                limit="index_depth",
            )
        indexes.append(document)
        entry = manifests.select(document, wanted)
        raw = await _document(remote, store, entry, limits.manifest_bytes)
        document = _parse(raw, entry, limits)
    manifests.require_image(document, check_layer)
    descriptor = document.config
    raw = await _document(remote, store, descriptor, limits.config_bytes)
    config = parse_config(raw, limits=limits, algorithm=descriptor.digest.algorithm)
    check_pair(document, config, platform=entry.platform)
    if entry.platform is None and "unknown" not in (
        config.platform.os,
        config.platform.architecture,
    ):
        _require_platform(config.platform, wanted)
    return Documents(target, tuple(indexes), document, config)


def _parse(raw: bytes, descriptor: Descriptor, limits: Limits) -> Manifest | Index:
    return manifests.parse(
        raw,
        media_type=descriptor.media_type,
        limits=limits,
        algorithm=descriptor.digest.algorithm,
    )


def _require_platform(found: Platform, wanted: Platform) -> None:
    if rank(wanted, found) is None:
        raise NoMatchingPlatform(
            f"image is for {found}, not for {wanted}", hint=f"pull it with --platform {found}"
        )


async def _document(remote: Remote, store: Provider, descriptor: Descriptor, limit: int) -> bytes:
    if descriptor.data is not None:
        return descriptor.data
    if descriptor.size <= limit:
        raw = await in_thread(lambda: _stored(store, descriptor.digest, limit))
        if raw is not None and len(raw) == descriptor.size:
            return raw
    return await remote.document(descriptor, limit=limit)


def _stored(store: Provider, digest: Digest, limit: int) -> bytes | None:
    """The document, if the store has a good one."""
    try:
        return store.read(digest, limit)
    except (NotFound, StoreCorrupt, LimitExceeded):
        return None


def missing(store: Provider, documents: Documents) -> dict[Digest, bytes]:
    """The documents that the store does not have, or has damaged; blocks."""
    return {
        digest: raw
        for digest, raw in documents.raw().items()
        if _stored(store, digest, len(raw)) is None
    }


class Document:
    """A document on its way into the store (``Work`` of a flight); ``pending`` when done."""

    def __init__(self, digest: Digest, raw: bytes, store: Ingester) -> None:
        self.pending = PendingBlob(f"document {digest}")
        self._digest = digest
        self._raw = raw
        self._store = store

    async def run(self) -> None:
        """Write it into an ingest and verify it. Raises StoreFull, StoreIO."""
        await in_thread(self._write)

    def _write(self) -> None:
        # Its bytes are here: what an earlier process left in the ingest is of no use.
        ingest = self._store.ingest(f"document-{self._digest}", total=len(self._raw))
        self.pending.opened(ingest)
        ingest.truncate()
        ingest.write(self._raw)
        ingest.verify(self._digest, len(self._raw))

    async def release(self) -> None:
        """Drop it unless it has become a blob."""
        ingest = self.pending.ingest
        if ingest is not None:
            await in_thread(ingest.abort)
