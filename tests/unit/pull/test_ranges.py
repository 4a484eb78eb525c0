"""One blob in parts: in order, bounded, and in one piece when ranges are ignored."""

from __future__ import annotations

import asyncio
import os

import pytest

from orlop.errors import RegistryProtocol, RegistryUnavailable
from orlop.pull.ranges import in_parts
from tests.unit.pull.rig import Connection, ScriptedRemote, blob, until

DATA = os.urandom(1_000_000)
LAYER = blob(DATA)
BROKEN = RegistryUnavailable("connection reset")


async def read(
    remote: ScriptedRemote, *, offset: int = 0, part: int = 100_000, parallel: int = 3
) -> bytes:
    found = bytearray(DATA[:offset])
    async with in_parts(remote, LAYER, offset=offset, part=part, parallel=parallel) as stream:
        assert stream.start in (0, offset)
        del found[stream.start :]
        while data := await stream.read():
            found += data
        assert stream.end == len(DATA)
    return bytes(found)


@pytest.mark.parametrize("parallel", [1, 2, 3, 50])
@pytest.mark.parametrize("part", [999, 100_000, 333_333, 999_999])
async def test_in_order(part: int, parallel: int) -> None:
    remote = ScriptedRemote(DATA)
    assert await read(remote, part=part, parallel=parallel) == DATA
    assert remote.offsets == list(range(0, len(DATA), part))


async def test_the_rest_of_a_blob() -> None:
    remote = ScriptedRemote(DATA)
    assert await read(remote, offset=750_001) == DATA
    assert remote.offsets == [750_001, 850_001, 950_001]


async def test_a_registry_that_ignores_ranges() -> None:
    remote = ScriptedRemote(DATA, [Connection(DATA, start=0)])
    assert await read(remote, offset=500_000) == DATA
    assert remote.offsets == [500_000]


async def test_a_registry_that_ignores_them_later() -> None:
    remote = ScriptedRemote(DATA, [Connection(), Connection(DATA, start=0)])
    with pytest.raises(RegistryProtocol, match="ignores some ranges"):
        await read(remote)


async def test_only_so_much_is_in_memory() -> None:
    remote = ScriptedRemote(DATA)
    async with in_parts(remote, LAYER, offset=0, part=100_000, parallel=3) as stream:
        await until(lambda: len(remote.offsets) == 3)
        await asyncio.sleep(0.01)
        assert remote.offsets == [0, 100_000, 200_000]
        assert await stream.read() == DATA[: remote.piece]


async def test_a_part_goes_on_as_long_as_it_moves() -> None:
    breaks = [Connection(DATA[at : at + 30_000], failure=BROKEN) for at in (0, 100_000, 200_000)]
    remote = ScriptedRemote(DATA, breaks)
    assert await read(remote) == DATA
    assert sorted(remote.offsets)[:6] == [0, 30_000, 100_000, 130_000, 200_000, 230_000]


async def test_a_part_that_does_not_move_breaks_the_whole() -> None:
    remote = ScriptedRemote(DATA, [Connection(), Connection(refusal=BROKEN)])
    async with in_parts(remote, LAYER, offset=0, part=100_000, parallel=3) as stream:
        # What came before it in order is given all the same.
        found = b"".join([await stream.read(), await stream.read()])
        assert found == DATA[:100_000]
        with pytest.raises(RegistryUnavailable):
            await stream.read()


async def test_leaving_early_stops_all() -> None:
    gate = asyncio.Event()
    remote = ScriptedRemote(DATA, [Connection(gate=gate) for _ in range(3)])
    async with asyncio.timeout(1):
        async with in_parts(remote, LAYER, offset=0, part=100_000, parallel=3):
            await until(lambda: len(remote.offsets) == 3)
        assert len(asyncio.all_tasks()) == 1
