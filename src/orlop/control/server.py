"""orlop.v1.Control: the image service over a socket, method by method."""

# ruff: noqa: N802, ARG002 -- names and signatures of methods are the protocol's

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

import grpc.aio
import structlog

from orlop._proto import orlop_v1_pb2 as pb
from orlop._proto import orlop_v1_pb2_grpc as rpc
from orlop.control import convert, failure, leases, reasons, streams
from orlop.errors import Internal, InvalidArgument, OrlopError, Unimplemented

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from orlop.plugins.host import Host
    from orlop.ports.metadata import Image
    from orlop.ports.observe import PullProgress
    from orlop.ports.service import ImageService, ImportOptions

    Context: TypeAlias = grpc.aio.ServicerContext[object, object]
    """What a servicer's method is handed beside the request; messages pass through it unread."""

PAGE: Final = 100
"""Images in a message of List; 16 MiB have room for 160 KiB of names and labels each."""


class ControlServicer(rpc.ControlServicer):
    """Answers the command line and other clients of orlop.v1."""

    def __init__(
        self,
        service: ImageService,
        host: Host | None = None,
        *,
        version: str,
        watch: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._service = service
        self._host = host
        self._version = version
        self._watch = watch

    async def Pull(self, request: pb.PullRequest, context: Context) -> None:
        """Pull while the client listens; its leaving cancels the pull."""
        latest = Latest()
        async with self._answering(context, "Pull"), asyncio.TaskGroup() as group:
            group.create_task(_send(latest, context, pb.PullResponse))
            last = await self._pull(request, latest)
        await context.write(last)

    async def Import(self, requests: AsyncIterator[pb.ImportRequest], context: Context) -> None:
        """Take images from an archive while the client sends it; its leaving cancels that."""
        latest = Latest()
        async with self._answering(context, "Import"), asyncio.TaskGroup() as group:
            group.create_task(_send(latest, context, pb.ImportResponse))
            answers = await self._import(requests, latest)
        for answer in answers:
            await context.write(answer)

    async def Export(self, request: pb.ExportRequest, context: Context) -> None:
        """Send an archive of images."""

        async def write(target: int) -> None:
            await self._service.export(request.texts, target, convert.export_from(request))

        async with (
            self._answering(context, "Export"),
            contextlib.aclosing(streams.written(write)) as pieces,
        ):
            async for piece in pieces:
                await context.write(pb.ExportResponse(data=piece))

    async def Find(self, request: pb.FindRequest, context: Context) -> pb.FindResponse:
        """One image, or none."""
        async with self._answering(context, "Find"):
            image = await self._service.find(request.text, request.namespace)
        return pb.FindResponse(image=self._image(image) if image else None)

    async def List(
        self, request: pb.ListRequest, context: Context
    ) -> AsyncIterator[pb.ListResponse]:
        """All images, in pages."""
        async with self._answering(context, "List"):
            images = await self._service.images(request.filter, request.namespace)
        for start in range(0, len(images), PAGE):
            yield pb.ListResponse(images=map(self._image, images[start : start + PAGE]))

    async def Detail(self, request: pb.DetailRequest, context: Context) -> pb.DetailResponse:
        """An image with its documents, as they were fetched."""
        async with self._answering(context, "Detail"):
            detail = await self._service.detail(request.text, request.namespace)
        return pb.DetailResponse(
            image=self._image(detail.image),
            manifest=detail.manifest.raw,
            manifest_media_type=detail.manifest.media_type,
            config=detail.config.raw,
        )

    async def Remove(self, request: pb.RemoveRequest, context: Context) -> pb.RemoveResponse:
        """Remove an image with all its names."""
        async with self._answering(context, "Remove"):
            removed = await self._service.remove(request.text, request.namespace)
        return pb.RemoveResponse(removed=removed)

    async def RemoveName(self, request: pb.RemoveRequest, context: Context) -> pb.RemoveResponse:
        """Remove one name."""
        async with self._answering(context, "RemoveName"):
            removed = await self._service.remove_name(request.text, request.namespace)
        return pb.RemoveResponse(removed=removed)

    async def Mount(self, request: pb.MountRequest, context: Context) -> pb.MountResponse:
        """Mount an image's tree."""
        async with self._answering(context, "Mount"):
            await self._service.mount(
                request.text,
                convert.path_from(request.target),
                writable=request.writable,
                layer=convert.path_from(request.layer),
                namespace=request.namespace,
            )
        return pb.MountResponse()

    async def Unmount(self, request: pb.UnmountRequest, context: Context) -> pb.UnmountResponse:
        """Undo Mount."""
        async with self._answering(context, "Unmount"):
            await self._service.unmount(convert.path_from(request.target))
        return pb.UnmountResponse()

    async def Filesystems(
        self, request: pb.FilesystemsRequest, context: Context
    ) -> pb.FilesystemsResponse:
        """Usage by file system."""
        async with self._answering(context, "Filesystems"):
            usages = await self._service.filesystems()
        return pb.FilesystemsResponse(filesystems=map(convert.filesystem_to, usages))

    async def Check(
        self, request: pb.CheckRequest, context: Context
    ) -> AsyncIterator[pb.CheckReport]:
        """Verify one image, or all."""
        async with self._answering(context, "Check"):
            reports = await self._service.check(
                request.text,
                repair=request.repair,
                quick=request.quick,
                max_rate=max(0, request.max_rate),
            )
        for report in reports:
            yield convert.check_to(report)

    async def Collect(self, request: pb.CollectRequest, context: Context) -> pb.CollectResponse:
        """Remove what nothing refers to."""
        async with self._answering(context, "Collect"):
            report = await self._service.collect(dry_run=request.dry_run)
        return convert.collection_to(report)

    async def Why(self, request: pb.WhyRequest, context: Context) -> pb.WhyResponse:
        """What keeps an image, a blob or a snapshot."""
        async with self._answering(context, "Why"):
            found = await self._service.why(request.text, request.namespace)
        return pb.WhyResponse(explanations=map(reasons.explanation_to, found))

    async def DiskUsage(
        self, request: pb.DiskUsageRequest, context: Context
    ) -> pb.DiskUsageResponse:
        """What images occupy."""
        async with self._answering(context, "DiskUsage"):
            usage = await self._service.disk_usage(request.namespace)
        return reasons.usage_to(usage)

    async def Leases(self, request: pb.LeasesRequest, context: Context) -> pb.LeasesResponse:
        """All leases, with what they keep."""
        async with self._answering(context, "Leases"):
            found = await self._service.leases(request.namespace)
        return pb.LeasesResponse(leases=map(leases.lease_to, found))

    async def AddLease(self, request: pb.AddLeaseRequest, context: Context) -> pb.Lease:
        """Keep things from being collected."""
        async with self._answering(context, "AddLease"):
            held = await self._service.add_lease(
                request.texts, leases.options_from(request), request.namespace
            )
        return leases.lease_to(held)

    async def RemoveLease(
        self, request: pb.RemoveLeaseRequest, context: Context
    ) -> pb.RemoveLeaseResponse:
        """Remove a lease."""
        async with self._answering(context, "RemoveLease"):
            await self._service.remove_lease(request.id, request.namespace)
        return pb.RemoveLeaseResponse()

    async def Pulls(self, request: pb.PullsRequest, context: Context) -> pb.PullsResponse:
        """Pictures of the pulls that run now."""
        async with self._answering(context, "Pulls"):
            running = await self._service.running()
        return pb.PullsResponse(pulls=map(convert.progress_to, running))

    async def Version(self, request: pb.VersionRequest, context: Context) -> pb.VersionResponse:
        """Version of the daemon."""
        return pb.VersionResponse(version=self._version)

    async def ListPlugins(
        self, request: pb.ListPluginsRequest, context: Context
    ) -> pb.ListPluginsResponse:
        """What became of each plugin."""
        async with self._answering(context, "ListPlugins"):
            states = await self._plugins().plugins()
        return pb.ListPluginsResponse(plugins=map(convert.plugin_to, states))

    async def Reload(self, request: pb.ReloadRequest, context: Context) -> pb.ReloadResponse:
        """Read the configuration again."""
        async with self._answering(context, "Reload"):
            reloaded = await self._plugins().reload()
        return convert.reloaded_to(reloaded)

    def _plugins(self) -> Host:
        if self._host is None:
            raise Unimplemented("this service is not made of plugins")
        return self._host

    async def _pull(self, request: pb.PullRequest, latest: Latest) -> pb.PullResponse:
        """Pull, and make the outcome the last message of the stream."""
        log = structlog.get_logger().bind(image=request.reference)
        log.info("pull started")
        begun = time.monotonic()
        try:
            options = convert.options_from(request.options)
            with self._watch():
                image = await self._service.pull(request.reference, options, latest.put)
        except OrlopError as error:
            log.warning("pull failed", code=error.code.value, error=error.message)
            return pb.PullResponse(error=failure.to_message(error))
        finally:
            latest.close()
        seconds = round(time.monotonic() - begun, 3)
        log.info("pull done", id=str(image.record.id), seconds=seconds)
        return pb.PullResponse(image=self._image(image))

    async def _import(
        self, requests: AsyncIterator[pb.ImportRequest], latest: Latest
    ) -> list[pb.ImportResponse]:
        """Import, and make the outcome the last messages of the stream."""
        log = structlog.get_logger()
        log.info("import started")
        try:
            options = await _first(requests)
            with self._watch():
                async with streams.readable(_data(requests)) as source:
                    images = await self._service.import_images(source, options, latest.put)
        except OrlopError as error:
            log.warning("import failed", code=error.code.value, error=error.message)
            return [pb.ImportResponse(error=failure.to_message(error))]
        finally:
            latest.close()
        log.info("import done", ids=[str(image.record.id) for image in images])
        return [pb.ImportResponse(image=self._image(image)) for image in images]

    @contextlib.asynccontextmanager
    async def _answering(self, context: Context, call: str) -> AsyncIterator[None]:
        """End the call with a status when the block fails; log that it did.

        The codes of ``orlop.errors`` have the names of gRPC's. An error that is
        not ours is a defect: it is logged with its traceback, and the client
        learns its type only. Cancellation passes.
        """
        log = structlog.get_logger().bind(call=call)
        try:
            with self._watch():
                yield
            return
        except asyncio.CancelledError:
            log.info("call cancelled")
            raise
        except OrlopError as error:
            cause = error
        except Exception as error:
            log.exception("call failed by a defect")
            cause = Internal(f"{call}: unexpected {type(error).__name__}")
        log.warning("call failed", code=cause.code.value, error=cause.message)
        message = failure.to_message(cause)
        await context.abort(
            grpc.StatusCode[message.code],
            failure.details(cause),
            trailing_metadata=((failure.METADATA_KEY, message.SerializeToString()),),
        )

    def _image(self, image: Image) -> pb.Image:
        return convert.image_to(image, pinned=self._service.pinned(image))


class Latest:
    """Hands pictures of a pull to one reader, who may be slow: it sees the newest one."""

    def __init__(self) -> None:
        self._picture: PullProgress | None = None
        self._closed = False
        self._changed = asyncio.Event()

    def put(self, picture: PullProgress) -> None:
        """Show ``picture``; one that was not read yet is forgotten."""
        self._picture = picture
        self._changed.set()

    def close(self) -> None:
        """No more pictures; the reader gets the last one first."""
        self._closed = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[PullProgress]:
        while True:
            await self._changed.wait()
            self._changed.clear()
            picture, self._picture = self._picture, None
            if picture is not None:
                yield picture
            if self._closed and self._picture is None:
                return


async def _send(
    latest: Latest, context: Context, kind: type[pb.PullResponse | pb.ImportResponse]
) -> None:
    async for picture in latest:
        await context.write(kind(progress=convert.progress_to(picture)))


async def _first(requests: AsyncIterator[pb.ImportRequest]) -> ImportOptions:
    """The options of an import. Raises InvalidArgument."""
    async for request in requests:
        if request.WhichOneof("part") == "options":
            return convert.import_from(request.options)
        break
    raise InvalidArgument("an import begins with its options")


async def _data(requests: AsyncIterator[pb.ImportRequest]) -> AsyncIterator[bytes]:
    """The bytes of an import. Raises InvalidArgument."""
    async for request in requests:
        if request.WhichOneof("part") != "data":
            raise InvalidArgument("an import has its options once, and then bytes")
        yield request.data
