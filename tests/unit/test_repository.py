"""The repository as a whole: its shape, its words, and that its pages are true."""

from __future__ import annotations

import ast
import gc
import importlib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).relative_to(ROOT)

MODULE_LINES: Final = 500
FUNCTION_LINES: Final = 80

CODE: Final = ("src", "tests", "bench", "demo", "tools", "examples", "fuzz")
LOCKS: Final = ("requirements.lock", "requirements-dev.lock")

KNOWN_HOSTS: Final = frozenset(
    {
        "auth.docker.io",
        "index.docker.io",
        "quay.io",
        "registry-1.docker.io",
        "semver.org",
        "www.apache.org",
        "www.w3.org",  # the names of XML
    }
)
"""Real names that addresses may have: those that the program itself must know, those
that its tests compare with, and those of the licence and of a specification."""

RESERVED: Final = ("example", "test", "invalid", "localhost", "internal")
"""Names that nobody owns (RFC 2606, RFC 6761), and ICANN's for private use."""

FORBIDDEN: Final = {
    "unfinished": re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"),
    "a stub": re.compile(r"\braise NotImplementedError\b"),
    "a test that need not pass": re.compile(r"mark\.(skip|skipif|xfail)|pytest\.(skip|xfail)\("),
    "a replaced part": re.compile(r"\bmock\.patch|from unittest import mock|import unittest\.mock"),
    "an error that nobody sees": re.compile(r"except( (Base)?Exception)?:\s*\n\s*pass\b"),
    "an ignored type error without its kind": re.compile(r"#\s*type:\s*ignore(?!\[)"),
    "an ignored finding without its kind": re.compile(r"#\s*noqa(?!: [A-Z])"),
    "a directory of somebody's own": re.compile(r"(?<![\w.])/(home|Users|root)/\w"),
}

_ADDRESS: Final = re.compile(r"https?://(?:[^\s/@'\"]*@)?([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)")
_NAME: Final = re.compile(r"`(orlop(?:\.[A-Za-z_]\w*)+)`")
_LINK: Final = re.compile(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)")
_PATH: Final = re.compile(r"`((?:src|tests|tools|docs|examples|demo|bench)/[\w./-]*)`")


def modules() -> Iterator[Path]:
    """Everything in Python that somebody wrote."""
    for top in CODE:
        for path in sorted((ROOT / top).rglob("*.py")):
            if not re.search(r"_pb2(_grpc)?\.py$", path.name):
                yield path


def pages() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def texts() -> Iterator[tuple[Path, str]]:
    """Everything that somebody wrote; the patterns of this module match themselves."""
    programs = [path for path in (ROOT / "tools").iterdir() if path.is_file() and not path.suffix]
    others = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run", *programs]
    for path in (*modules(), *pages(), *others, *(ROOT / "src").rglob("*.proto")):
        if path.relative_to(ROOT) != HERE:
            yield path.relative_to(ROOT), path.read_text()


