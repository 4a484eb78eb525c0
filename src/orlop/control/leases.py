"""Leases as orlop.v1 messages and back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from orlop._proto import orlop_v1_pb2 as pb
from orlop.ports.metadata import Lease, Resource
from orlop.ports.service import HeldLease, LeaseOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.ports.metadata import ResourceKind


def lease_to(held: HeldLease) -> pb.Lease:
    """A lease with what it lists."""
    return pb.Lease(
        id=held.lease.id,
        labels=held.lease.labels,
        created_at=held.lease.created_at,
        expires_at=held.lease.expires_at,
        resources=[pb.Resource(kind=one.kind, id=one.id) for one in held.resources],
    )


def lease_from(message: pb.Lease) -> HeldLease:
    """What ``lease_to`` was given."""
    return HeldLease(
        Lease(message.id, dict(message.labels), message.created_at, message.expires_at),
        tuple(Resource(cast("ResourceKind", one.kind), one.id) for one in message.resources),
    )


def request_to(texts: Sequence[str], options: LeaseOptions, namespace: str) -> pb.AddLeaseRequest:
    """The arguments of ``add_lease``."""
    return pb.AddLeaseRequest(
        texts=texts,
        id=options.id,
        seconds=options.seconds,
        flat=options.flat,
        namespace=namespace,
    )


def options_from(message: pb.AddLeaseRequest) -> LeaseOptions:
    """The options that ``request_to`` was given."""
    return LeaseOptions(id=message.id, seconds=message.seconds, flat=message.flat)
