"""runtime.v1.RuntimeService, as far as clients of an image service call it.

orlop runs no containers. Methods that are not here answer UNIMPLEMENTED.
"""

# ruff: noqa: N802, ARG002 -- names and signatures of methods are the protocol's

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from orlop._proto import runtime_v1_pb2 as pb
from orlop._proto import runtime_v1_pb2_grpc as rpc

if TYPE_CHECKING:
    from orlop.cri.status import Context

KUBELET_API_VERSION: Final = "0.1.0"
"""What every runtime answers in the field ``version``; clients only want it to be set."""


class RuntimeServicer(rpc.RuntimeServiceServicer):
    """Says who it is and that it is ready.

    Args:
        version: of orlop; not empty.
    """

    def __init__(self, version: str) -> None:
        self._version = version

    async def Version(self, request: pb.VersionRequest, context: Context) -> pb.VersionResponse:
        """Names and versions."""
        return pb.VersionResponse(
            version=KUBELET_API_VERSION,
            runtime_name="orlop",
            runtime_version=self._version,
            runtime_api_version="v1",
        )

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        """Ready: the socket opens when the service does."""
        conditions = [
            pb.RuntimeCondition(type=name, status=True) for name in ("RuntimeReady", "NetworkReady")
        ]
        info = {"orlop": json.dumps({"version": self._version})} if request.verbose else {}
        return pb.StatusResponse(status=pb.RuntimeStatus(conditions=conditions), info=info)

    async def RuntimeConfig(
        self, request: pb.RuntimeConfigRequest, context: Context
    ) -> pb.RuntimeConfigResponse:
        """Empty: kubelet then keeps its own cgroup driver."""
        return pb.RuntimeConfigResponse()

    async def UpdateRuntimeConfig(
        self, request: pb.UpdateRuntimeConfigRequest, context: Context
    ) -> pb.UpdateRuntimeConfigResponse:
        """Accepted; a pod network means nothing here."""
        return pb.UpdateRuntimeConfigResponse()

    async def ListContainers(
        self, request: pb.ListContainersRequest, context: Context
    ) -> pb.ListContainersResponse:
        """None. ``crictl rmi --prune`` ends with an error without this call."""
        return pb.ListContainersResponse()
