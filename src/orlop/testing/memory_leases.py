"""Leases of the service in memory. They keep nothing: nothing goes there by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import AlreadyExists, NotFound
from orlop.model.labels import GC_FLAT
from orlop.ports.metadata import Lease, Resource
from orlop.ports.service import HeldLease, LeaseOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW: Final = 1_700_000_000_000_000_000
"""When everything happens, in nanoseconds since the epoch."""

_BILLION: Final = 1_000_000_000


class MemoryLeases:
    """The part of an ``ImageService`` that has leases."""

    def __init__(self) -> None:
        self._leases: dict[tuple[str, str], HeldLease] = {}

    async def leases(self, namespace: str = "") -> Sequence[HeldLease]:
        """See ``ImageService.leases``."""
        return [held for (owner, _), held in sorted(self._leases.items()) if owner == namespace]

    async def add_lease(
        self, texts: Sequence[str], options: LeaseOptions | None = None, namespace: str = ""
    ) -> HeldLease:
        """See ``ImageService.add_lease``; every text is taken for an image's name."""
        options = options or LeaseOptions()
        id_ = options.id or f"lease-{len(self._leases)}"
        if (namespace, id_) in self._leases:
            raise AlreadyExists(f"lease {id_}: the id is taken")
        lease = Lease(
            id_,
            {GC_FLAT: "true"} if options.flat else {},
            created_at=NOW,
            expires_at=NOW + round(options.seconds * _BILLION) if options.seconds else 0,
        )
        held = HeldLease(lease, tuple(Resource("images", text) for text in texts))
        self._leases[namespace, id_] = held
        return held

    async def remove_lease(self, id_: str, namespace: str = "") -> None:
        """See ``ImageService.remove_lease``."""
        if self._leases.pop((namespace, id_), None) is None:
            raise NotFound(f"lease {id_}: there is none")
