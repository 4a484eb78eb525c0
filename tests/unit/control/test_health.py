"""grpc.health.v1 over a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from orlop._proto import health_v1_pb2 as pb
from orlop._proto import health_v1_pb2_grpc as rpc

if TYPE_CHECKING:
    from .conftest import Ends

SERVED = [
    "",
    "grpc.health.v1.Health",
    "orlop.v1.Control",
    "runtime.v1.ImageService",
    "runtime.v1.RuntimeService",
]
Status = pb.HealthCheckResponse


async def test_check_and_list(ends: Ends) -> None:
    async with grpc.aio.insecure_channel(ends.address) as channel:
        stub = rpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        for service in SERVED:
            answer = await stub.Check(pb.HealthCheckRequest(service=service))
            assert answer.status == Status.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(pb.HealthCheckRequest(service="absent.v1.Service"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        listed = await stub.List(pb.HealthListRequest())
        assert sorted(listed.statuses) == SERVED


async def test_watch_tells_of_the_end(ends: Ends) -> None:
    async with grpc.aio.insecure_channel(ends.address) as channel:
        stub = rpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        known = stub.Watch(pb.HealthCheckRequest())
        unknown = stub.Watch(pb.HealthCheckRequest(service="absent.v1.Service"))
        assert (await known.read()).status == Status.SERVING
        assert (await unknown.read()).status == Status.SERVICE_UNKNOWN
        ends.stop.set()
        async with asyncio.timeout(5):
            assert (await known.read()).status == Status.NOT_SERVING
            assert await known.read() is grpc.aio.EOF
            assert await unknown.read() is grpc.aio.EOF
