"""Records of the ports as orlop.v1 messages, and back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from orlop._proto import orlop_v1_pb2 as pb
from orlop.errors import InvalidArgument
from orlop.model.digest import Digest
from orlop.model.quote import quote
from orlop.plugins.host import PluginState, Reloaded
from orlop.ports.metadata import Image, ImageName, ImageRecord, Target, Usage
from orlop.ports.observe import LayerProgress, PullProgress, Span
from orlop.ports.registry import Credentials
from orlop.ports.service import (
    CheckReport,
    ExportOptions,
    FsUsage,
    GCReport,
    ImportOptions,
    PullOptions,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.plugins.host import State
    from orlop.ports.observe import Activity, LayerPhase, PullPhase


def image_to(image: Image, *, pinned: bool) -> pb.Image:
    """An image with all its names."""
    record = image.record
    return pb.Image(
        record=pb.ImageRecord(
            id=str(record.id),
            manifest=str(record.manifest),
            platform=record.platform,
            snapshotter=record.snapshotter,
            chain_id=record.chain_id,
            user=record.user,
            content_bytes=record.content_bytes,
            unpacked_bytes=record.unpacked_bytes,
            synced=record.synced,
            created_at=record.created_at,
        ),
        names=map(_name_to, image.names),
        pinned=pinned,
    )


def image_from(message: pb.Image) -> Image:
    """What ``image_to`` was given."""
    record = message.record
    return Image(
        record=ImageRecord(
            id=Digest.parse(record.id),
            manifest=Digest.parse(record.manifest),
            platform=record.platform,
            snapshotter=record.snapshotter,
            chain_id=record.chain_id,
            user=record.user,
            content_bytes=record.content_bytes,
            unpacked_bytes=record.unpacked_bytes,
            synced=record.synced,
            created_at=record.created_at,
        ),
        names=tuple(map(_name_from, message.names)),
    )


def import_to(options: ImportOptions) -> pb.ImportOptions:
    """What to take from an archive."""
    return pb.ImportOptions(
        name=options.name,
        base_name=options.base_name,
        platforms=options.platforms,
        all_platforms=options.all_platforms,
        snapshotter=options.snapshotter,
        namespace=options.namespace,
    )


def import_from(message: pb.ImportOptions) -> ImportOptions:
    """What ``import_to`` was given."""
    return ImportOptions(
        name=message.name,
        base_name=message.base_name,
        platforms=tuple(message.platforms),
        all_platforms=message.all_platforms,
        snapshotter=message.snapshotter,
        namespace=message.namespace,
    )


def export_to(texts: Sequence[str], options: ExportOptions) -> pb.ExportRequest:
    """Which images to write into an archive, and how."""
    return pb.ExportRequest(
        texts=texts,
        format=options.format,
        platforms=options.platforms,
        all_platforms=options.all_platforms,
        namespace=options.namespace,
    )


def export_from(message: pb.ExportRequest) -> ExportOptions:
    """The options that ``export_to`` was given. Raises InvalidArgument."""
    match message.format:
        case "oci" | "docker" as known:
            return ExportOptions(
                format=known,
                platforms=tuple(message.platforms),
                all_platforms=message.all_platforms,
                namespace=message.namespace,
            )
        case unknown:
            raise InvalidArgument(f"archive format {quote(unknown)} is neither oci nor docker")


def options_to(options: PullOptions) -> pb.PullOptions:
    """How to pull, with the credentials."""
    message = pb.PullOptions(
        platform=options.platform,
        snapshotter=options.snapshotter,
        runtime_handler=options.runtime_handler,
        namespace=options.namespace,
    )
    if options.credentials is not None:
        message.credentials.CopyFrom(_credentials_to(options.credentials))
    return message


def options_from(message: pb.PullOptions) -> PullOptions:
    """What ``options_to`` was given."""
    given = message.credentials
    return PullOptions(
        platform=message.platform,
        snapshotter=message.snapshotter,
        runtime_handler=message.runtime_handler,
        namespace=message.namespace,
        credentials=Credentials(
            username=given.username,
            password=given.password,
            identity_token=given.identity_token,
            registry_token=given.registry_token,
            server_address=given.server_address,
        )
        if message.HasField("credentials")
        else None,
    )


def progress_to(progress: PullProgress) -> pb.PullProgress:
    """A picture of a pull."""
    return pb.PullProgress(
        reference=progress.reference,
        platform=progress.platform,
        phase=progress.phase,
        elapsed=progress.elapsed,
        layers=[
            pb.LayerProgress(
                digest=str(layer.digest),
                size=layer.size,
                phase=layer.phase,
                downloaded=layer.downloaded,
                unpacked=layer.unpacked,
            )
            for layer in progress.layers
        ],
        resolved=str(progress.resolved or ""),
        error=progress.error,
        spans=map(_span_to, progress.spans),
    )


def progress_from(message: pb.PullProgress) -> PullProgress:
    """What ``progress_to`` was given."""
    return PullProgress(
        reference=message.reference,
        platform=message.platform,
        phase=cast("PullPhase", message.phase),
        elapsed=message.elapsed,
        layers=tuple(
            LayerProgress(
                digest=Digest.parse(layer.digest),
                size=layer.size,
                phase=cast("LayerPhase", layer.phase),
                downloaded=layer.downloaded,
                unpacked=layer.unpacked,
            )
            for layer in message.layers
        ),
        resolved=Digest.parse(message.resolved) if message.resolved else None,
        error=message.error,
        spans=tuple(map(_span_from, message.spans)),
    )


def _span_to(span: Span) -> pb.Span:
    return pb.Span(
        activity=span.activity,
        start=span.start,
        end=span.end,
        layer=str(span.layer or ""),
        bytes=span.bytes,
        host=span.host,
        writing=span.writing,
        moments=[at for at, _ in span.growth],
        totals=[total for _, total in span.growth],
    )


def _span_from(message: pb.Span) -> Span:
    return Span(
        activity=cast("Activity", message.activity),
        start=message.start,
        end=message.end,
        layer=Digest.parse(message.layer) if message.layer else None,
        bytes=message.bytes,
        host=message.host,
        writing=message.writing,
        growth=tuple(zip(message.moments, message.totals, strict=True)),
    )


def filesystem_to(usage: FsUsage) -> pb.FilesystemUsage:
    """Usage of one file system; the path as bytes, since it need not be UTF-8."""
    return pb.FilesystemUsage(
        mountpoint=path_to(usage.mountpoint),
        timestamp=usage.timestamp,
        bytes=usage.usage.bytes,
        inodes=usage.usage.inodes,
    )


def filesystem_from(message: pb.FilesystemUsage) -> FsUsage:
    """What ``filesystem_to`` was given."""
    return FsUsage(
        mountpoint=path_from(message.mountpoint),
        timestamp=message.timestamp,
        usage=Usage(bytes=message.bytes, inodes=message.inodes),
    )


def check_to(report: CheckReport) -> pb.CheckReport:
    """What a check found for one image."""
    return pb.CheckReport(
        image_id=report.image_id,
        names=report.names,
        problems=report.problems,
        repaired=report.repaired,
        unrepaired=report.unrepaired,
    )


def check_from(message: pb.CheckReport) -> CheckReport:
    """What ``check_to`` was given."""
    return CheckReport(
        image_id=message.image_id,
        names=tuple(message.names),
        problems=tuple(message.problems),
        repaired=message.repaired,
        unrepaired=message.unrepaired,
    )


def collection_to(report: GCReport) -> pb.CollectResponse:
    """What a collection removed."""
    return pb.CollectResponse(
        images=report.images,
        blobs=report.blobs,
        snapshots=report.snapshots,
        bytes=report.bytes,
    )


def collection_from(message: pb.CollectResponse) -> GCReport:
    """What ``collection_to`` was given."""
    return GCReport(
        images=message.images,
        blobs=message.blobs,
        snapshots=message.snapshots,
        bytes=message.bytes,
    )


def path_to(path: str) -> bytes:
    """A path as the kernel has it."""
    return path.encode(errors="surrogateescape")


def path_from(path: bytes) -> str:
    """A path as Python has it."""
    return path.decode(errors="surrogateescape")


def _name_to(name: ImageName) -> pb.ImageName:
    return pb.ImageName(
        name=name.name,
        target=pb.Target(
            media_type=name.target.media_type,
            digest=str(name.target.digest),
            size=name.target.size,
        ),
        image_id=str(name.image_id),
        labels=name.labels,
        created_at=name.created_at,
        updated_at=name.updated_at,
    )


def _name_from(message: pb.ImageName) -> ImageName:
    return ImageName(
        name=message.name,
        target=Target(
            media_type=message.target.media_type,
            digest=Digest.parse(message.target.digest),
            size=message.target.size,
        ),
        image_id=Digest.parse(message.image_id),
        labels=dict(message.labels),
        created_at=message.created_at,
        updated_at=message.updated_at,
    )


def _credentials_to(given: Credentials) -> pb.Credentials:
    return pb.Credentials(
        username=given.username,
        password=given.password,
        identity_token=given.identity_token,
        registry_token=given.registry_token,
        server_address=given.server_address,
    )


def plugin_to(state: PluginState) -> pb.Plugin:
    """What became of a plugin."""
    return pb.Plugin(
        type=state.type,
        id=state.id,
        state=state.state,
        reason=state.reason,
        requires=state.requires,
        exports=state.exports,
    )


def plugin_from(message: pb.Plugin) -> PluginState:
    """The reverse of ``plugin_to``."""
    return PluginState(
        message.type,
        message.id,
        cast("State", message.state),
        message.reason,
        tuple(message.requires),
        dict(message.exports),
    )


def reloaded_to(reloaded: Reloaded) -> pb.ReloadResponse:
    """What became of a configuration that was read again."""
    return pb.ReloadResponse(
        applied=reloaded.applied, restart=reloaded.restart, warnings=reloaded.warnings
    )


def reloaded_from(message: pb.ReloadResponse) -> Reloaded:
    """The reverse of ``reloaded_to``."""
    return Reloaded(tuple(message.applied), tuple(message.restart), tuple(message.warnings))
