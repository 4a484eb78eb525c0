"""Which image a text means."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidArgument
from orlop.images.find import find, name_of
from orlop.ports.metadata import Image, ImageListing
from tests.unit.images.rig import SPACE, name, record

if TYPE_CHECKING:
    from collections.abc import Collection

    from orlop.model.digest import Digest
    from orlop.ports.metadata import ImageName, ImageRecord
    from tests.unit.images.conftest import Bench

ONE = record("abc1", manifest="1")
TWO = record("abc2", manifest="2")
BUSYBOX = "docker.io/library/busybox:latest"


async def filled(bench: Bench) -> None:
    await bench.add(ONE, BUSYBOX, f"docker.io/library/busybox@{ONE.manifest}")
    await bench.add(TWO, "registry.example/team/abc:v1")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (str(ONE.id), ONE),
        (ONE.id.hex, ONE),
        ("abc1", ONE),
        ("sha256:abc2", TWO),
        ("busybox", ONE),
        ("busybox:latest", ONE),
        (BUSYBOX, ONE),
        (f"busybox@{ONE.manifest}", ONE),
        (f"registry.example/team/abc@{TWO.manifest}", TWO),
        (f"busybox@{TWO.manifest}", None),
        (f"registry.example/team/ab@{TWO.manifest}", None),
        ("busybox:other", None),
        ("abc3", None),
        ("sha256:" + "0" * 64, None),
        ("", None),
        ("Not A Reference", None),
        ("sha256:", None),
        ("abc1" + "0" * 61, None),
    ],
)
async def test_find(bench: Bench, text: str, wanted: ImageRecord | None) -> None:
    await filled(bench)
    found = await find(bench.metadata, SPACE, text)
    assert [one.record for one in found] == ([wanted] if wanted else [])
    assert await find(bench.metadata, "elsewhere", text) == []


@pytest.mark.parametrize("text", ["abc", "sha256:a"])
async def test_several_ids(bench: Bench, text: str) -> None:
    await filled(bench)
    with pytest.raises(InvalidArgument, match="several image ids"):
        await find(bench.metadata, SPACE, text)


async def test_a_name_goes_before_the_beginning_of_an_id(bench: Bench) -> None:
    await filled(bench)
    await bench.add(record("dead", manifest="3"), "docker.io/library/abc1:latest")
    (found,) = await find(bench.metadata, SPACE, "abc1")
    assert found.record.id.hex.startswith("dead")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("busybox", BUSYBOX),
        (BUSYBOX, BUSYBOX),
        ("busybox:v2", None),
        (str(ONE.id), None),
        ("", None),
    ],
)
async def test_stored_names(bench: Bench, text: str, stored: str | None) -> None:
    await filled(bench)
    assert await name_of(bench.metadata, SPACE, text) == stored


class Many:
    """Ten thousand images, as the database hands them out."""

    def __init__(self) -> None:
        records = [record(f"{at:08x}", manifest=f"{at:08x}") for at in range(10_000)]
        self.listed = [
            Image(one, (name(f"registry.example/app{at}:v1", one),))
            for at, one in enumerate(records)
        ]

    async def images(self, namespace: str) -> list[Image]:
        return list(self.listed)

    async def listing(self, namespace: str) -> ImageListing:
        return ImageListing(tuple(self.listed), frozenset())

    async def images_by_name(self, namespace: str, text: str) -> list[Image]:
        return []

    async def images_by_id(self, namespace: str, id_: Digest) -> list[Image]:
        return []

    async def images_by_id_prefix(self, namespace: str, prefix: str, limit: int) -> list[Image]:
        return []

    async def put_name(self, namespace: str, name: ImageName) -> None:
        raise AssertionError

    async def remove_name(self, namespace: str, name: str) -> bool:
        raise AssertionError

    async def remove_image(self, namespace: str, id_: Digest, snapshotter: str = "") -> bool:
        raise AssertionError

    async def remove_together(
        self, namespace: str, *, names: Collection[str] = (), ids: Collection[Digest] = ()
    ) -> bool:
        raise AssertionError


async def test_a_digest_among_ten_thousand_images_is_found_quickly() -> None:
    many = Many()
    last = many.listed[-1]
    started = time.process_time()
    for _ in range(10):
        text = f"registry.example/app9999@{last.record.manifest}"
        assert await find(many, SPACE, text) == [last]
        assert await find(many, SPACE, text.replace("app9999", "app9998")) == []
    assert (time.process_time() - started) / 20 < 0.02
