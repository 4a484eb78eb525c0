"""The CRI door: runtime.v1 over gRPC, as kubelet and crictl speak it.

Translates between CRI messages and ``orlop.ports.service.ImageService``. Decides
nothing about images, and knows no other part of orlop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop._proto import runtime_v1_pb2_grpc as rpc
from orlop.cri.images import ImageServicer
from orlop.cri.runtime import RuntimeServicer

if TYPE_CHECKING:
    import grpc.aio

    from orlop.ports.doors import Watch
    from orlop.ports.service import NodeImageService


class CRIDoor:
    """An ``orlop.ports.doors.Door`` for kubelet and crictl.

    Args:
        service: outlives the server.
        version: of orlop, as clients are told it.
    """

    services = ("runtime.v1.ImageService", "runtime.v1.RuntimeService")

    def __init__(self, service: NodeImageService, *, version: str) -> None:
        self._service = service
        self._version = version

    def register(self, server: grpc.aio.Server, watch: Watch) -> None:
        """See the port."""
        rpc.add_ImageServiceServicer_to_server(  # type: ignore[no-untyped-call]
            ImageServicer(self._service, watch=watch), server
        )
        rpc.add_RuntimeServiceServicer_to_server(  # type: ignore[no-untyped-call]
            RuntimeServicer(self._version), server
        )

    def stop(self) -> None:
        """See the port; nobody waits for news here."""
