"""A client as kubelet is one: the calls of the CRI that the demonstration makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import grpc.aio

from orlop._proto import runtime_v1_pb2 as pb
from orlop._proto import runtime_v1_pb2_grpc as rpc

if TYPE_CHECKING:
    from types import TracebackType


class CriClient:
    """The CRI's ImageService at ``address``; use it in an ``async with``."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._images = rpc.ImageServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def pull(self, reference: str) -> str:
        """PullImage; returns the image id."""
        request = pb.PullImageRequest(image=pb.ImageSpec(image=reference))
        return str((await self._images.PullImage(request)).image_ref)

    async def images(self) -> list[pb.Image]:
        """ListImages."""
        return list((await self._images.ListImages(pb.ListImagesRequest())).images)

    async def status(self, text: str, *, verbose: bool = True) -> pb.ImageStatusResponse:
        """ImageStatus; verbose is with everything there is to know."""
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=text), verbose=verbose)
        answer: pb.ImageStatusResponse = await self._images.ImageStatus(request)
        return answer

    async def filesystems(self) -> list[pb.FilesystemUsage]:
        """ImageFsInfo."""
        return list((await self._images.ImageFsInfo(pb.ImageFsInfoRequest())).image_filesystems)

    async def remove(self, text: str) -> None:
        """RemoveImage."""
        await self._images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=text)))
