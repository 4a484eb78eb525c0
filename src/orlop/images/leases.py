"""Leases: what clients keep from being collected, for a time or until they say so."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidArgument, InvalidReference, NotFound
from orlop.images import find as finding
from orlop.model import labels
from orlop.model.digest import Digest
from orlop.model.quote import quote
from orlop.ports.metadata import Lease, Resource
from orlop.ports.service import HeldLease

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orlop.ports.clock import Clock
    from orlop.ports.metadata import Image, Metadata
    from orlop.ports.service import LeaseOptions

_ID: Final = re.compile(r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*")
_ID_CHARACTERS: Final = 76
"""Both as containerd has it (pkg/identifiers)."""

_BILLION: Final = 1_000_000_000
_MOST_SECONDS: Final = 100 * 366 * 24 * 3600


class ImageLeases:
    """Makes, lists and removes leases.

    Args:
        metadata: has their records.
        snapshotters: names of those that are loaded.
        clock: tells when a lease ends.
    """

    def __init__(self, metadata: Metadata, snapshotters: Collection[str], clock: Clock) -> None:
        self._metadata = metadata
        self._snapshotters = snapshotters
        self._clock = clock

    async def every(self, namespace: str) -> list[HeldLease]:
        """See ``ImageService.leases``."""
        return [HeldLease(*one) for one in await self._metadata.leased(namespace)]

    async def add(self, namespace: str, texts: Sequence[str], options: LeaseOptions) -> HeldLease:
        """See ``ImageService.add_lease``."""
        lease = self._lease(options)
        resources = await self._resources(namespace, texts)
        lease = await self._metadata.create_lease(namespace, lease, resources)
        # A collection may have been quicker. What is here now stays.
        for resource in resources:
            if not await self._is_here(namespace, resource):
                await self._metadata.delete_lease(namespace, lease.id)
                raise NotFound(f"{resource.kind} {resource.id} has just been removed")
        return HeldLease(lease, tuple(sorted(resources, key=lambda one: (one.kind, one.id))))

    async def remove(self, namespace: str, id_: str) -> None:
        """Remove its record. Raises NotFound."""
        await self._metadata.delete_lease(namespace, id_)

    def _lease(self, options: LeaseOptions) -> Lease:
        id_ = options.id or f"lease-{secrets.token_hex(6)}"
        if len(id_) > _ID_CHARACTERS or not _ID.fullmatch(id_):
            raise InvalidArgument(
                f"{quote(id_)} is no id of a lease",
                hint="use letters, digits and, between them, dots, hyphens and underscores;"
                f" at most {_ID_CHARACTERS}",
            )
        if not 0 <= options.seconds <= _MOST_SECONDS:
            raise InvalidArgument(f"a lease cannot last {options.seconds} seconds")
        now = self._clock.now()
        return Lease(
            id_,
            {labels.GC_FLAT: "true"} if options.flat else {},
            created_at=now,
            expires_at=now + round(options.seconds * _BILLION) if options.seconds else 0,
        )

    async def _resources(self, namespace: str, texts: Sequence[str]) -> list[Resource]:
        found: dict[Resource, None] = {}
        for text in texts:
            named = await self._named(namespace, text)
            if not named:
                raise NotFound(
                    f"nothing here is called {quote(text)}", hint="`orlop images` lists the images"
                )
            found |= dict.fromkeys(named)
        return list(found)

    async def _named(self, namespace: str, text: str) -> list[Resource]:
        """What a text names: images, or else a blob, or else snapshots."""
        images = await finding.find(self._metadata, namespace, text)
        if images:
            return [resource for image in images for resource in _of(image)]
        keys = [Resource("snapshots", f"{name}/{text}") for name in self._snapshotters]
        things = [Resource("content", text), Resource("snapshots", text), *keys]
        return [one for one in things if await self._is_here(namespace, one)]

    async def _is_here(self, namespace: str, resource: Resource) -> bool:
        if resource.kind == "content":
            try:
                digest = Digest.parse(resource.id)
            except InvalidReference:
                return False
            return await self._metadata.blob(namespace, digest) is not None
        snapshotter, _, key = resource.id.partition("/")
        return await self._metadata.snapshot(namespace, snapshotter, key) is not None


def _of(image: Image) -> list[Resource]:
    record = image.record
    manifest = Resource("content", str(record.manifest))
    if not record.chain_id:
        return [manifest]
    return [manifest, Resource("snapshots", f"{record.snapshotter}/{record.chain_id}")]
