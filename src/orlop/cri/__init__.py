"""The CRI door: runtime.v1 over gRPC, as kubelet and crictl speak it.

Translates between CRI messages and ``orlop.ports.service.ImageService``. Decides
nothing about images, and knows no other part of orlop.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from orlop._proto import runtime_v1_pb2_grpc as rpc
from orlop.cri.images import ImageServicer
from orlop.cri.runtime import RuntimeServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import grpc.aio

    from orlop.ports.service import ImageService

SERVICES = ("runtime.v1.ImageService", "runtime.v1.RuntimeService")
"""Full names of what ``register`` adds."""


def register(
    server: grpc.aio.Server,
    service: ImageService,
    *,
    version: str,
    watch: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Add runtime.v1 to a server that has not started.

    Args:
        server: the caller's; it starts and stops it.
        service: outlives the server.
        version: of orlop, as clients are told it.
        watch: entered while a call is at work on the service; its errors, and
            cancellation, pass through.
    """
    rpc.add_ImageServiceServicer_to_server(  # type: ignore[no-untyped-call]
        ImageServicer(service, watch=watch), server
    )
    rpc.add_RuntimeServiceServicer_to_server(  # type: ignore[no-untyped-call]
        RuntimeServicer(version), server
    )
