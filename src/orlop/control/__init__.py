"""The control door: orlop.v1 and health over gRPC, and the client of orlop.v1.

``server`` serves an ``orlop.ports.service.ImageService``; ``client`` is one, over
the socket. Decides nothing about images. This module imports nothing at run
time before a door is registered, so that the client starts quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import grpc.aio

    from orlop.control.health import Health
    from orlop.plugins.host import Host
    from orlop.ports.doors import Watch
    from orlop.ports.service import ImageService


class ControlDoor:
    """An ``orlop.ports.doors.Door`` for orlop's own command line.

    Args:
        service: outlives the server.
        host: ditto; None when there are no plugins to show.
        version: of orlop, as clients are told it.
    """

    services = ("orlop.v1.Control",)

    def __init__(self, service: ImageService, host: Host | None, *, version: str) -> None:
        self._service = service
        self._host = host
        self._version = version

    def register(self, server: grpc.aio.Server, watch: Watch) -> None:
        """See the port."""
        from orlop._proto import orlop_v1_pb2_grpc as rpc
        from orlop.control.server import ControlServicer

        servicer = ControlServicer(self._service, self._host, version=self._version, watch=watch)
        rpc.add_ControlServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """See the port; nobody waits for news here."""


class HealthDoor:
    """An ``orlop.ports.doors.Door`` that says whether the daemon serves: grpc.health.v1.

    Args:
        others: full names of all other services.
    """

    services = ("grpc.health.v1.Health",)

    def __init__(self, others: Iterable[str]) -> None:
        self.others = tuple(others)
        self._health: Health | None = None

    def register(self, server: grpc.aio.Server, watch: Watch) -> None:  # noqa: ARG002 - no call works on anything
        """See the port."""
        from orlop._proto import health_v1_pb2_grpc as rpc
        from orlop.control.health import Health

        self._health = Health(self.others)
        rpc.add_HealthServicer_to_server(self._health, server)  # type: ignore[no-untyped-call]

    def stop(self) -> None:
        """See the port: everything is not serving from now on."""
        if self._health is not None:
            self._health.stop()
