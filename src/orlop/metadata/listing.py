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
        self._images: dict[str, list[Image]] = {}
        self._ordered: list[Image] = []
        self._revision = -1

    def read(self, connection: apsw.Connection, namespace: str) -> list[Image]:
        """Every image that has a name, by id, as the caller's transaction sees it."""
        revision = collect.revision(connection, namespace)
        if self._revision < 0:
            self._images = {}
            self._ordered = images.every(connection, namespace)
            for image in self._ordered:
                self._images.setdefault(str(image.record.id), []).append(image)
        elif touched := images.touched_since(connection, namespace, self._revision):
            for id_ in touched:
                self._images[id_] = images.by_id(connection, namespace, rows.digest(id_))
                if not self._images[id_]:
                    del self._images[id_]
            self._ordered = [image for id_ in sorted(self._images) for image in self._images[id_]]
        self._revision = revision
        return list(self._ordered)
