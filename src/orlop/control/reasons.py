"""What keeps things, and what they occupy, as orlop.v1 messages and back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from orlop._proto import orlop_v1_pb2 as pb
from orlop.model.digest import Digest
from orlop.ports.gc import Chain, DiskUsage, Explanation, ImageUsage, Link

if TYPE_CHECKING:
    from orlop.ports.gc import KeeperKind, ThingKind


def explanation_to(explanation: Explanation) -> pb.Explanation:
    """What keeps one thing."""
    return pb.Explanation(
        namespace=explanation.namespace,
        kind=explanation.kind,
        id=explanation.id,
        bytes=explanation.bytes,
        chains=map(_chain_to, explanation.chains),
    )


def explanation_from(message: pb.Explanation) -> Explanation:
    """What ``explanation_to`` was given."""
    return Explanation(
        namespace=message.namespace,
        kind=cast("ThingKind", message.kind),
        id=message.id,
        bytes=message.bytes,
        chains=tuple(map(_chain_from, message.chains)),
    )


def usage_to(usage: DiskUsage) -> pb.DiskUsageResponse:
    """What images occupy."""
    return pb.DiskUsageResponse(
        namespace=usage.namespace,
        images=[
            pb.ImageUsage(
                id=str(image.id),
                names=image.names,
                snapshotters=image.snapshotters,
                bytes=image.bytes,
                unique_bytes=image.unique_bytes,
            )
            for image in usage.images
        ],
        image_bytes=usage.image_bytes,
        kept_bytes=usage.kept_bytes,
        garbage_bytes=usage.garbage_bytes,
        elsewhere_bytes=usage.elsewhere_bytes,
        trash_bytes=usage.trash_bytes,
    )


def usage_from(message: pb.DiskUsageResponse) -> DiskUsage:
    """What ``usage_to`` was given."""
    return DiskUsage(
        namespace=message.namespace,
        images=tuple(
            ImageUsage(
                id=Digest.parse(image.id),
                names=tuple(image.names),
                snapshotters=tuple(image.snapshotters),
                bytes=image.bytes,
                unique_bytes=image.unique_bytes,
            )
            for image in message.images
        ),
        image_bytes=message.image_bytes,
        kept_bytes=message.kept_bytes,
        garbage_bytes=message.garbage_bytes,
        elsewhere_bytes=message.elsewhere_bytes,
        trash_bytes=message.trash_bytes,
    )


def _chain_to(chain: Chain) -> pb.Chain:
    return pb.Chain(
        keeper=chain.keeper,
        id=chain.id,
        detail=chain.detail,
        expires_at=chain.expires_at,
        links=[pb.Link(by=link.by, kind=link.kind, id=link.id) for link in chain.links],
    )


def _chain_from(message: pb.Chain) -> Chain:
    return Chain(
        keeper=cast("KeeperKind", message.keeper),
        id=message.id,
        detail=message.detail,
        expires_at=message.expires_at,
        links=tuple(Link(link.by, cast("ThingKind", link.kind), link.id) for link in message.links),
    )
