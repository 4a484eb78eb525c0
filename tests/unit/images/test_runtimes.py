"""Which of several images of one name a runtime handler means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orlop.errors import InvalidArgument
from orlop.images.runtimes import Runtimes, RuntimeTarget
from orlop.images.settings import Runtime, ServiceSettings, Unpack
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


# --- unpack_config ------------------------------------------------------------------------

LOADED = ("overlayfs", "native")
ARM = Unpack("linux/arm64", "native")


def configured(*unpack: Unpack, strict: bool = False) -> Runtimes:
    settings = ServiceSettings(
        HERE,
        runtimes={"kata": Runtime("linux/arm64"), "own": Runtime("linux/arm64", "overlayfs")},
        unpack=unpack,
        check_platforms=strict,
    )
    return Runtimes.configured(settings, LOADED)


@pytest.mark.parametrize(
    ("unpack", "handler", "platform", "snapshotter", "wanted"),
    [
        ([], "", "", "", "overlayfs"),
        ([Unpack()], "", "", "", "overlayfs"),
        ([Unpack(snapshotter="native")], "", "", "", "native"),
        ([Unpack(snapshotter="native")], "", "", "overlayfs", "overlayfs"),
        ([Unpack(snapshotter="native")], "", "linux/arm64", "", "native"),
        ([Unpack("linux/386", "overlayfs"), ARM], "", "linux/arm64", "", "native"),
        ([ARM], "", "", "", "overlayfs"),
        ([ARM], "kata", "", "", "native"),
        ([ARM], "own", "", "", "overlayfs"),
        ([ARM, Unpack("linux/arm64", "overlayfs")], "kata", "", "", "native"),
        ([Unpack("linux/arm64", "absent", optional=True), ARM], "kata", "", "", "native"),
    ],
)
def test_where_a_pull_unpacks(
    unpack: list[Unpack], handler: str, platform: str, snapshotter: str, wanted: str
) -> None:
    found = configured(*unpack).wanted(handler, platform=platform, snapshotter=snapshotter)
    assert found.snapshotter == wanted
    assert str(found.platform) == (platform or ("linux/arm64" if handler else "linux/amd64"))


def test_platforms_that_are_not_supported() -> None:
    assert configured(ARM).wanted("", platform="linux/s390x").platform.architecture == "s390x"
    for unpack in ((), (Unpack(),), (ARM, Unpack())):
        strict = configured(*unpack, strict=True)
        assert strict.wanted("").platform == HERE
        with pytest.raises(InvalidArgument, match="linux/s390x is not supported"):
            strict.wanted("", platform="linux/s390x")
    assert configured(ARM, strict=True).wanted("kata").snapshotter == "native"
    with pytest.raises(InvalidArgument, match="not supported"):
        configured(ARM, strict=True).wanted("")


def test_a_snapshotter_that_is_not_loaded() -> None:
    with pytest.raises(InvalidArgument, match="absent"):
        configured(Unpack("", "absent"))
