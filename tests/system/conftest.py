"""A registry for the tests of a module, and a daemon for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo.surroundings import Daemon, directory
from orlop.testing.distribution import DistributionRegistry
from tests.system.rig import Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionRegistry]:
    with DistributionRegistry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path, since sockets have room for 107 bytes; nothing stays mounted in it."""
    with directory() as path:
        yield path


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    with Daemon(home) as daemon:
        yield daemon


@pytest.fixture
def orlop(daemon: Daemon) -> Program:
    """The program as a client of the daemon."""
    return Program(("--address", daemon.address))
