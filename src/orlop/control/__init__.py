"""The control door: orlop.v1 and health over gRPC, and the client of orlop.v1.

``server`` serves an ``orlop.ports.service.ImageService``; ``client`` is one, over
the socket. Decides nothing about images. This module imports nothing at run
time before ``register`` is called, so that the client starts quickly.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    import grpc.aio

    from orlop.control.health import Health
    from orlop.ports.service import ImageService

SERVICES: Final = ("orlop.v1.Control",)
"""Full names of what ``register`` adds."""


def register(
    server: grpc.aio.Server,
    service: ImageService,
    *,
    version: str,
    watch: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Add orlop.v1 to a server that has not started.

    Args:
        server: the caller's; it starts and stops it.
        service: outlives the server.
        version: of orlop, as clients are told it.
        watch: entered, perhaps twice, while a call is at work on the service; its
            errors, and cancellation, pass through.
    """
    from orlop._proto import orlop_v1_pb2_grpc as rpc
    from orlop.control.server import ControlServicer

    servicer = ControlServicer(service, version=version, watch=watch)
    rpc.add_ControlServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]


def register_health(server: grpc.aio.Server, services: Iterable[str]) -> Health:
    """Add grpc.health.v1 to a server that has not started.

    Args:
        server: the caller's.
        services: full names of all others that it serves.

    Returns:
        The servicer; everything is serving until its ``stop`` is called.
    """
    from orlop._proto import health_v1_pb2_grpc as rpc
    from orlop.control.health import Health

    health = Health(services)
    rpc.add_HealthServicer_to_server(health, server)  # type: ignore[no-untyped-call]
    return health
