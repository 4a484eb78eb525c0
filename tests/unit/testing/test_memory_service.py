"""The image service in memory keeps the promises that doors rely on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from orlop import errors
from orlop.ports.registry import Credentials
from orlop.ports.service import ImageService, PullOptions
from orlop.testing.images import build_image
from orlop.testing.memory_service import MemoryService, shelf

if TYPE_CHECKING:
    from orlop.ports.observe import PullProgress

BUSYBOX = "docker.io/library/busybox:latest"


def service_of(memory: MemoryService) -> ImageService:
    """The type checker's word that it is an ImageService."""
    return memory


async def test_a_pulled_image_has_its_tag_its_digest_and_its_id_as_names() -> None:
    service = service_of(MemoryService())
    image = await service.pull("busybox")
    assert [name.name for name in image.names] == [
        BUSYBOX,
        f"docker.io/library/busybox@{image.record.manifest}",
        str(image.record.id),
    ]
    assert {name.image_id for name in image.names} == {image.record.id}


async def test_a_pull_by_digest_has_no_tag() -> None:
    digest = shelf()[BUSYBOX].digest
    reference = f"docker.io/library/busybox@{digest}"
    image = await MemoryService({reference: shelf()[BUSYBOX]}).pull(reference)
    assert [name.name for name in image.names] == [reference, str(image.record.id)]


async def test_find_by_every_kind_of_name() -> None:
    service = MemoryService()
    image = await service.pull("busybox")
    hex_ = image.record.id.hex
    for text in ("busybox", BUSYBOX, str(image.record.id), hex_, hex_[:5], f"sha256:{hex_[:5]}"):
        assert await service.find(text) == image
    for text in ("absent", "0" * 64, "UP//per", ""):
        assert await service.find(text) is None


async def test_phases_come_in_order_and_the_last_is_done() -> None:
    pictures: list[PullProgress] = []
    await MemoryService().pull("busybox", progress=pictures.append)
    assert [picture.phase for picture in pictures] == [
        *("queued", "resolving", "pulling", "pulling", "syncing", "publishing", "done")
    ]
    assert pictures[-1].downloaded == pictures[-1].total > 0


@pytest.mark.parametrize(
    ("reference", "options", "kind"),
    [
        ("absent.example/x", PullOptions(), errors.NotFound),
        ("busybox", PullOptions(platform="linux/s390x"), errors.NoMatchingPlatform),
        ("busybox", PullOptions(runtime_handler="kata"), errors.InvalidArgument),
        ("private.example/secret", PullOptions(), errors.AuthFailed),
        (
            "private.example/secret",
            PullOptions(credentials=Credentials("ann", "wrong")),
            errors.AuthFailed,
        ),
        ("UP//per", PullOptions(), errors.InvalidReference),
    ],
)
async def test_failures(
    reference: str, options: PullOptions, kind: type[errors.OrlopError]
) -> None:
    service = MemoryService(accounts={"private.example": ("ann", "s3cret")})
    with pytest.raises(kind):
        await service.pull(reference, options)
    assert await service.images() == []
    assert service.pulls() == ()


async def test_a_held_pull_runs_until_it_is_let_go_or_cancelled() -> None:
    service = MemoryService()
    gate = service.hold[BUSYBOX] = asyncio.Event()
    first = asyncio.create_task(service.pull("busybox"))
    second = asyncio.create_task(service.pull("busybox"))
    await asyncio.sleep(0)
    assert len(service.pulls()) == 2
    second.cancel()
    await asyncio.wait([second])
    assert service.cancelled == [BUSYBOX]
    gate.set()
    assert (await first).names
    assert service.pulls() == ()


async def test_the_image_goes_with_its_last_name() -> None:
    service = MemoryService()
    image = await service.pull("busybox")
    assert await service.remove_name("busybox")
    assert await service.find("busybox") is None
    (left,) = await service.images()
    assert await service.remove_name(left.names[0].name)
    assert await service.images() == []
    assert not await service.remove_name(str(image.record.id))


async def test_an_id_removes_the_image() -> None:
    service = MemoryService()
    image = await service.pull("busybox")
    assert await service.remove_name(str(image.record.id))
    assert await service.images() == []
    await service.pull("busybox")
    assert await service.remove("busybox")
    assert not await service.remove("busybox")


async def test_damage_is_found_and_repaired() -> None:
    service = MemoryService()
    image = await service.pull("busybox")
    service.damaged.add(image.record.id)
    with pytest.raises(errors.StoreCorrupt):
        await service.detail("busybox")
    (report,) = await service.check(repair=True)
    assert (len(report.problems), report.repaired) == (1, True)
    assert (await service.check())[0].problems == ()
    assert (await service.detail("busybox")).config.digest == image.record.id


async def test_an_image_may_be_there_without_a_pull() -> None:
    service = MemoryService({})
    image = service.put("a.example/b:c", build_image())
    assert await service.images() == [image]
    assert image.record.chain_id == ""
