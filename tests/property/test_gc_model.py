"""A short part of ``tests.property.gc_model``: whatever is done, nothing else stays or goes."""

from __future__ import annotations

import pytest

from tests.property.gc_beside_pulls import PULLS, rounds
from tests.property.gc_model import drive

pytestmark = pytest.mark.root  # snapshots have overlayfs's attributes


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_stays_is_what_is_needed(seed: int) -> None:
    done = await drive(150, seed)
    assert len(done) > 10


async def test_no_pull_fails_because_of_a_collection() -> None:
    assert await rounds(5, seed=1) == 5 * PULLS
