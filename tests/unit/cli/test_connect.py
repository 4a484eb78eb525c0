"""Where the service is, and how a command with one ends."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from orlop.cli.connect import DEFAULT_ADDRESS, Endpoint, connect, default_address, endpoint
from orlop.cli.main import main
from orlop.errors import Cancelled, InvalidArgument
from orlop.ports.metadata import Image
from orlop.ports.service import ImageService
from orlop.testing.memory_service import MemoryService

Run = Callable[..., tuple[int, str, str]]
BUSYBOX = "docker.io/library/busybox:latest"


def test_defaults() -> None:
    assert endpoint(None, None) == Endpoint("", DEFAULT_ADDRESS)
    assert endpoint("unix:///x", None) == Endpoint("", "unix:///x")


def test_a_user_s_own_daemon_comes_first(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert default_address(environ, 1000) == DEFAULT_ADDRESS  # there is none
    (tmp_path / "orlop").mkdir()
    (tmp_path / "orlop/orlop.sock").touch()
    assert default_address(environ, 1000) == f"unix://{tmp_path}/orlop/orlop.sock"
    assert default_address(environ, 0) == DEFAULT_ADDRESS
    assert default_address({}, 1000) == DEFAULT_ADDRESS


def test_a_root_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert endpoint(None, "store").root == str(tmp_path / "store")


@pytest.mark.parametrize("pair", [("unix:///x", "/x"), ("", None), (None, ""), ("", "")])
def test_what_cannot_be_meant(pair: tuple[str | None, str | None]) -> None:
    with pytest.raises(InvalidArgument):
        endpoint(*pair)


def test_both_are_a_usage_error(run: Run, asked: list[Endpoint]) -> None:
    code, _, err = run("images", "--address", "unix:///x", "--root", "/x")
    assert (code, asked) == (2, [])
    assert err.startswith("orlop: --address and --root exclude each other\nhint: ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("translated", [False, True])
def test_signals_cancel_the_work(
    number: signal.Signals, code: int, translated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    closed: list[Endpoint] = []

    class Translating(MemoryService):
        """A service that turns cancellation into an error of its own."""

        async def images(self, filter_text: str = "", namespace: str = "") -> list[Image]:
            try:
                await hang()
            except asyncio.CancelledError:
                if translated:
                    raise Cancelled("the caller gave up") from None
                raise
            return []

    async def hang() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await asyncio.Event().wait()

    @asynccontextmanager
    async def connector(where: Endpoint) -> AsyncIterator[ImageService]:
        try:
            yield Translating()
        finally:
            await asyncio.sleep(0)
            closed.append(where)

    before = signal.getsignal(number)
    assert main(["images"], connector=connector) == code
    assert len(closed) == 1
    assert capsys.readouterr() == ("", "")
    assert signal.getsignal(number) == before


def test_what_is_logged_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        connect(Endpoint(root=str(tmp_path)))
        structlog.get_logger().warning("said by the way")
    finally:
        structlog.reset_defaults()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "said by the way" in printed.err
