"""The list of all images, kept in memory and corrected by what has changed since.

Kubelet asks for all images every few seconds; making ten thousand records from
rows each time would cost more than everything else together. The database notes
at which revision an image was touched last, so a list that is read in one
transaction is exactly what that transaction sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.metadata import collect, damage, images, rows
from orlop.ports.metadata import ImageListing

if TYPE_CHECKING:
    import apsw

    from orlop.ports.metadata import Image

KEPT: Final = 2
"""Namespaces whose lists are kept: the node's own, and the one that somebody looks at."""


class Listings:
    """Lists of the namespaces that were asked for last; for the reader's thread only."""

    __slots__ = ("_listings",)

    def __init__(self) -> None:
        self._listings: dict[str, _Listing] = {}

    def read(self, connection: apsw.Connection, namespace: str) -> ImageListing:
        """A namespace's list as the caller's transaction sees it.

        It is the same object as the last time when neither images nor marks have changed.
        """
        listing = self._listings.pop(namespace, None) or _Listing()
        found = listing.read(connection, namespace)
        self._listings[namespace] = listing  # the last one was used last
        if len(self._listings) > KEPT:
            del self._listings[next(iter(self._listings))]
        return found


class _Listing:
    __slots__ = ("_images", "_listed", "_revision")

    def __init__(self) -> None:
        self._images: dict[str, list[Image]] = {}
        self._listed = ImageListing((), frozenset())
        self._revision = -1

    def read(self, connection: apsw.Connection, namespace: str) -> ImageListing:
        revision = collect.revision(connection, namespace)
        listed = self._listed.images
        if self._revision < 0:
            listed = tuple(images.every(connection, namespace))
            for image in listed:
                self._images.setdefault(str(image.record.id), []).append(image)
        elif revision != self._revision and (
            touched := images.touched_since(connection, namespace, self._revision)
        ):
            for id_ in touched:
                self._images[id_] = images.by_id(connection, namespace, rows.digest(id_))
                if not self._images[id_]:
                    del self._images[id_]
            listed = tuple(image for id_ in sorted(self._images) for image in self._images[id_])
        damaged = damage.images(connection, namespace)
        if listed is not self._listed.images or damaged != self._listed.damaged:
            self._listed = ImageListing(listed, damaged)
        self._revision = revision
        return self._listed
