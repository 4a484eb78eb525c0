"""runtime.v1.ImageService: each method is one call of the image service."""

# ruff: noqa: N802, ARG002 -- names and signatures of methods are the protocol's

from __future__ import annotations

import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import structlog

from orlop._proto import runtime_v1_pb2 as pb
from orlop._proto import runtime_v1_pb2_grpc as rpc
from orlop.cri import auth, convert
from orlop.cri.listing import Listing
from orlop.cri.status import answering, pull_status
from orlop.errors import InvalidArgument, NotFound, StoreCorrupt
from orlop.ports.service import PullOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager

    from orlop.cri.status import Context
    from orlop.ports.metadata import Image
    from orlop.ports.registry import Credentials
    from orlop.ports.service import NodeImageService


class ImageServicer(rpc.ImageServiceServicer):
    """Answers kubelet and crictl. Absence is an empty answer, never an error."""

    def __init__(
        self,
        service: NodeImageService,
        *,
        watch: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._service = service
        self._listing = Listing(service)
        self._answering = partial(answering, watch=watch)

    async def ListImages(
        self, request: pb.ListImagesRequest, context: Context
    ) -> pb.ListImagesResponse:
        """All images, or those that the filter names."""
        async with self._answering(context, "ListImages"):
            return await self._list(request.filter.image.image)

    async def StreamImages(
        self, request: pb.StreamImagesRequest, context: Context
    ) -> AsyncIterator[pb.StreamImagesResponse]:
        """The same as ListImages, in messages of bounded size."""
        async with self._answering(context, "StreamImages"):
            listed = await self._list(request.filter.image.image)
        for batch in convert.batches(listed.images):
            yield pb.StreamImagesResponse(images=batch)

    async def ImageStatus(
        self, request: pb.ImageStatusRequest, context: Context
    ) -> pb.ImageStatusResponse:
        """One image; no image in the answer when it is absent or damaged."""
        async with self._answering(context, "ImageStatus", image=request.image.image):
            text = _named(request.image)
            handler = convert.handler_of(request.image)
            image = await self._service.find_for(text, handler)
            if image is None:
                return pb.ImageStatusResponse()
            item = self._item(image, handler)
            if not request.verbose:
                return pb.ImageStatusResponse(image=item)
            try:
                # By id: the name may have moved since.
                detail = await self._service.detail(str(image.record.id))
            except (NotFound, StoreCorrupt) as error:
                log = structlog.get_logger()
                log.warning("ImageStatus found a damaged image", image=text, error=error.message)
                return pb.ImageStatusResponse()
            return pb.ImageStatusResponse(image=item, info={"info": convert.to_info(detail)})

    async def PullImage(
        self, request: pb.PullImageRequest, context: Context
    ) -> pb.PullImageResponse:
        """Pull; the client's cancel, deadline or disconnect cancels it."""
        text = request.image.image
        log = structlog.get_logger().bind(image=text)
        begun = time.monotonic()
        async with self._answering(
            context, "PullImage", image=text, status_of=partial(pull_status, text)
        ):
            options = PullOptions(
                runtime_handler=convert.runtime_handler(request),
                credentials=_credentials(request),
            )
            log.info("pull started", runtime_handler=options.runtime_handler)
            image = await self._service.pull(_named(request.image), options)
        log.info("pull done", id=str(image.record.id), seconds=round(time.monotonic() - begun, 3))
        return pb.PullImageResponse(image_ref=str(image.record.id))

    async def RemoveImage(
        self, request: pb.RemoveImageRequest, context: Context
    ) -> pb.RemoveImageResponse:
        """Remove an image with all its names; nothing to remove is fine.

        With a handler only what is that handler's; without one all that has the name.
        """
        async with self._answering(context, "RemoveImage", image=request.image.image):
            text, handler = _named(request.image), convert.handler_of(request.image)
            if handler:
                await self._service.remove_for(text, handler)
            else:
                await self._service.remove(text)
        return pb.RemoveImageResponse()

    async def ImageFsInfo(
        self,
        request: pb.ImageFsInfoRequest,
        context: Context,
    ) -> pb.ImageFsInfoResponse:
        """Usage; containers' writable layers are on the images' file systems."""
        async with self._answering(context, "ImageFsInfo"):
            usages = await self._service.filesystems()
        entries = [convert.to_filesystem(usage) for usage in usages]
        return pb.ImageFsInfoResponse(image_filesystems=entries, container_filesystems=entries)

    async def _list(self, text: str) -> pb.ListImagesResponse:
        images = await self._service.images_for_node(text)
        return self._listing.some(images) if text else self._listing.whole(images)

    def _item(self, image: Image, handler: str) -> pb.Image:
        return convert.to_image(
            image,
            pinned=self._service.pinned(image),
            runtime_handler=handler or self._service.runtime_handler(image),
        )


def _named(spec: pb.ImageSpec) -> str:
    """The name in ``spec``; an empty one must never mean "any image"."""
    if not spec.image:
        raise InvalidArgument("no image specified")
    return str(spec.image)


def _credentials(request: pb.PullImageRequest) -> Credentials | None:
    """The request's credentials; those that cannot be decoded do not harm an anonymous pull."""
    try:
        return auth.credentials(request.auth)
    except InvalidArgument as error:
        log = structlog.get_logger()
        log.warning("credentials ignored", reference=request.image.image, reason=error.message)
        return auth.without_basic(request.auth)
