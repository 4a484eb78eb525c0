"""grpc.health.v1: whether the server serves. Knows nothing of images."""

# ruff: noqa: N802, ARG002 -- names and signatures of methods are the protocol's

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc.aio

from orlop._proto import health_v1_pb2 as pb
from orlop._proto import health_v1_pb2_grpc as rpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from orlop.control.server import Context


class Health(rpc.HealthServicer):
    """All services together: they serve until ``stop``.

    Args:
        services: their full names; the empty name stands for the whole server.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = ("", "grpc.health.v1.Health", *services)
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Say NOT_SERVING from now on, to those who watch at once."""
        self._stopped.set()

    async def Check(
        self, request: pb.HealthCheckRequest, context: Context
    ) -> pb.HealthCheckResponse:
        """The status now."""
        if request.service not in self._services:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f'no service "{request.service}": not found'
            )
        return self._answer()

    async def Watch(
        self, request: pb.HealthCheckRequest, context: Context
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        """The status now, and when it changes."""
        known = request.service in self._services
        yield (
            self._answer()
            if known
            else pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)
        )
        await self._stopped.wait()
        if known:
            yield self._answer()

    async def List(self, request: pb.HealthListRequest, context: Context) -> pb.HealthListResponse:
        """The status of every service."""
        return pb.HealthListResponse(statuses={name: self._answer() for name in self._services})

    def _answer(self) -> pb.HealthCheckResponse:
        stopped = self._stopped.is_set()
        return pb.HealthCheckResponse(
            status=pb.HealthCheckResponse.NOT_SERVING if stopped else pb.HealthCheckResponse.SERVING
        )
