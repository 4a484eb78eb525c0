"""Both ends of orlop.v1: a memory service behind a socket, and a client of it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop import daemon
from orlop.control.client import ControlClient
from orlop.testing.memory_service import MemoryService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@dataclass(frozen=True)
class Ends:
    """What is served at ``address``, and a client; ``stop`` ends the serving."""

    service: MemoryService
    client: ControlClient
    address: str
    stop: asyncio.Event


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: sockets have room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="control") as path:
        yield Path(path)


@pytest.fixture
async def ends(directory: Path) -> AsyncIterator[Ends]:
    service = MemoryService(accounts={"private.example": ("ann", "s3cret")})
    address = f"unix://{directory}/orlop.sock"
    settings = daemon.DaemonSettings(address=address, version="1.2.3", drain_seconds=0.5)
    stop, ready = asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def open_service() -> AsyncIterator[MemoryService]:
        yield service

    serving = asyncio.create_task(
        daemon.serve(open_service, settings, stop=stop, on_ready=ready.set)
    )
    await asyncio.wait_for(ready.wait(), 5)
    async with ControlClient(address) as client:
        yield Ends(service, client, address, stop)
    stop.set()
    await asyncio.wait_for(serving, 10)
