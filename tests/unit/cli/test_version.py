"""``orlop version``."""

import json
import platform
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from orlop.cli.connect import Endpoint
from orlop.cli.main import main
from orlop.ports.service import ImageService
from orlop.testing.memory_service import MemoryService

Run = Callable[..., tuple[int, str, str]]


def test_nobody_is_asked(run: Run, asked: list[Endpoint]) -> None:
    code, out, err = run("version")
    assert (code, err, asked) == (0, "", [])
    assert out.startswith("orlop ")
    assert f"Python {platform.python_version()}" in out


def test_json(run: Run) -> None:
    found = json.loads(run("version", "-o", "json")[1])
    assert set(found) == {"version", "python", "machine", "daemon"}
    assert found["daemon"] is None


def test_a_daemon_tells_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    class Remote(MemoryService):
        async def version(self) -> str:
            return "9.9"

    @asynccontextmanager
    async def connector(where: Endpoint) -> AsyncIterator[ImageService]:
        assert where.address == "unix:///there"
        yield Remote()

    assert main(["version", "--address", "unix:///there"], connector=connector) == 0
    assert capsys.readouterr().out.splitlines()[1] == "daemon 9.9"
