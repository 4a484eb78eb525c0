"""What README, docs and examples tell people to type is typed here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from demo.surroundings import PROGRAM
from tests.system.rig import LIMIT, Program, offer, small_image

if TYPE_CHECKING:
    from demo.surroundings import Daemon
    from orlop.testing.distribution import DistributionRegistry

pytestmark = pytest.mark.root

ROOT: Final = Path(__file__).parents[2]
REFERENCE: Final = "docker.io/library/debian:12"
STORE: Final = "/var/tmp/images"
DIRECTORY: Final = "/mnt"
BUNDLE: Final = "/run/debian"
WITHOUT_SERVICE: Final = ("config", "hosts", "version")

PAGES: Final = ("README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")))
ROOMS: Final = tuple(f"docs/rooms/{page.name}" for page in (ROOT / "docs" / "rooms").glob("*.md"))


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """Every command that a page tells to type, without what makes somebody root."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]
    words = (shlex.split(line, comments=True) for line in lines)
    return [one[1:] if one[0] == "sudo" else one for one in words]


def with_commands(pages: tuple[str, ...]) -> list[str]:
    return [page for page in pages if any(one[0] == "orlop" for one in commands(page))]


def test_there_is_something_to_type() -> None:
    assert with_commands((*PAGES, *ROOMS)) == ["README.md", "docs/rooms/cli.md"]
    assert len(blocks("README.md", "python")) == 1


@pytest.mark.parametrize("page", with_commands((*PAGES, *ROOMS)))
def test_commands(
    page: str,
    registry: DistributionRegistry,
    daemon: Daemon,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(home)  # where archives are written to
    reference = offer(registry, small_image(page), "library/debian", "12")
    target = home / "mnt"
    target.mkdir()
    places = {
        REFERENCE: reference,
        DIRECTORY: str(target),
        STORE: str(home / "images"),
        BUNDLE: str(home / "bundle"),
    }
    for words in commands(page):
        if words[0] == "orlop" and words[1] != "daemon":
            arguments = [places.get(word, word) for word in words[1:]]
            alone = arguments[0] in WITHOUT_SERVICE and arguments[1:2] != ["reload"]
            alone = alone or "--root" in arguments
            options = () if alone else ("--address", daemon.address)
            result = Program(options).run(*arguments)
            assert result.code == 0, f"{shlex.join(words)}: {result.err}"
        elif words[0] == "orlop":
            assert Program().run(*words[1:], "--help").code == 0
        else:
            assert words[0] == "make", words
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "number"),
    [
        (page, number)
        for page in (*PAGES, *ROOMS)
        for number, _ in enumerate(blocks(page, "python"))
    ],
)
def test_programs(page: str, number: int, registry: DistributionRegistry, home: Path) -> None:
    text = blocks(page, "python")[number]
    text = text.replace(REFERENCE, offer(registry, small_image("program"), "program", "12"))
    program = home / "program.py"
    program.write_text(text.replace(STORE, str(home / "images")))
    out = _python(program)
    if page == "README.md":
        assert out.endswith("['bin', 'etc', 'usr']\n")


def test_the_library_example(registry: DistributionRegistry, home: Path) -> None:
    image = small_image("library")
    reference = offer(registry, image, "library/example", "1")
    out = _python(ROOT / "examples" / "library.py", reference, str(home / "images"))
    assert out.startswith(f"{image.id}: ")
    assert "['bin', 'etc', 'usr']" in out
    missing = f"{registry.address}/library/example:none"
    failed = _run(ROOT / "examples" / "library.py", missing, str(home / "images"))
    assert failed.returncode == 1
    assert missing in failed.stderr.splitlines()[-1]
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("page", "number"),
    [
        (page, number)
        for page in PAGES
        for number, text in enumerate(blocks(page, "toml"))
        if "version =" in text
    ],
)
def test_configurations(page: str, number: int, tmp_path: Path) -> None:
    document = tmp_path / "config.toml"
    document.write_text(blocks(page, "toml")[number])
    out = Program().output("config", "check", "--config", str(document))
    assert out == "no errors, 0 warnings\n"


def test_the_unit_starts_what_there_is() -> None:
    unit = (ROOT / "examples" / "orlop.service").read_text()
    start = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert start is not None
    program, *arguments = start[1].split()
    assert Path(program).name == PROGRAM.name
    assert Program().run(*arguments, "--help").code == 0
    assert "Type=notify" in unit


def _python(program: Path, *arguments: str) -> str:
    done = _run(program, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        env=os.environ,
    )
