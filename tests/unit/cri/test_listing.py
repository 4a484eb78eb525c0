"""The answer of ListImages that is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.cri.listing import Listing
from orlop.testing.images import BuiltImage, build_image
from orlop.testing.layers import file
from orlop.testing.memory_service import MemoryService

if TYPE_CHECKING:
    from orlop.ports.metadata import Image


class Pinning(MemoryService):
    """A service that counts who asks for pins."""

    asked = 0

    def pinned(self, image: Image) -> bool:
        self.asked += 1
        return super().pinned(image)


def built(text: str) -> BuiltImage:
    return build_image([[file(text)]])


def test_the_same_list_has_the_same_answer() -> None:
    service = Pinning()
    images = (
        service.put("app.example/a:1", built("a")),
        service.put("app.example/b:1", built("b")),
    )
    listing = Listing(service)
    answer = listing.whole(images)
    assert [item.id for item in answer.images] == [str(one.record.id) for one in images]
    assert listing.whole(images) is answer
    assert service.asked == 2


def test_another_list_has_what_is_new() -> None:
    service = Pinning()
    first = service.put("app.example/a:1", built("a"))
    second = service.put("app.example/b:1", built("b"))
    listing = Listing(service)
    listing.whole((first, second))

    service.pins.add(first.record.id)
    larger = replace(second, record=replace(second.record, unpacked_bytes=1 << 30))
    items = listing.whole((first, larger)).images
    assert [item.pinned for item in items] == [True, False]
    assert items[1].size > 1 << 30
    assert [item.id for item in listing.whole((larger,)).images] == [str(second.record.id)]
    assert not listing.whole(()).images


def test_some_images_are_not_taken_for_all() -> None:
    service = Pinning()
    first = service.put("app.example/a:1", built("a"))
    images = (first, service.put("app.example/b:1", built("b")))
    listing = Listing(service)
    assert len(listing.some([first]).images) == 1
    assert len(listing.whole(images).images) == 2
