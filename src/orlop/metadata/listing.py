"""The list of all images, kept in memory and corrected by what has changed since.

Kubelet asks for all images every few seconds; making ten thousand records from
rows each time would cost more than everything else together. The database notes
at which revision an image was touched last, so a list that is read in one
transaction is exactly what that transaction sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.metadata import collect, images, rows

if TYPE_CHECKING:
    import apsw

    from orlop.ports.metadata import Image


class Listing:
    """All images of one namespace; for the reader's thread only."""

    __slots__ = ("_images", "_ordered", "_revision")

    def __init__(self) -> None:
        self._images: dict[str, Image] = {}
        self._ordered: list[Image] = []
        self._revision = -1

    def read(self, connection: apsw.Connection, namespace: str) -> list[Image]:
        """Every image that has a name, by id, as the caller's transaction sees it."""
        revision = collect.revision(connection, namespace)
        if self._revision < 0:
            found = images.every(connection, namespace)
            self._images = {str(image.record.id): image for image in found}
            self._ordered = found
        elif touched := images.touched_since(connection, namespace, self._revision):
            for id_ in touched:
                image = images.by_id(connection, namespace, rows.digest(id_))
                if image is None:
                    self._images.pop(id_, None)
                else:
                    self._images[id_] = image
            self._ordered = [self._images[id_] for id_ in sorted(self._images)]
        self._revision = revision
        return list(self._ordered)
