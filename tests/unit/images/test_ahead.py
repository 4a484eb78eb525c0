"""The list of images that is read before anybody asks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orlop.images.ahead import reading_ahead
from tests.unit.images.rig import SPACE, record

if TYPE_CHECKING:
    import pytest

    from tests.unit.images.conftest import Bench


async def test_who_asks_first_gets_what_was_read(bench: Bench) -> None:
    await bench.add(record("abc1"), "registry.example/app:v1")
    async with reading_ahead(bench.metadata, SPACE):
        listing = await bench.metadata.listing(SPACE)
        assert [len(image.names) for image in listing.images] == [2]


async def test_a_list_that_cannot_be_read_is_told_and_harms_nobody(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.metadata._database.close()
    async with reading_ahead(bench.metadata, SPACE):
        await asyncio.sleep(0)  # its turn
    assert "is closed" in caplog.text
