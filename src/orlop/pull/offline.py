"""A registry that is not asked: for work on images that are here.

It knows what a reference meant when it was pulled, and has nothing else. A pull from it
succeeds when the store has all that it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import NotFound
from orlop.model.descriptor import Descriptor
from orlop.ports.registry import Resolved

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from orlop.model.reference import Reference
    from orlop.ports.metadata import Target
    from orlop.ports.registry import BlobStream, Credentials, Traffic


class Offline:
    """Implements ``orlop.ports.registry.Registry`` and ``Remote`` for one image."""

    def __init__(self, target: Target) -> None:
        self._target = Descriptor(target.media_type, target.digest, target.size)

    def remote(
        self,
        reference: Reference,  # noqa: ARG002 - the port's signature
        *,
        credentials: Credentials | None,  # noqa: ARG002 - nobody is asked
        traffic: Traffic,  # noqa: ARG002 - nothing is in flight
    ) -> Offline:
        """Itself."""
        return self

    async def resolve(self) -> Resolved:
        """What was resolved when the image was pulled."""
        return Resolved(self._target)

    async def document(self, descriptor: Descriptor, *, limit: int) -> bytes:  # noqa: ARG002 - nothing is there
        """Raises NotFound: the store was asked before."""
        raise _missing(descriptor)

    async def prove(self, descriptor: Descriptor) -> None:
        """Raises NotFound: there is nobody who could vouch for the caller."""
        raise _missing(descriptor)

    def blob(
        self,
        descriptor: Descriptor,
        *,
        offset: int = 0,  # noqa: ARG002 - nothing is there
        length: int = 0,  # noqa: ARG002 - nothing is there
    ) -> AbstractAsyncContextManager[BlobStream]:
        """Raises NotFound."""
        raise _missing(descriptor)

    async def close(self) -> None:
        """Nothing is open."""


def _missing(descriptor: Descriptor) -> NotFound:
    return NotFound(f"no registry is asked: blob {descriptor.digest}")
