"""Which of several images of one name a runtime handler means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orlop.errors import InvalidArgument
from orlop.images.runtimes import Runtimes, RuntimeTarget
from orlop.model.platform import Platform
from orlop.ports.metadata import Image
from tests.unit.images.rig import record

HERE = Platform("linux", "amd64")
RUNTIMES = Runtimes(
    RuntimeTarget(HERE, "overlayfs"),
    {
        "copies": RuntimeTarget(HERE, "native"),
        "old": RuntimeTarget(Platform("linux", "386"), "overlayfs"),
        "same": RuntimeTarget(HERE, "overlayfs"),
        "v3": RuntimeTarget(Platform("linux", "amd64", "v3"), "overlayfs"),
    },
)


def image(platform: str, snapshotter: str = "overlayfs") -> Image:
    return Image(replace(record("a"), platform=platform, snapshotter=snapshotter), ())


@pytest.mark.parametrize(
    ("found", "handler"),
    [
        (image("linux/amd64"), ""),
        (image("linux/amd64", "native"), "copies"),
        (image("linux/386"), "old"),  # it also runs for the default one, but was not meant for it
        (image("linux/amd64/v3"), "v3"),
        (image("linux/s390x"), ""),
        (image("linux/amd64", "erofs"), ""),
        (image("unknown/unknown"), ""),
        (image("no platform"), ""),
    ],
)
def test_the_handler_that_suits_best(found: Image, handler: str) -> None:
    assert RUNTIMES.handler(found) == handler
    assert RUNTIMES.handler(found) == handler  # as remembered


@pytest.mark.parametrize(
    ("handler", "images", "chosen"),
    [
        ("", [], None),
        ("", ["linux/386", "linux/amd64"], "linux/amd64"),
        ("", ["linux/386"], "linux/386"),
        ("", ["linux/amd64/v3"], None),
        ("", ["linux/s390x"], "linux/s390x"),
        ("v3", ["linux/amd64", "linux/amd64/v3"], "linux/amd64/v3"),
        ("v3", ["linux/amd64"], "linux/amd64"),
        ("old", ["linux/amd64"], None),
        ("old", ["unknown/unknown"], "unknown/unknown"),
        ("copies", ["linux/amd64"], None),
    ],
)
def test_choose(handler: str, images: list[str], chosen: str | None) -> None:
    found = RUNTIMES.choose([image(platform) for platform in images], handler)
    assert (found and found.record.platform) == chosen


def test_prefer() -> None:
    copied, other = image("linux/amd64", "native"), image("linux/amd64/v3")
    assert RUNTIMES.prefer([]) is None
    assert RUNTIMES.prefer([copied, other]) == copied
    assert RUNTIMES.prefer([copied, image("linux/amd64")]) == image("linux/amd64")


def test_an_unknown_handler() -> None:
    with pytest.raises(InvalidArgument, match="typo"):
        RUNTIMES.target("typo")
    with pytest.raises(InvalidArgument, match="typo"):
        RUNTIMES.choose([], "typo")
