"""Both ends of orlop.v1: a memory service behind a socket, and a client of it."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop import daemon
from orlop.control.client import ControlClient
from orlop.testing.memory_service import MemoryService
from tests.rigs.doors import Rig, opening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@dataclass(frozen=True)
class Ends:
    """What is served at ``address``, and a client; ``stop`` ends the serving."""

    service: MemoryService
    client: ControlClient
    address: str
    stop: asyncio.Event
    rig: Rig


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: sockets have room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="control") as path:
        yield Path(path)


@pytest.fixture
async def ends(directory: Path) -> AsyncIterator[Ends]:
    service = MemoryService(accounts={"private.example": ("ann", "s3cret")})
    address = f"unix://{directory}/orlop.sock"
    rig = Rig(service, address, drain_seconds=0.5)
    stop, ready = asyncio.Event(), asyncio.Event()

    serving = asyncio.create_task(
        daemon.serve(opening(rig), stop=stop, on_ready=lambda _: ready.set())
    )
    await asyncio.wait_for(ready.wait(), 5)
    async with ControlClient(address) as client:
        yield Ends(service, client, address, stop, rig)
    stop.set()
    await asyncio.wait_for(serving, 10)
