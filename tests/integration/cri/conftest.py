"""A served door: a memory service behind a real gRPC server on a real socket."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from orlop import daemon
from orlop._proto import runtime_v1_pb2_grpc as rpc
from orlop.testing.memory_service import MemoryService
from tests.rigs.doors import Rig, opening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@dataclass(frozen=True)
class Door:
    """The two ends: what is served, and a client that connects as crictl does."""

    service: MemoryService
    channel: grpc.aio.Channel
    images: rpc.ImageServiceStub
    runtime: rpc.RuntimeServiceStub


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: sockets have room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="door") as path:
        yield Path(path)


@pytest.fixture
async def door(directory: Path) -> AsyncIterator[Door]:
    service = MemoryService(accounts={"private.example": ("ann", "s3cret")})
    address = f"unix://{directory}/orlop.sock"
    stop, ready = asyncio.Event(), asyncio.Event()

    serving = asyncio.create_task(
        daemon.serve(opening(Rig(service, address)), stop=stop, on_ready=lambda _: ready.set())
    )
    await asyncio.wait_for(ready.wait(), 5)
    options = (("grpc.max_receive_message_length", 16 << 20),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        images = rpc.ImageServiceStub(channel)  # type: ignore[no-untyped-call]
        runtime = rpc.RuntimeServiceStub(channel)  # type: ignore[no-untyped-call]
        yield Door(service, channel, images, runtime)
    stop.set()
    await asyncio.wait_for(serving, 10)
