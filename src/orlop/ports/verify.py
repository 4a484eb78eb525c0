"""Verifiers: whether an image may be pulled at all.

A pull asks every verifier as soon as the registry has said what the reference
means, before it fetches anything: for each request, also when the image is here
already or somebody else pulls it at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orlop.model.descriptor import Descriptor
    from orlop.model.reference import Reference


class ImageVerifier(Protocol):
    """Says yes by returning; whatever it cannot find out is a no."""

    async def verify(self, reference: Reference | None, descriptor: Descriptor) -> None:
        """Decide about one image.

        Args:
            reference: as it was asked for, normalised; None for an image of an archive that
                gets no name. Who cannot decide without one refuses it.
            descriptor: of the index or manifest that the registry has under it.

        Raises:
            SignatureRejected: the image must not be pulled.
        """
