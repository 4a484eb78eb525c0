"""The assembled command line: help, usage errors, and errors of every kind."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from orlop.cli.connect import Connector
from orlop.cli.main import COMMANDS, DEBUG, main
from orlop.errors import StoreFull
from orlop.ports.service import ImageService

Run = Callable[..., tuple[int, str, str]]
HEAVY = ("rich", "grpc", "asyncio", "aiohttp", "apsw", "structlog", "msgspec", "tomlkit", "getpass")


class Broken(AbstractAsyncContextManager[ImageService]):
    """A connection that fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def __aenter__(self) -> ImageService:
        raise self._error

    async def __aexit__(self, *_: object) -> None:
        return None


def failing(error: Exception) -> Connector:
    return lambda _: Broken(error)


def test_help_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in [*COMMANDS, "config"]:
        assert f"\n  {name} " in out
    assert "--install-completion" in out


@pytest.mark.parametrize("name", [*COMMANDS, "config", "config dump"])
def test_every_command_has_help(run: Run, name: str) -> None:
    code, out, err = run(*name.split(), "--help")
    assert (code, err) == (0, "")
    assert f"orlop {name}" in out.replace("\n", " ")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["images", "--nonsense"], ["pull"], ["images", "-o", "xml"]]
)
def test_usage_errors(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: orlop" in err


def test_an_error_is_one_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    connector = failing(StoreFull("no\nspace left", hint="delete\x1b something"))
    assert main(["images"], connector=connector) == 1
    assert capsys.readouterr().err == "orlop: no\\nspace left\nhint: delete\\x1b something\n"


def test_the_operating_systems_errors(capsys: pytest.CaptureFixture[str]) -> None:
    connector = failing(FileNotFoundError(2, "No such file", "/there"))
    assert main(["images"], connector=connector) == 1
    assert capsys.readouterr().err == "orlop: [Errno 2] No such file: '/there'\n"


def test_a_defect_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = failing(KeyError("x"))
    monkeypatch.delenv(DEBUG, raising=False)
    assert main(["images"], connector=connector) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["orlop: internal error: KeyError: 'x'", "hint: set ORLOP_DEBUG=1 to see where"]


@pytest.mark.parametrize("error", [StoreFull("no space"), OSError("no"), KeyError("x")])
def test_debugging_shows_where(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DEBUG, raising=False)
    assert main(["images"], connector=failing(error)) == 1
    quiet = capsys.readouterr().err
    monkeypatch.setenv(DEBUG, "1")
    assert main(["images"], connector=failing(error)) == 1
    loud = capsys.readouterr().err
    assert loud.startswith("Traceback (most recent call last)")
    assert loud.endswith(quiet)
    assert "Traceback" not in quiet


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "orlop", "config", "default"],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_commands_import_little() -> None:
    script = "import sys, orlop.cli.main; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    loaded = set(done.stdout.split())
    assert "orlop.cli.pull" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_the_module_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orlop", "images", "--address", "unix:///nonexistent/socket"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 75
    assert done.stderr.startswith("orlop: no daemon answers at /nonexistent/socket: ")
    assert "Traceback" not in done.stderr


def test_completion() -> None:
    words = {"_ORLOP_COMPLETE": "complete_bash", "COMP_WORDS": "orlop im", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "orlop"],
        env={**os.environ, **words},
        capture_output=True,
        check=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("import\nimages\n", "")
