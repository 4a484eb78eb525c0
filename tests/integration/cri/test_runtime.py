"""RuntimeService over a socket: the little that clients of an image service call."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from orlop._proto import runtime_v1_pb2 as pb

if TYPE_CHECKING:
    from .conftest import Door

OTHER_METHODS = (
    "RunPodSandbox",
    "StopPodSandbox",
    "RemovePodSandbox",
    "PodSandboxStatus",
    "ListPodSandbox",
    "StreamPodSandboxes",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "RemoveContainer",
    "StreamContainers",
    "ContainerStatus",
    "UpdateContainerResources",
    "ReopenContainerLog",
    "ExecSync",
    "Exec",
    "Attach",
    "PortForward",
    "ContainerStats",
    "ListContainerStats",
    "StreamContainerStats",
    "PodSandboxStats",
    "ListPodSandboxStats",
    "StreamPodSandboxStats",
    "CheckpointContainer",
    "CheckpointPod",
    "RestorePod",
    "GetContainerEvents",
    "ListMetricDescriptors",
    "ListPodSandboxMetrics",
    "StreamPodSandboxMetrics",
    "UpdatePodSandboxResources",
)


@pytest.mark.parametrize("version", ["", "v1"])
async def test_version_has_no_empty_field(door: Door, version: str) -> None:
    answer = await door.runtime.Version(pb.VersionRequest(version=version), timeout=2)
    assert answer == pb.VersionResponse(
        version="0.1.0",
        runtime_name="orlop",
        runtime_version="1.2.3",
        runtime_api_version="v1",
    )


async def test_status_is_ready(door: Door) -> None:
    answer = await door.runtime.Status(pb.StatusRequest(), timeout=2)
    conditions = {condition.type: condition.status for condition in answer.status.conditions}
    assert conditions == {"RuntimeReady": True, "NetworkReady": True}
    assert not answer.info


async def test_verbose_status_is_json(door: Door) -> None:
    answer = await door.runtime.Status(pb.StatusRequest(verbose=True), timeout=2)
    values = {key: json.loads(value) for key, value in answer.info.items()}
    assert values == {"orlop": {"version": "1.2.3"}}


async def test_rmi_prune_finds_no_containers(door: Door) -> None:
    answer = await door.runtime.ListContainers(pb.ListContainersRequest(), timeout=2)
    assert not answer.containers


async def test_config_says_nothing_and_takes_anything(door: Door) -> None:
    answer = await door.runtime.RuntimeConfig(pb.RuntimeConfigRequest(), timeout=2)
    assert not answer.HasField("linux")
    request = pb.UpdateRuntimeConfigRequest()
    request.runtime_config.network_config.pod_cidr = "10.0.0.0/24"
    await door.runtime.UpdateRuntimeConfig(request, timeout=2)


@pytest.mark.parametrize("method", OTHER_METHODS)
async def test_the_rest_is_unimplemented(door: Door, method: str) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = door.channel.unary_unary(
        f"/runtime.v1.RuntimeService/{method}"
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", timeout=2)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_methods_are_all_of_the_interface() -> None:
    declared = pb.DESCRIPTOR.services_by_name["RuntimeService"].methods_by_name
    assert len(set(OTHER_METHODS) | set(declared)) == 37
