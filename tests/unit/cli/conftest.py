"""Runs commands in this process, against a service in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import StringIO

import pytest

from orlop.cli.connect import Endpoint
from orlop.cli.main import main
from orlop.ports.service import ImageService
from orlop.testing.memory_service import MemoryService, shelf

BUSYBOX = "docker.io/library/busybox:latest"
APP = "registry.example/team/app:v1"


@pytest.fixture
def service() -> MemoryService:
    return MemoryService(accounts={"private.example": ("me", "secret")})


@pytest.fixture
def stocked(service: MemoryService) -> MemoryService:
    """Two images; one of them has two tags."""
    for reference in (BUSYBOX, "docker.io/library/busybox:1.37", APP):
        service.put(reference, shelf()[reference])
    return service


@pytest.fixture
def asked() -> list[Endpoint]:
    """Where commands wanted to connect to."""
    return []


@pytest.fixture
def run(
    service: MemoryService,
    asked: list[Endpoint],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[int, str, str]]:
    """``run(*arguments, stdin="")`` gives exit code, standard output, standard error."""

    @asynccontextmanager
    async def connector(where: Endpoint) -> AsyncIterator[ImageService]:
        asked.append(where)
        yield service

    def command(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", StringIO(stdin))
        code = main(arguments, connector=connector)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command
