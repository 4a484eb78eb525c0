"""A store and a registry for each test of the pull."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.testing.distribution import DistributionRegistry
from orlop.testing.fake_registry import FakeRegistry
from tests.integration.pull.rig import Store, running, unmount_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with running(tmp_path / "root") as found:
        yield found
        unmount_all(found.root)


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionRegistry]:
    """The real registry; tests use repositories of their own in it."""
    with DistributionRegistry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        yield found
