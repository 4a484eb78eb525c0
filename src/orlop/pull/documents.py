"""From a reference to verified documents: index, manifest, config.

Each is checked against its descriptor before it is parsed. What the store has
is read from there (and hashed again); the registry is asked for the rest. The
registry is always asked what the reference means and whether this caller may
have it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orlop.errors import LimitExceeded, NoMatchingPlatform, NotFound, StoreCorrupt
from orlop.model import manifest as manifests
from orlop.model.image import check_pair, parse_config
from orlop.model.limits import DEFAULTS, Limits
from orlop.model.manifest import Index, Manifest
from orlop.model.platform import rank
from orlop.pull.plan import Documents

if TYPE_CHECKING:
    from orlop.model.descriptor import Descriptor
    from orlop.model.platform import Platform
    from orlop.ports.content import Provider
    from orlop.ports.registry import Remote


async def resolve(
    remote: Remote, store: Provider, wanted: Platform, limits: Limits = DEFAULTS
) -> Documents:
    """Resolve a reference and fetch its documents for one platform.

    Raises:
        ManifestInvalid, UnsupportedMediaType, LimitExceeded: the documents are bad.
        NoMatchingPlatform: an index has nothing for ``wanted``.
        NotFound, AuthFailed, RegistryError: as ``Remote.resolve``.
    """
    resolved = await remote.resolve()
    target = resolved.descriptor
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
    manifests.require_image(document)
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
        try:
            return await asyncio.to_thread(store.read, descriptor.digest, limit)
        except (NotFound, StoreCorrupt):
            pass  # the registry has a good one
    return await remote.document(descriptor, limit=limit)
