"""Bodies whose chunks make no sense: the reader learns of it at once (H20)."""

from __future__ import annotations

import asyncio

import pytest

from orlop.errors import RegistryProtocol, RegistryUnavailable
from orlop.model.descriptor import Descriptor
from orlop.model.mediatype import OCI_LAYER
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Act, Event, Fault
from tests.unit.registry.rig import client

BLOB = bytes(500)
CHUNKED = {"Content-Length": None, "Transfer-Encoding": "chunked"}
LATER = (Event(Act.PAUSE, 0, seconds=0.05), Event(Act.STALL, None))


async def read(fault: Fault) -> bytes:
    async with FakeRegistry() as fake, client() as c:
        layer = Descriptor(OCI_LAYER, fake.add_blob(BLOB), len(BLOB))
        fake.fail(fault, times=None)
        data = b""
        async with asyncio.timeout(5), c.remote(fake).blob(layer) as stream:
            while piece := await stream.read():
                data += piece
        return data


@pytest.mark.parametrize(
    "body", [b"zz\r\nxx\r\n", b"-5\r\nx", b"f" * 30 + b"\r\nx", b"1\r\nxyz", b"1\r\nx\r\n?\r\n"]
)
@pytest.mark.parametrize("events", [(), LATER])
async def test_chunks_that_make_no_sense(body: bytes, events: tuple[Event, ...]) -> None:
    with pytest.raises(RegistryProtocol, match="not valid HTTP"):
        await read(Fault(headers=CHUNKED, body=body, events=events))


async def test_chunks_that_end_early_are_a_lost_connection() -> None:
    with pytest.raises(RegistryUnavailable):
        await read(Fault(chunked=True, truncate_at=100))
    assert await read(Fault(chunked=True)) == BLOB


async def test_a_kept_connection_is_not_watched_for_bodies_that_have_ended() -> None:
    async with FakeRegistry() as fake, client() as c:
        layer = Descriptor(OCI_LAYER, fake.add_blob(BLOB), len(BLOB))
        fake.fail(Fault(events=(Event(Act.PAUSE, 1, seconds=0.02),)), times=None)
        remote = c.remote(fake)
        for _ in range(3):
            async with remote.blob(layer) as stream:
                connection = stream._response._raw.connection
                assert connection is not None
                protocol = connection.protocol
                while await stream.read():
                    pass
        assert fake.connections == 1
        assert protocol is not None
        # What is left is the same for all of them.
        assert len(getattr(protocol.closed, "_callbacks", None) or ()) == 1
