"""Pulls through schedules of faults; ``python -m tests.schedules`` plays more of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.schedules import BATCH, report, survive

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.mark.parametrize("first", [0, BATCH, 2 * BATCH])
async def test_every_schedule_is_survived(tmp_path: Path, first: int) -> None:
    plays = await survive(range(first, first + BATCH), tmp_path)
    print(report(plays))
    assert [f"seed {play.seed}: {wrong}" for play in plays for wrong in play.wrong] == []
    assert {play.ended for play in plays} > {"pulled"}, "some fail, or it shows nothing"
