"""Registries with an image, and clients that read ``hosts.toml`` files."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from orlop.testing.distribution import DistributionRegistry
from tests.integration.registry.rig import CANARY, Certs, serving
from tests.integration.registry.test_distribution import htpasswd, push
from tests.unit.registry.rig import Authority, Client, client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a registry that has the image keeps on its disk."""
    directory = tmp_path_factory.mktemp("stored")
    with DistributionRegistry(directory) as registry:
        push(registry)
    return directory / "storage"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def mirror(
    tmp_path_factory: pytest.TempPathFactory, stored: Path
) -> Iterator[DistributionRegistry]:
    with serving(tmp_path_factory.mktemp("m") / "mirror", stored) as running:
        yield running


@pytest.fixture(scope="module")
def upstream(
    tmp_path_factory: pytest.TempPathFactory, stored: Path
) -> Iterator[DistributionRegistry]:
    with serving(tmp_path_factory.mktemp("u") / "upstream", stored) as running:
        yield running


@pytest.fixture
def certs(tmp_path: Path) -> Certs:
    return Certs(tmp_path / "certs.d")


@pytest.fixture
async def c(certs: Certs) -> AsyncIterator[Client]:
    """A client that reads ``certs``."""
    async with client(certs.settings) as made:
        yield made


@pytest.fixture
def guarded(tmp_path: Path, stored: Path) -> Iterator[tuple[DistributionRegistry, ...]]:
    """A mirror and a registry with users of their own."""
    with ExitStack() as stack:
        made = []
        for name in ("mirror", "upstream"):
            users = tmp_path / f"{name}.htpasswd"
            htpasswd(users, f"{name}-user", f"{CANARY}-{name}")
            made.append(stack.enter_context(serving(tmp_path / name, stored, htpasswd=users)))
        yield tuple(made)