def test_no_module_and_no_function_is_too_long() -> None:
    found = []
    for path in modules():
        text = path.read_text()
        name = path.relative_to(ROOT)
        if (lines := text.count("\n")) > MODULE_LINES:
            found.append(f"{name}: {lines} lines")
        for node in ast.walk(_parsed(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES:
                    found.append(f"{name}: {node.name} has {length} lines")
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [path.relative_to(ROOT) for path in modules() if not _docstring(path)]
    assert silent == []


def _docstring(path: Path) -> str:
    return ast.get_docstring(_parsed(path.read_text())) or ""


def _parsed(text: str) -> ast.Module:
    """The tree of a module; a collection in the middle makes Python 3.11 lose count."""
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        gc.enable()


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_must_not_be_there(what: str) -> None:
    found = [
        f"{name}: {hit[0]}" for name, text in texts() for hit in FORBIDDEN[what].finditer(text)
    ]
    assert found == []


def test_the_patterns_find_what_they_look_for() -> None:
    samples = {
        "unfinished": "# TODO: later",
        "a stub": "    raise NotImplementedError",
        "a test that need not pass": "@pytest.mark.xfail",
        "a replaced part": "with mock.patch('x'):",
        "an error that nobody sees": "except Exception:\n    pass",
        "an ignored type error without its kind": "x = y  # type: ignore",
        "an ignored finding without its kind": "x = y  # noqa",
        "a directory of somebody's own": "see /home/ann/notes",
    }
    assert {what for what in FORBIDDEN if FORBIDDEN[what].search(samples[what])} == set(FORBIDDEN)
    assert not FORBIDDEN["a directory of somebody's own"].search("/var/home/x var/root/y /root")


def test_addresses_lead_nowhere_in_particular() -> None:
    found = []
    for name, text in texts():
        for hit in _ADDRESS.finditer(text):
            host = hit[1].lower()
            if not (host in KNOWN_HOSTS or host.rpartition(".")[2] in RESERVED or _is_number(host)):
                found.append(f"{name}: {hit[0]}")
    assert found == []


def _is_number(host: str) -> bool:
    return host.replace(".", "").isdigit()


def test_nothing_knows_where_it_was_written() -> None:
    # A short path, such as that of a container's volume, could be an ordinary word.
    place = str(ROOT)
    assert len(ROOT.parts) < 3 or [name for name, text in texts() if f"{place}/" in text] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_have_versions_and_hashes_and_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    packages = re.split(r"\n(?=\S)", text.rstrip("\n"))
    pins = [package for package in packages if not package.startswith("#")]
    assert pins
    for pin in pins:
        first, *rest = pin.splitlines()
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [^\\]+)? \\", first), first
        assert rest, first
        for line in rest:
            assert re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_the_lock_has_all_that_is_needed() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*document["project"]["dependencies"], *document["build-system"]["requires"]]
    names = {re.split(r"[^\w.-]", entry)[0].replace(".", "-").replace("_", "-") for entry in wanted}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / LOCKS[0]).read_text(), re.MULTILINE))
    assert names <= locked
    lines = (ROOT / "tools" / "requirements-dev.in").read_text().split("\n")
    wanted = [line.partition(";")[0] for line in lines]
    locked |= set(re.findall(r"^([a-z0-9-]+)==", (ROOT / LOCKS[1]).read_text(), re.MULTILINE))
    assert {name for name in wanted if name and not name.startswith("#")} <= locked


def test_every_room_has_a_page() -> None:
    package = ROOT / "src" / "orlop"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")} - {"_proto"}
    written = {path.stem for path in (ROOT / "docs" / "rooms").glob("*.md")}
    assert written == rooms | {"daemon"}
    overview = (ROOT / "docs" / "architecture.md").read_text()
    assert [room for room in written if f"(rooms/{room}.md)" not in overview] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    for name in _NAME.findall(text):
        assert name in _NOT_MODULES or _exists(name), name
    for path in _PATH.findall(text):
        assert (ROOT / path).exists() or "ROOM" in path, path
    for target in _LINK.findall(text):
        assert "://" in target or (page.parent / target).exists(), target
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    planned = {"fuzz"}
    for target in re.findall(r"\bmake ([a-z]+)\b(?=[`\s])", text):
        if f"`make {target}" in text or "```sh" in text:
            assert target in targets | planned | _ORDINARY, target


_NOT_MODULES: Final = frozenset({"orlop.v1", "orlop.plugins", "orlop.files", "orlop.open"})
"""A gRPC package, a group of entry points, an audit event, a function of the package."""

_ORDINARY: Final = frozenset({"it", "the", "an", "a", "each", "no"})
"""Words that follow the verb."""


def _exists(name: str) -> bool:
    """True for a module, or for something in one."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        if not module:
            return False
        try:
            return hasattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError:
            return False
    return True


def test_the_page_of_errors_is_up_to_date() -> None:
    tool = ast.parse((ROOT / "tools" / "errors_page.py").read_text())
    namespace: dict[str, object] = {"__file__": str(ROOT / "tools" / "errors_page.py")}
    exec(compile(tool, "errors_page", "exec"), namespace)  # a program, not a module of a package
    page = namespace["page"]
    assert callable(page)
    assert page() == (ROOT / "docs" / "errors.md").read_text(), "run make docs"


def test_the_build_server_runs_the_tests_alone() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    commands = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "exec make test </dev/null"
    assert [line for line in commands if "install" in line or "|| true" in line] == []
