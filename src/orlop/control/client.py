"""The image service of a running daemon: ``ImageService`` over orlop.v1.

What works on the service in-process works on it too: the same records come
back, and the same errors are raised. Kept light, since every command of the
command line pays for its import.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Final, Self

import grpc.aio

from orlop._proto import orlop_v1_pb2 as pb
from orlop._proto import orlop_v1_pb2_grpc as rpc
from orlop.control import convert, failure, leases, reasons
from orlop.control.address import socket_path
from orlop.errors import (
    Internal,
    OrlopError,
    PermissionDenied,
    Unavailable,
    Unimplemented,
)
from orlop.ports.service import ExportOptions, ImageDetail, LeaseOptions, PullOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from orlop.plugins.host import PluginState, Reloaded
    from orlop.ports.gc import DiskUsage, Explanation
    from orlop.ports.metadata import Image
    from orlop.ports.observe import PullProgress
    from orlop.ports.service import CheckReport, FsUsage, GCReport, HeldLease, ImportOptions

MESSAGE_BYTES: Final = 32 << 20
"""Longest message that is read: a manifest and a config at their limits, with room."""

_HOW_TO_START: Final = "start one with `orlop daemon`, or use --root to work without a daemon"


class ControlClient:
    """A daemon's image service and its plugins.

    Implements ``orlop.ports.service.ImageService`` and ``orlop.plugins.host.Host``.

    Use it as an async context manager, or ``close`` it. Making one connects
    nothing; the first call does. Calls have no deadline of their own:
    cancelling one cancels it in the daemon too.

    Beside what the service's methods raise, each raises Unavailable when no
    daemon answers and PermissionDenied when the socket may not be opened.

    Args:
        address: ``unix:///PATH`` of the daemon's socket.

    Raises:
        InvalidArgument: the address is something else.
    """

    def __init__(self, address: str) -> None:
        self._path = socket_path(address)
        self._channel: grpc.aio.Channel | None = None
        self._pinned: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel the calls that run and disconnect; a later call connects again."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def version(self) -> str:
        """Version of the daemon."""
        with self._translated():
            answer = await self._stub().Version(pb.VersionRequest())
        return str(answer.version)

    async def pull(
        self,
        reference: str,
        options: PullOptions | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> Image:
        """See ``ImageService.pull``."""
        request = pb.PullRequest(
            reference=reference, options=convert.options_to(options or PullOptions())
        )
        with self._translated():
            async for answer in self._stub().Pull(request):
                match answer.WhichOneof("event"):
                    case "progress" if progress is not None:
                        progress(convert.progress_from(answer.progress))
                    case "image":
                        return self._image(answer.image)
                    case "error":
                        raise failure.from_message(answer.error)
        raise Internal(f"the daemon ended the pull of {reference} without a result")

    async def import_images(
        self,
        source: int,
        options: ImportOptions | None = None,
        progress: Callable[[PullProgress], None] | None = None,
    ) -> list[Image]:
        """See ``ImageService.import_images``; the bytes are read here, and sent."""
        from orlop.control.sending import imported

        images = []
        with self._translated():
            async for answer in imported(self._stub().Import(), source, options):
                match answer.WhichOneof("event"):
                    case "progress" if progress is not None:
                        progress(convert.progress_from(answer.progress))
                    case "image":
                        images.append(self._image(answer.image))
                    case "error":
                        raise failure.from_message(answer.error)
        return images

    async def export(
        self, texts: Sequence[str], target: int, options: ExportOptions | None = None
    ) -> None:
        """See ``ImageService.export``; the bytes are written here."""
        from orlop.pull.descriptors import Output

        output = Output(target)
        request = convert.export_to(texts, options or ExportOptions())
        with self._translated():
            async for answer in self._stub().Export(request):
                await output.write(answer.data)

    async def find(self, text: str, namespace: str = "") -> Image | None:
        """See ``ImageService.find``."""
        with self._translated():
            answer = await self._stub().Find(pb.FindRequest(text=text, namespace=namespace))
        return self._image(answer.image) if answer.HasField("image") else None

    async def images(self, filter_text: str = "", namespace: str = "") -> list[Image]:
        """See ``ImageService.images``."""
        request = pb.ListRequest(filter=filter_text, namespace=namespace)
        with self._translated():
            return [
                self._image(image)
                async for page in self._stub().List(request)
                for image in page.images
            ]

    async def detail(self, text: str, namespace: str = "") -> ImageDetail:
        """See ``ImageService.detail``."""
        from orlop.model.image import parse_config
        from orlop.model.manifest import Manifest, parse

        with self._translated():
            answer = await self._stub().Detail(pb.DetailRequest(text=text, namespace=namespace))
        image = self._image(answer.image)
        manifest = parse(
            answer.manifest,
            media_type=answer.manifest_media_type,
            algorithm=image.record.manifest.algorithm,
        )
        if not isinstance(manifest, Manifest):
            raise Internal(f"the daemon sent an index as the manifest of {text}")
        config = parse_config(answer.config, algorithm=image.record.id.algorithm)
        return ImageDetail(image=image, manifest=manifest, config=config)

    def pinned(self, image: Image) -> bool:
        """What the daemon said when it sent ``image``; False for an image from elsewhere."""
        return str(image.record.id) in self._pinned

    async def remove(self, text: str, namespace: str = "") -> bool:
        """See ``ImageService.remove``."""
        with self._translated():
            answer = await self._stub().Remove(pb.RemoveRequest(text=text, namespace=namespace))
        return bool(answer.removed)

    async def remove_name(self, text: str, namespace: str = "") -> bool:
        """See ``ImageService.remove_name``."""
        with self._translated():
            answer = await self._stub().RemoveName(pb.RemoveRequest(text=text, namespace=namespace))
        return bool(answer.removed)

    async def mount(
        self,
        text: str,
        target: str,
        *,
        writable: bool = False,
        layer: str = "",
        namespace: str = "",
    ) -> None:
        """See ``ImageService.mount``; relative paths are below this process's directory."""
        request = pb.MountRequest(
            text=text,
            target=_absolute(target),
            writable=writable,
            layer=_absolute(layer) if layer else b"",
            namespace=namespace,
        )
        with self._translated():
            await self._stub().Mount(request)

    async def unmount(self, target: str) -> None:
        """See ``ImageService.unmount``."""
        with self._translated():
            await self._stub().Unmount(pb.UnmountRequest(target=_absolute(target)))

    async def filesystems(self) -> list[FsUsage]:
        """See ``ImageService.filesystems``."""
        with self._translated():
            answer = await self._stub().Filesystems(pb.FilesystemsRequest())
        return [convert.filesystem_from(usage) for usage in answer.filesystems]

    async def check(
        self, text: str = "", *, repair: bool = False, quick: bool = False, max_rate: int = 0
    ) -> list[CheckReport]:
        """See ``ImageService.check``."""
        request = pb.CheckRequest(text=text, repair=repair, quick=quick, max_rate=max_rate)
        with self._translated():
            return [convert.check_from(report) async for report in self._stub().Check(request)]

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        """See ``ImageService.collect``."""
        with self._translated():
            answer = await self._stub().Collect(pb.CollectRequest(dry_run=dry_run))
        return convert.collection_from(answer)

    async def why(self, text: str, namespace: str = "") -> Sequence[Explanation]:
        """See ``ImageService.why``."""
        with self._translated():
            answer = await self._stub().Why(pb.WhyRequest(text=text, namespace=namespace))
        return tuple(map(reasons.explanation_from, answer.explanations))

    async def disk_usage(self, namespace: str = "") -> DiskUsage:
        """See ``ImageService.disk_usage``."""
        with self._translated():
            answer = await self._stub().DiskUsage(pb.DiskUsageRequest(namespace=namespace))
        return reasons.usage_from(answer)

    async def leases(self, namespace: str = "") -> Sequence[HeldLease]:
        """See ``ImageService.leases``."""
        with self._translated():
            answer = await self._stub().Leases(pb.LeasesRequest(namespace=namespace))
        return tuple(map(leases.lease_from, answer.leases))

    async def add_lease(
        self, texts: Sequence[str], options: LeaseOptions | None = None, namespace: str = ""
    ) -> HeldLease:
        """See ``ImageService.add_lease``."""
        with self._translated():
            request = leases.request_to(texts, options or LeaseOptions(), namespace)
            answer = await self._stub().AddLease(request)
        return leases.lease_from(answer)

    async def remove_lease(self, id_: str, namespace: str = "") -> None:
        """See ``ImageService.remove_lease``."""
        with self._translated():
            await self._stub().RemoveLease(pb.RemoveLeaseRequest(id=id_, namespace=namespace))

    async def running(self) -> Sequence[PullProgress]:
        """See ``ImageService.running``."""
        with self._translated():
            answer = await self._stub().Pulls(pb.PullsRequest())
        return tuple(map(convert.progress_from, answer.pulls))

    async def plugins(self) -> Sequence[PluginState]:
        """See ``Host.plugins``."""
        with self._translated():
            answer = await self._stub().ListPlugins(pb.ListPluginsRequest())
        return tuple(map(convert.plugin_from, answer.plugins))

    async def reload(self) -> Reloaded:
        """See ``Host.reload``."""
        with self._translated():
            answer = await self._stub().Reload(pb.ReloadRequest())
        return convert.reloaded_from(answer)

    def _image(self, message: pb.Image) -> Image:
        if message.pinned:
            self._pinned.add(message.record.id)
        else:
            self._pinned.discard(message.record.id)
        return convert.image_from(message)

    def _stub(self) -> rpc.ControlStub:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(
                f"unix:{self._path}",
                options=(("grpc.max_receive_message_length", MESSAGE_BYTES),),
            )
        return rpc.ControlStub(self._channel)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error

    def _error(self, error: grpc.aio.AioRpcError) -> OrlopError:
        """The daemon's error, or why there is none."""
        for key, value in error.trailing_metadata() or ():
            if key == failure.METADATA_KEY:
                return failure.from_message(pb.Error.FromString(value))
        match error.code():
            case grpc.StatusCode.UNAVAILABLE:
                return _unreachable(self._path)
            case grpc.StatusCode.CANCELLED:
                return Unavailable(
                    f"the daemon at {self._path} gave up the call; it is stopping",
                    hint="try again when it has restarted",
                )
            case grpc.StatusCode.UNIMPLEMENTED:
                return Unimplemented(
                    f"what listens at {self._path} does not know this call",
                    hint="it may be another program, or an older orlop: see `orlop version`",
                )
            case code:
                return Internal(
                    f"the daemon at {self._path} answered {code.name}: {error.details()}"
                )


def _unreachable(path: str) -> OrlopError:
    """Why nobody answers at ``path``, from a connection attempt of our own.

    gRPC says it in prose that changes with its versions.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        code = probe.connect_ex(path)
    if code in (errno.EACCES, errno.EPERM):
        return PermissionDenied(
            f"may not connect to the daemon at {path}: {os.strerror(code)}",
            hint="use root, as the daemon does",
        )
    if code == 0:
        return Unavailable(
            f"the daemon at {path} closed the connection", hint="see its log, then try again"
        )
    return Unavailable(f"no daemon answers at {path}: {os.strerror(code)}", hint=_HOW_TO_START)


def _absolute(path: str) -> bytes:
    return convert.path_to(os.path.abspath(path))
