"""Layers: ranges, lengths, breaks, cancellation, and what is in flight (H20-H24)."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from orlop.errors import NotFound, RegistryProtocol, RegistryUnavailable, SizeMismatch
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.mediatype import OCI_LAYER
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault
from tests.unit.registry.rig import client, until

if TYPE_CHECKING:
    from orlop.registry.remote import HTTPRemote

BLOB = random.Random(7).randbytes(700_001)
LAYER = Descriptor(OCI_LAYER, Digest.of(BLOB), len(BLOB))


def filled() -> FakeRegistry:
    fake = FakeRegistry()
    fake.add_blob(BLOB)
    return fake


async def read_into(got: bytearray, remote: HTTPRemote) -> None:
    async with remote.blob(LAYER) as stream:
        while piece := await stream.read():
            got += piece


async def read(remote: HTTPRemote, offset: int = 0, layer: Descriptor = LAYER) -> tuple[int, bytes]:
    pieces = []
    async with remote.blob(layer, offset=offset) as stream:
        while piece := await stream.read():
            pieces.append(piece)
        assert await stream.read() == b""
        return stream.start, b"".join(pieces)


async def test_a_whole_blob() -> None:
    async with filled() as fake, client() as c:
        assert await read(c.remote(fake)) == (0, BLOB)
        (request,) = fake.requests
        assert request.path == f"/v2/library/app/blobs/{LAYER.digest}"
        assert "range" not in request.headers
        assert c.traffic.bytes == len(BLOB)


@pytest.mark.parametrize("offset", [1, 4096, len(BLOB) - 1])
async def test_from_an_offset(offset: int) -> None:
    async with filled() as fake, client() as c:
        assert await read(c.remote(fake), offset) == (offset, BLOB[offset:])
        assert fake.requests[0].headers["range"] == f"bytes={offset}-"


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_arrived_before_a_break_is_read_before_it_is_told(chunked: bool) -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(truncate_at=600_000, chunked=chunked))
        got = bytearray()
        async with c.remote(fake).blob(LAYER) as stream:
            got += await stream.read()
            await until(lambda: stream.waiting == 600_000 - len(got))
            await asyncio.sleep(0.05)  # the end of the connection has arrived, too
            while stream.waiting:
                got += await stream.read()
            with pytest.raises(RegistryUnavailable):
                await stream.read()
        assert bytes(got) == BLOB[:600_000]


async def test_an_empty_blob() -> None:
    empty = Descriptor(OCI_LAYER, Digest.of(b""), 0)
    async with filled() as fake, client() as c:
        fake.add_blob(b"")
        assert await read(c.remote(fake), layer=empty) == (0, b"")


async def test_a_registry_that_ignores_ranges() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(ignore_range=True))
        assert await read(c.remote(fake), 1000) == (0, BLOB)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        f"bytes 999-{len(BLOB) - 1}/{len(BLOB)}",
        f"bytes 1000-{len(BLOB)}/{len(BLOB)}",
        f"bytes 1000-{len(BLOB) - 2}/{len(BLOB)}",
        f"bytes 1000-{len(BLOB) - 1}/{len(BLOB) + 1}",
        f"bytes 1000-{len(BLOB) - 1}/*",
        f"items 1000-{len(BLOB) - 1}/{len(BLOB)}",
        f"bytes 1000-{len(BLOB) - 1}/{len(BLOB)}, bytes 5-6/7",
        "bytes 1000-",
    ],
)
async def test_a_range_that_is_not_the_one_asked_for(value: str | None) -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(headers={"Content-Range": value}))
        with pytest.raises(RegistryProtocol, match="another range"):
            await read(c.remote(fake), 1000)


async def test_several_ranges_in_one_answer() -> None:
    async with filled() as fake, client() as c:
        multipart = {"Content-Type": "multipart/byteranges; boundary=x", "Content-Range": None}
        fake.fail(Fault(headers=multipart))
        with pytest.raises(RegistryProtocol):
            await read(c.remote(fake), 1000)


async def test_a_range_that_nobody_asked_for() -> None:
    async with filled() as fake, client() as c:
        part = {"Content-Range": f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}"}
        fake.fail(Fault(status=206, headers=part, body=BLOB))
        with pytest.raises(RegistryProtocol, match="nobody asked for"):
            await read(c.remote(fake))


async def test_a_range_that_the_registry_does_not_have() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(status=416))
        with pytest.raises(RegistryProtocol, match="no byte 1000"):
            await read(c.remote(fake), 1000)


@pytest.mark.parametrize("status", [200, 206])
@pytest.mark.parametrize("difference", [-1, 1])
async def test_a_length_that_disagrees_before_the_body(status: int, difference: int) -> None:
    offset = 1000 if status == 206 else 0
    body = BLOB[offset:] + b"x" if difference > 0 else BLOB[offset:-1]
    async with filled() as fake, client() as c:
        fake.fail(Fault(body=body) if status == 200 else Fault(
            status=206, body=body,
            headers={"Content-Range": f"bytes 1000-{len(BLOB) - 1}/{len(BLOB)}"},
        ))  # fmt: skip
        with pytest.raises(RegistryProtocol, match="instead of"):
            await read(c.remote(fake), offset)
        assert c.traffic.bytes == 0


async def test_a_body_without_a_length() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(chunked=True))
        assert await read(c.remote(fake)) == (0, BLOB)


async def test_a_body_that_is_longer_than_the_descriptor() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(chunked=True, body=BLOB * 20))
        with pytest.raises(SizeMismatch, match="sends more than"):
            await read(c.remote(fake))
        assert c.traffic.in_flight == 0
        assert c.traffic.bytes < 10 * len(BLOB)


async def test_a_body_that_ends_early_in_good_order() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(chunked=True, body=BLOB[:-1]))
        with pytest.raises(RegistryUnavailable, match=f"after {len(BLOB) - 1} of {len(BLOB)}"):
            await read(c.remote(fake))


@pytest.mark.parametrize("at", [0, 1, 65_536, len(BLOB) - 1])
@pytest.mark.parametrize("how", ["reset_at", "truncate_at"])
async def test_a_broken_connection_keeps_what_came_before(how: str, at: int) -> None:
    got = bytearray()
    async with filled() as fake, client() as c:
        fault = Fault(reset_at=at) if how == "reset_at" else Fault(truncate_at=at)
        fake.fail(fault, times=None)
        remote = c.remote(fake)
        with pytest.raises(RegistryUnavailable, match=r"registry 127\.0\.0\.1"):
            await read_into(got, remote)
        assert BLOB.startswith(got)
        assert len(got) <= at
        fake.clear_rules()
        start, rest = await read(remote, len(got))
        assert bytes(got[:start]) + rest == BLOB


async def test_a_packed_body() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(headers={"Content-Encoding": "zstd"}))
        with pytest.raises(RegistryProtocol, match="Content-Encoding"):
            await read(c.remote(fake))


async def test_no_such_blob() -> None:
    async with filled() as fake, client() as c:
        fake.remove(str(LAYER.digest))
        with pytest.raises(NotFound, match="BLOB_UNKNOWN"):
            await read(c.remote(fake))


@pytest.mark.parametrize("value", ["-5", "1, 2", "99999999999999999999999", "0x10", "1e3"])
async def test_lengths_that_are_none(value: str) -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(headers={"Content-Length": value}), times=None)
        with pytest.raises(RegistryProtocol):
            await read(c.remote(fake))


async def test_two_lengths() -> None:
    async with filled() as fake, client() as c:
        fake.fail(
            Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
            times=None,
        )
        with pytest.raises(RegistryProtocol):
            await read(c.remote(fake))


async def test_in_flight_until_the_last_byte_is_read() -> None:
    async with filled() as fake, client() as c, c.remote(fake).blob(LAYER) as stream:
        got = 0
        while got < len(BLOB):
            assert c.traffic.in_flight == 1
            got += len(await stream.read())
        # All bytes are here, nobody has seen the end yet: the request is over.
        assert c.traffic.in_flight == 0
        assert await stream.read() == b""


async def test_leaving_early_closes_the_connection() -> None:
    async with filled() as fake, client() as c:
        remote = c.remote(fake)
        async with remote.blob(LAYER) as stream:
            assert await stream.read()
        assert c.traffic.in_flight == 0
        assert await read(remote) == (0, BLOB)
        assert fake.connections == 2


async def test_cancelling_a_read_closes_the_connection() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(stall_at=1000))
        reading = asyncio.create_task(read(c.remote(fake)))
        await until(lambda: c.traffic.bytes == 1000)
        assert c.traffic.in_flight == 1
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert c.traffic.in_flight == 0
        await fake.all_closed()


async def test_cancelling_before_the_answer_closes_the_connection() -> None:
    async with filled() as fake, client() as c:
        fake.fail(Fault(delay=60))
        reading = asyncio.create_task(read(c.remote(fake)))
        await until(lambda: bool(fake.requests))
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert c.traffic.in_flight == 0


async def test_many_blobs_at_once() -> None:
    async with filled() as fake, client() as c:
        remote = c.remote(fake)
        results = await asyncio.gather(*(read(remote, n) for n in range(8)))
        assert all(body == BLOB[start:] for start, body in results)


async def test_a_slow_reader_gets_all_in_the_parsers_own_pieces() -> None:
    async with filled() as fake, client() as c, c.remote(fake).blob(LAYER) as stream:
        await asyncio.sleep(0.2)
        pieces = [await stream.read()]
        while piece := await stream.read():
            pieces.append(piece)
        assert b"".join(pieces) == BLOB
        # Nothing was joined: that would be one more copy.
        assert max(map(len, pieces)) <= 256 << 10
