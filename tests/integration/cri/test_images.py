"""ImageService over a socket, called as crictl and kubelet call it."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING

import grpc
import pytest

from orlop import errors
from orlop._proto import runtime_v1_pb2 as pb
from orlop.model.digest import Digest
from orlop.ports.service import PullOptions
from orlop.testing.images import build_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Door

BUSYBOX = "docker.io/library/busybox:latest"
APP = "registry.example/team/app:v1"
DEADLINE = 2.0
"""Seconds that crictl gives every call but a pull."""


def spec(image: str) -> pb.ImageSpec:
    return pb.ImageSpec(image=image)


async def pull(door: Door, image: str) -> str:
    answer = await door.images.PullImage(pb.PullImageRequest(image=spec(image)))
    return str(answer.image_ref)


async def status(door: Door, image: str, *, verbose: bool = False) -> pb.ImageStatusResponse:
    request = pb.ImageStatusRequest(image=spec(image), verbose=verbose)
    answer: pb.ImageStatusResponse = await door.images.ImageStatus(request, timeout=DEADLINE)
    return answer


async def listed(door: Door, name: str = "") -> list[pb.Image]:
    request = pb.ListImagesRequest(filter=pb.ImageFilter(image=spec(name)))
    return list((await door.images.ListImages(request, timeout=DEADLINE)).images)


def asked(door: Door, method: str) -> list[tuple[object, ...]]:
    return [call.arguments for call in door.service.calls if call.method == method]


class TestPull:
    async def test_the_answer_is_the_id_under_which_it_is_listed(self, door: Door) -> None:
        image_ref = await pull(door, "busybox")
        (item,) = await listed(door)
        assert image_ref == item.id
        assert asked(door, "pull") == [("busybox", PullOptions())]

    async def test_credentials_reach_the_service(self, door: Door) -> None:
        request = pb.PullImageRequest(image=spec("private.example/secret"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await door.images.PullImage(request)
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
        request.auth.auth = base64.b64encode(b"ann:s3cret").decode()
        assert (await door.images.PullImage(request)).image_ref
        request.auth.Clear()
        request.auth.username, request.auth.password = "ann", "s3cret"
        assert (await door.images.PullImage(request)).image_ref

    async def test_credentials_that_cannot_be_decoded_do_no_harm(self, door: Door) -> None:
        request = pb.PullImageRequest(image=spec("busybox"), auth=pb.AuthConfig(auth="!!!"))
        assert (await door.images.PullImage(request)).image_ref
        assert asked(door, "pull") == [("busybox", PullOptions())]

    async def test_the_runtime_handler_reaches_the_service(self, door: Door) -> None:
        request = pb.PullImageRequest(image=spec("busybox"))
        request.sandbox_config.annotations["io.containerd.cri.runtime-handler"] = "runc"
        assert (await door.images.PullImage(request)).image_ref
        request.image.runtime_handler = "nowhere"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await door.images.PullImage(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        handlers = [call[1].runtime_handler for call in asked(door, "pull")]  # type: ignore[attr-defined]
        assert handlers == ["runc", "nowhere"]

    @pytest.mark.parametrize(
        ("error", "code", "message"),
        [
            (
                errors.RegistryUnavailable("docker.io: connection refused"),
                grpc.StatusCode.UNKNOWN,
                "RegistryUnavailable: docker.io: connection refused",
            ),
            (
                errors.SignatureRejected("nobody signed it"),
                grpc.StatusCode.UNKNOWN,
                "SignatureValidationFailed: nobody signed it",
            ),
            (
                errors.RegistryRejected("docker.io: 403 Forbidden", status=403),
                grpc.StatusCode.UNKNOWN,
                "docker.io: 403 Forbidden",
            ),
            (
                errors.NotFound(f"{BUSYBOX}"),
                grpc.StatusCode.NOT_FOUND,
                f"{BUSYBOX}: not found",
            ),
            (
                errors.Stalled("docker.io sent nothing for 5m0s"),
                grpc.StatusCode.CANCELLED,
                "docker.io sent nothing for 5m0s: context canceled",
            ),
            (
                errors.DigestMismatch("layer 0123: other bytes"),
                grpc.StatusCode.DATA_LOSS,
                "layer 0123: other bytes: data loss",
            ),
            (
                errors.StoreFull("no space left"),
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "no space left: resource exhausted",
            ),
        ],
    )
    async def test_failures(
        self, door: Door, error: errors.OrlopError, code: grpc.StatusCode, message: str
    ) -> None:
        door.service.failures[BUSYBOX] = error
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pull(door, "busybox")
        assert (caught.value.code(), caught.value.details()) == (code, message)

    async def test_a_reference_that_does_not_parse(self, door: Door) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pull(door, "team/UPPER")
        assert caught.value.code() is grpc.StatusCode.UNKNOWN
        assert str(caught.value.details()).startswith(
            'failed to parse image reference "team/UPPER": '
        )

    async def test_a_defect_is_told_by_its_type_only(
        self, door: Door, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(*_: object) -> None:
            raise ZeroDivisionError("s3cret")

        monkeypatch.setattr(door.service, "pull", broken)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pull(door, "busybox")
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert caught.value.details() == "PullImage: unexpected ZeroDivisionError: internal"

    async def test_the_clients_cancel_cancels_the_pull(self, door: Door) -> None:
        door.service.hold[BUSYBOX] = asyncio.Event()
        call = door.images.PullImage(pb.PullImageRequest(image=spec("busybox")))
        await until(lambda: bool(door.service.pulls()))
        assert call.cancel()
        await until(lambda: door.service.cancelled == [BUSYBOX])
        assert not door.service.pulls()
        assert await listed(door) == []

    async def test_the_clients_deadline_cancels_the_pull(self, door: Door) -> None:
        door.service.hold[BUSYBOX] = asyncio.Event()
        request = pb.PullImageRequest(image=spec("busybox"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await door.images.PullImage(request, timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: door.service.cancelled == [BUSYBOX])

    async def test_a_client_that_goes_away_cancels_its_pull(self, door: Door) -> None:
        door.service.hold[BUSYBOX] = asyncio.Event()
        call = door.images.PullImage(pb.PullImageRequest(image=spec("busybox")))
        await until(lambda: bool(door.service.pulls()))
        await door.channel.close()
        await until(lambda: door.service.cancelled == [BUSYBOX])
        assert call.done()


class TestStatus:
    async def test_by_every_kind_of_name(self, door: Door) -> None:
        id_ = await pull(door, "busybox")
        by_digest = (await status(door, id_)).image.repo_digests[0]
        hex_ = id_.removeprefix("sha256:")
        for text in ("busybox", BUSYBOX, by_digest, id_, hex_, hex_[:6], f"sha256:{hex_[:6]}"):
            assert (await status(door, text)).image.id == id_

    @pytest.mark.parametrize("text", ["nowhere.example/x", "sha256:" + "0" * 64, "UP//per", "::"])
    async def test_absence_is_no_error(self, door: Door, text: str) -> None:
        answer = await status(door, text, verbose=True)
        assert not answer.HasField("image")
        assert not answer.info

    async def test_an_ambiguous_prefix(self, door: Door) -> None:
        await many(door, 17)  # two of them start with the same digit
        first = sorted(item.id.removeprefix("sha256:")[0] for item in await listed(door))
        twice = next(digit for digit in first if first.count(digit) > 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await status(door, twice)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "ambiguous" in str(caught.value.details())

    async def test_what_crictl_inspecti_prints(self, door: Door) -> None:
        id_ = await pull(door, APP)
        answer = await status(door, id_, verbose=True)
        assert list(answer.info) == ["info"]
        info = json.loads(answer.info["info"])
        detail = await door.service.detail(id_)
        assert info["chainID"] == detail.image.record.chain_id
        assert info["imageSpec"] == json.loads(detail.config.raw)
        assert info["imageSpec"]["config"]["Labels"] == {"tier": "front"}
        assert answer.image == (await status(door, id_)).image
        assert (answer.image.username, answer.image.HasField("uid")) == ("www-data", False)

    async def test_a_damaged_image_is_absent(self, door: Door) -> None:
        id_ = await pull(door, "busybox")
        door.service.damaged.add(Digest.parse(id_))
        assert not (await status(door, id_, verbose=True)).HasField("image")


class TestList:
    async def test_one_image_with_several_names_is_one_item(self, door: Door) -> None:
        ids = {await pull(door, "busybox"), await pull(door, "busybox:1.37")}
        (item,) = await listed(door)
        assert ids == {item.id}
        assert list(item.repo_tags) == ["docker.io/library/busybox:1.37", BUSYBOX]
        (by_digest,) = item.repo_digests
        assert by_digest.startswith("docker.io/library/busybox@sha256:")
        assert (item.uid.value, item.username) == (1000, "")
        assert item.size > 3000

    async def test_the_filter_names_one_image(self, door: Door) -> None:
        await pull(door, "busybox")
        app = await pull(door, APP)
        assert len(await listed(door)) == 2
        assert [item.id for item in await listed(door, APP)] == [app]
        assert await listed(door, "absent") == []
        assert asked(door, "images") == [("", ""), (APP, ""), ("absent", "")]

    async def test_no_filter_at_all_is_all(self, door: Door) -> None:
        await pull(door, "busybox")
        answer = await door.images.ListImages(pb.ListImagesRequest(), timeout=DEADLINE)
        assert len(answer.images) == 1

    async def test_pinned(self, door: Door) -> None:
        id_ = await pull(door, "busybox")
        assert not (await listed(door))[0].pinned
        door.service.pins.add(Digest.parse(id_))
        assert (await listed(door))[0].pinned
        assert (await status(door, id_)).image.pinned

    async def test_ten_thousand_images_fit_into_one_answer(self, door: Door) -> None:
        await many(door, 10_000)
        answer = await door.images.ListImages(pb.ListImagesRequest(), timeout=DEADLINE)
        assert len(answer.images) == 10_000
        assert answer.ByteSize() < 8 << 20

    async def test_streaming_sends_each_once_in_small_messages(self, door: Door) -> None:
        await many(door, 10_000)
        ids: list[str] = []
        sizes: list[int] = []
        async for message in door.images.StreamImages(pb.StreamImagesRequest(), timeout=5):
            ids += [item.id for item in message.images]
            sizes.append(message.ByteSize())
        assert len(ids) == len(set(ids)) == 10_000
        assert len(sizes) > 1
        assert max(sizes) < 2 << 20

    async def test_streaming_nothing_is_no_message(self, door: Door) -> None:
        call = door.images.StreamImages(pb.StreamImagesRequest(), timeout=DEADLINE)
        assert [message async for message in call] == []
        assert await call.code() is grpc.StatusCode.OK

    async def test_streaming_honours_the_filter(self, door: Door) -> None:
        await pull(door, "busybox")
        app = await pull(door, APP)
        request = pb.StreamImagesRequest(filter=pb.ImageFilter(image=spec(APP)))
        call = door.images.StreamImages(request, timeout=DEADLINE)
        assert [[item.id for item in message.images] async for message in call] == [[app]]

    async def test_a_failing_service_fails_both(self, door: Door) -> None:
        async def failing(*_: object) -> None:
            raise errors.StoreCorrupt("€" * 9999)

        door.service.images = failing  # type: ignore[method-assign, assignment]
        request = pb.ListImagesRequest()
        stream = door.images.StreamImages(pb.StreamImagesRequest())
        for call in (door.images.ListImages(request), anext(aiter(stream))):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.DATA_LOSS
            assert 500 < len(str(caught.value.details()).encode()) <= 512


class TestRemove:
    async def test_by_any_name_goes_the_image_with_all_its_names(self, door: Door) -> None:
        await pull(door, "busybox")
        await pull(door, "busybox:1.37")
        request = pb.RemoveImageRequest(image=spec("busybox:1.37"))
        await door.images.RemoveImage(request, timeout=DEADLINE)
        assert await listed(door) == []

    @pytest.mark.parametrize("text", ["absent", "sha256:" + "0" * 64, "UP//per"])
    async def test_nothing_to_remove_is_fine(self, door: Door, text: str) -> None:
        await door.images.RemoveImage(pb.RemoveImageRequest(image=spec(text)), timeout=DEADLINE)
        assert asked(door, "remove") == [(text, "")]


@pytest.mark.parametrize("method", ["ImageStatus", "PullImage", "RemoveImage"])
@pytest.mark.parametrize("image", [None, pb.ImageSpec(), pb.ImageSpec(annotations={"a": "b"})])
async def test_an_empty_name_never_means_some_image(
    door: Door, method: str, image: pb.ImageSpec | None
) -> None:
    await pull(door, "busybox")
    request = getattr(pb, f"{method}Request")(image=image)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(door.images, method)(request, timeout=DEADLINE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "no image specified: invalid argument"
    assert len(await listed(door)) == 1


async def test_image_fs_info(door: Door) -> None:
    """The probe before every command of crictl, and before kubelet starts."""
    answer = await door.images.ImageFsInfo(pb.ImageFsInfoRequest(), timeout=DEADLINE)
    assert answer.image_filesystems == answer.container_filesystems
    (empty,) = answer.image_filesystems
    assert empty.timestamp > 0
    assert empty.fs_id.mountpoint == "/"
    await pull(door, "busybox")
    answer = await door.images.ImageFsInfo(pb.ImageFsInfoRequest(), timeout=DEADLINE)
    (item,) = await listed(door)
    assert answer.image_filesystems[0].used_bytes.value == item.size
    assert answer.image_filesystems[0].inodes_used.value == 10


async def test_crictl_rmi(door: Door) -> None:
    """ImageFsInfo, ImageStatus, RemoveImage on one connection, and absent afterwards."""
    id_ = await pull(door, "busybox")
    await door.images.ImageFsInfo(pb.ImageFsInfoRequest(), timeout=DEADLINE)
    assert (await status(door, id_)).image.id == id_
    await door.images.RemoveImage(pb.RemoveImageRequest(image=spec(id_)), timeout=DEADLINE)
    assert not (await status(door, id_)).HasField("image")


async def many(door: Door, count: int) -> None:
    """Have ``count`` images with names as long as real ones are."""
    for number in range(count):
        built = build_image(config={"author": str(number)})
        door.service.put(f"registry-{number}.example.com:5000/platform/team/service:v1.2.3", built)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 -- the service has no event for it
            await asyncio.sleep(0.01)
