"""Documents that are none: one clear message, soon, from the program as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = b'[plugins."io.containerd.cri.v1.images"]\n'

BAD: dict[str, tuple[bytes, str]] = {
    "no TOML": (b"version = 4\n\nsnapshotter: native\n", ":3: not TOML: "),
    "a string that does not end": (b'version = 4\nroot = "/x\n', ":2: not TOML: "),
    "a duplicate key": (b"version = 4\nroot = '/a'\nroot = '/b'\n", ":3: not TOML: "),
    "a wrong type": (b"version = 4\n" + IMAGES + b"snapshotter = 5\n", ":3: plugins."),
    "a huge number": (b"version = 4\noom_score = " + b"9" * 5000, ":2: not TOML: "),
    "a number that is too big": (
        b"version = 4\n" + IMAGES + b"max_total_downloads = " + b"9" * 400,
        ":3: plugins.",
    ),
    "binary junk": (bytes(range(256)) * 40, ":2: not TOML: "),
    "null bytes": (b"version = 4\n\0\0", ":2: not TOML: "),
    "a byte order mark": (b"\xef\xbb\xbfversion = 4\n", ":1: not TOML: "),
    "UTF-16": ("version = 4\n".encode("utf-16"), ":1: not TOML: "),
    "deep arrays": (b"\na = " + b"[" * 200_000, ":2: it is nested"),
    "deep tables": (b"a" + b".a" * 200_000 + b" = 1", ":1: it is nested"),
    "ten megabytes": (b"# x\n" * 2_500_000, ": a configuration has 1048576 bytes at most"),
    "a version of the future": (b"\nversion = 5\n", ":2: version: "),
    "no table": (b"version = 4\nplugins = 1\n", ":2: plugins: expected a table"),
}


def check(path: Path, *command: str) -> tuple[int, str, str, float]:
    """Exit code, standard output, standard error and seconds of ``orlop config check``."""
    before = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "orlop", "config", *(command or ("check",)), str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr, time.monotonic() - before


@pytest.mark.parametrize("what", BAD)
def test_one_message_and_exit_code_1(what: str, tmp_path: Path) -> None:
    data, message = BAD[what]
    path = tmp_path / "config.toml"
    path.write_bytes(data)
    code, out, err, seconds = check(path)
    assert (code, out) == (1, "")
    first, *rest = err.splitlines()
    assert first.startswith(f"orlop: {path}{message}")
    assert all(line.startswith("hint: ") for line in rest)
    assert len(rest) <= 1
    assert len(first) < 500
    assert seconds < 20


@pytest.mark.parametrize("command", ["check", "dump", "migrate"])
def test_what_is_no_file_does_not_keep_anybody_waiting(command: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    code, out, err, _ = check(tmp_path / "fifo", command)
    assert (code, out) == (1, "")
    assert err == f"orlop: {tmp_path}/fifo: it is no ordinary file\n"


def test_an_import_that_is_wrong_is_named_itself(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('version = 4\nimports = ["d/*"]\n')
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("version = 4\nroot = []\n")
    code, _, err, _ = check(path)
    assert (code, err) == (1, f"orlop: {tmp_path}/d/x:2: root: expected str, got array\n")
