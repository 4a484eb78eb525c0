"""The answer of ListImages, kept for as long as the list is the same.

Kubelet asks every few seconds, and mostly nothing has changed. When something has,
only those images are made into messages that are others than the last time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop._proto import runtime_v1_pb2 as pb
from orlop.cri import convert

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orlop.ports.metadata import Image
    from orlop.ports.service import NodeImageService


class Listing:
    """Makes items of ListImages; remembers those of the last whole list.

    Args:
        service: says how an image is shown.
    """

    __slots__ = ("_images", "_made", "_response", "_service")

    def __init__(self, service: NodeImageService) -> None:
        self._service = service
        self._images: Sequence[Image] | None = None
        self._made: dict[tuple[str, str], tuple[Image, pb.Image]] = {}
        self._response = pb.ListImagesResponse()

    def whole(self, images: Sequence[Image]) -> pb.ListImagesResponse:
        """The answer with all images; it is shared, and must not be changed.

        Args:
            images: as ``NodeImageService.images_for_node`` returned them without a filter.
        """
        if images is not self._images:
            made = {_key(image): (image, self._item(image)) for image in images}
            self._response = pb.ListImagesResponse(images=_distinct(i for _, i in made.values()))
            self._made, self._images = made, images
        return self._response

    def some(self, images: Iterable[Image]) -> pb.ListImagesResponse:
        """The answer with these images alone."""
        return pb.ListImagesResponse(images=_distinct(self._item(image) for image in images))

    def _item(self, image: Image) -> pb.Image:
        pinned = self._service.pinned(image)
        handler = self._service.runtime_handler(image)
        known, item = self._made.get(_key(image), (None, None))
        if (
            item is not None
            and known is image
            and (item.pinned, item.spec.runtime_handler) == (pinned, handler)
        ):
            return item
        return convert.to_image(image, pinned=pinned, runtime_handler=handler)


def _key(image: Image) -> tuple[str, str]:
    return str(image.record.id), image.record.snapshotter


def _distinct(items: Iterable[pb.Image]) -> Iterable[pb.Image]:
    """The first item for each id and handler."""
    found: dict[tuple[str, str], pb.Image] = {}
    for item in items:
        found.setdefault((item.id, item.spec.runtime_handler), item)
    return found.values()
