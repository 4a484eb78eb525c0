"""Documents that cannot be meant: one line with file and line, an exit code, no trace, at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal, get_args, get_origin

import msgspec
import pytest

from orlop.cli.exits import exit_code
from orlop.cli.main import main
from orlop.config.durations import Duration
from orlop.config.keys import IMAGES, Key, show
from orlop.config.load import load
from orlop.config.schema import ImageConfig
from orlop.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path

    from msgspec.structs import FieldInfo

Run = Callable[..., tuple[int, list[str]]]

SECONDS: Final = 2.0
"""Processor time that a command may take over the worst document."""

HEAD: Final = f"version = 4\n[{show(IMAGES)}]\n"

# Whatever a value should be, each of these is something else, but for those of its own kind.
WRONG: Final[dict[type, str]] = {
    bool: "true",
    int: "7",
    float: "1.5",
    str: '"text"',
    list: "[[1]]",
    dict: '{ "" = [{ a = 1 }] }',
    time.struct_time: "1979-05-27T07:32:00Z",
}


def bare(kind: object) -> object:
    """A type without its annotations."""
    while hasattr(kind, "__metadata__"):
        kind = get_args(kind)[0]
    return kind


def keys(kind: type[msgspec.Struct], above: Key = ()) -> Iterator[tuple[Key, object]]:
    """All keys of a section with their types; tables with free names have one of them."""
    field: FieldInfo
    for field in msgspec.structs.fields(kind):
        key = (*above, field.name)
        yield from within(bare(field.type), key)


def within(kind: object, key: Key) -> Iterator[tuple[Key, object]]:
    yield key, kind
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from keys(kind, key)
    elif get_origin(kind) is Mapping:
        yield from within(bare(get_args(kind)[1]), (*key, "r.example"))


def own(kind: object) -> set[type]:
    """Which of the wrong values are of the right kind after all."""
    if get_origin(kind) is Mapping or (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        # The table itself is one, though not what is in it.
        return {dict}
    if get_origin(kind) is Literal:
        return set()
    return {kind} if isinstance(kind, type) and kind is not Duration else set()


KEYS: Final = list(keys(ImageConfig))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """A command in this process: exit code, and the lines of standard error without hints."""

    def command(*arguments: str) -> tuple[int, list[str]]:
        started = time.process_time()
        code = main(arguments)
        took = time.process_time() - started
        printed = capfd.readouterr()
        assert took < SECONDS
        assert printed.out == ""
        return code, messages(printed.err)

    return command


def messages(text: str) -> list[str]:
    assert "Traceback" not in text
    assert "internal error" not in text
    return [line for line in text.splitlines() if not line.startswith("hint: ")]


def refused(run: Run, path: Path | str, line: int | None = None, command: str = "check") -> str:
    """Run a command on a wrong document; what it says of it."""
    arguments = [str(path)] if command == "migrate" else ["--config", str(path)]
    code, lines = run("config", command, *arguments)
    assert (code, len(lines)) == (1, 1), lines
    place = f"{path}:{line}: " if line else f"{path}"
    assert lines[0].startswith(f"orlop: {place}"), lines
    return lines[0]


def test_the_schema_was_walked() -> None:
    names = {".".join(key) for key, _ in KEYS}
    assert len(KEYS) >= 35
    assert "registry.configs.r.example.auth.password" in names
    assert "registry.mirrors.r.example.endpoint" in names
    assert "image_pull_progress_timeout" in names


@pytest.mark.parametrize(
    ("key", "kind"), KEYS, ids=lambda part: ".".join(part) if isinstance(part, tuple) else ""
)
def test_wrong_types(key: Key, kind: object, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    for wrong, value in WRONG.items():
        if wrong not in own(kind):
            path.write_text(f"{HEAD}{show(key)} = {value}\n")
            with pytest.raises(InvalidArgument) as caught:
                load(str(path))
            assert caught.value.message.startswith(f"{path}:3: ")
            assert "\n" not in caught.value.message + caught.value.hint
            assert exit_code(caught.value) == 1


@pytest.mark.parametrize(
    "text",
    [
        'snapshotter = ""',
        'snapshotter = "../../etc"',
        'snapshotter = "a b"',
        "max_concurrent_downloads = 9223372036854775807",
        "max_concurrent_downloads = 99999999999999999999",
        "max_total_downloads = -1",
        "max_concurrent_unpacks = -1",
        "concurrent_layer_fetch_buffer = -1",
        "min_pull_rate = -1",
        "stats_collect_period = 0",
        "stats_collect_period = -10",
        'image_pull_progress_timeout = ""',
        'image_pull_progress_timeout = "5"',
        'image_pull_progress_timeout = "-5m"',
        'image_pull_progress_timeout = "5 m"',
        'image_pull_progress_timeout = "999999999h"',
        'drain_timeout = "-1ns"',
        'pinned_images = { "" = "a.example/b" }',
        'pinned_images = { sandbox = "not an image" }',
        'pinned_images = { sandbox = "A/UPPER" }',
        'image_decryption.key_model = "cloud"',
        'runtime_platforms.kata.platform = "linux/amd64/v1/v2/v3"',
        'runtime_platforms.kata.snapshotter = "a/b"',
        'registry.config_path = "certs.d"',
        'registry.config_path = "/a::/b"',
        'registry.mirrors."docker.io/library".endpoint = []',
        'registry.mirrors."docker.io".endpoint = ["ftp://a.example"]',
        'registry.mirrors."docker.io".endpoint = [""]',
        'registry.mirrors."".endpoint = []',
        'registry.configs."https://a.example" = {}',
        'registry.auths."https://" = {}',
        'registry.headers = { "X A" = ["1"] }',
        'registry.headers = { X = ["1\\r\\nY: 2"] }',
    ],
)
def test_values_that_make_no_sense(text: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"{HEAD}{text}\n")
    refused(run, path, 3)


@pytest.mark.parametrize("name", ["username", "password", "auth", "identitytoken"])
def test_what_could_be_a_secret_is_not_repeated(name: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    for value in ("20261125", "1.20261125", "[20261125]", '{ x = "20261125" }'):
        path.write_text(f'{HEAD}registry.configs."r.example".auth.{name} = {value}\n')
        assert "20261125" not in refused(run, path, 3).removeprefix(f"orlop: {path}")


NOT_TOML: Final[list[tuple[str, bytes, int]]] = [
    ("no value", b"version = 4\nroot =\n", 2),
    ("no equals sign", b"version 4\n", 1),
    ("bare text", b'version = 4\n\nroot = /data\nstate = "/run"', 3),
    ("open string", b'version = 4\nroot = "/data\nstate = "/run"\n', 2),
    ("open string at the end", b'version = 4\nroot = "/data', 2),
    ("open table", b"version = 4\n[plugins\nx = 1\n", 2),
    ("open array", b"version = 4\nimports = [\n", 3),
    ("comma of JSON", b"version = 4,\n", 1),
    ("JSON", b'{"version": 4}', 1),
    ("YAML", b"version: 4\nroot: /data\n", 1),
    ("date that there is not", b"version = 4\nx = 1979-99-99\n", 2),
    ("key twice", b'version = 4\nroot = "/a"\nroot = "/b"\n', 3),
    ("table twice", b"version = 4\n[grpc]\n[debug]\n[grpc]\n", 4),
    ("key and table", b"version = 4\ngrpc = 1\n[grpc.x]\n", 3),
    ("escape that there is not", b'version = 4\nroot = "\\z"\n', 2),
    ("half a surrogate", b'version = 4\nroot = "\\ud800"\n', 2),
    ("null byte", b"version = 4\n\0\n", 2),
    ("null byte in a string", b'version = 4\nroot = "/a\0b"\n', 2),
    ("byte order mark", b"\xef\xbb\xbfversion = 4\n", 1),
    ("UTF-16", "version = 4\n".encode("utf-16"), 1),
    ("Latin-1", 'version = 4\n\n# caf\u00e9\nroot = "/a"\n'.encode("latin-1"), 3),
    ("overlong UTF-8", b'version = 4\nroot = "\xc0\xaf"\n', 2),
    ("binary", bytes(range(256)) * 16, 2),
    ("ELF", b"\x7fELF\x02\x01\x01" + bytes(64), 1),
    ("carriage returns alone", b"version = 4\rroot = '/a'\r", 1),
    ("version of the future", b"# new\nversion = 5\n", 2),
    ("negative version", b"version = -1\n", 1),
    ("version in words", b'\nversion = "four"\n', 2),
]


@pytest.mark.parametrize(
    ("data", "line"), [(d, n) for _, d, n in NOT_TOML], ids=[i for i, *_ in NOT_TOML]
)
@pytest.mark.parametrize("command", ["check", "migrate"])
def test_what_is_no_toml(data: bytes, line: int, command: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(data)
    refused(run, path, line, command)


@pytest.mark.parametrize(
    "text",
    [
        "plugins = 3",
        "[[plugins]]",
        'imports = "a.toml"',
        "imports = [1, 2]",
        'root = ""',
        'root = " "',
        'root = "data"',
        "state = 3",
        'disabled_plugins = ["cri"]',
        'plugins."io.containerd.server.v1.grpc".address = "tcp://0.0.0.0:1"',
        'plugins."io.containerd.server.v1.metrics".address = "127.0.0.1"',
        'plugins."io.containerd.cri.v1.images" = "overlayfs"',
    ],
)
def test_wrong_keys_outside_of_the_section(text: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"version = 4\n\n{text}\n")
    refused(run, path, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"#" * 10_000_000,
        b"x = 1\n" * 1_700_000,
        b"a = " + b"[" * 400_000,
        b"a = " + b"{a=" * 300_000,
        b"[" + b"a." * 400_000 + b"a]",
        b"a" + b".a" * 400_000 + b" = 1",
        b"a = " + b"9" * 500_000,
        b'a = "' + b"\\u0041" * 150_000,
        b"\xff" * 1_000_000,
        bytes(1_000_000),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_documents_that_are_too_much(data: bytes, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(data)
    refused(run, path)


@pytest.mark.parametrize("command", ["check", "migrate"])
def test_what_is_no_file(command: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("version = 4\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        names = ("", "loop", "file/below", "socket", "x" * 300)
        for path in [
            *(f"{tmp_path}/{name}" for name in names),
            "/dev/zero",
            "/dev/full",
            "/proc/self/mem",
        ]:
            arguments = [path] if command == "migrate" else ["--config", path]
            code, lines = run("config", command, *arguments)
            assert (code, len(lines)) == (1, 1), (path, lines)


@pytest.mark.parametrize("command", ["check", "dump", "migrate"])
def test_what_is_not_there(command: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("none", "no/where", "dangling"):
        path = str(tmp_path / name)
        arguments = [path] if command == "migrate" else ["--config", path]
        code, lines = run("config", command, *arguments)
        assert (code, len(lines)) == (3, 1)
        assert lines[0].startswith(f"orlop: {path}: ")


def process(*arguments: str) -> tuple[int, str, list[str]]:
    """The program as users run it: exit code, standard output, messages."""
    done = subprocess.run(
        [sys.executable, "-m", "orlop", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return done.returncode, done.stdout, messages(done.stderr)


def test_the_program_ends_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"{HEAD}snapshotter = 3\n")
    code, out, lines = process("config", "check", "--config", str(path))
    assert (code, out, len(lines)) == (1, "", 1)
    assert lines[0].startswith(f"orlop: {path}:3: ")


def test_the_daemon_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"{HEAD}stats_collect_period = -1\n")
    place = ["--root", f"{tmp_path}/root", "--state", f"{tmp_path}/state"]
    code, out, lines = process(
        "daemon", "--config", str(path), *place, "--address", f"unix://{tmp_path}/s"
    )
    assert (code, out, len(lines)) == (1, "", 1)
    assert lines[0].startswith(f"orlop: {path}:3: ")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("imported", [False, True], ids=["itself", "imported"])
def test_a_fifo_keeps_nobody_waiting(imported: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    path = tmp_path / "fifo"
    if imported:
        path = tmp_path / "c.toml"
        path.write_text('version = 4\nimports = ["fifo"]\n')
    code, out, lines = process("config", "check", "--config", str(path))
    assert (code, out, len(lines)) == (1, "", 1)
    assert f"{tmp_path}/fifo" in lines[0]
