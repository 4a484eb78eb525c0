"""A sample of the points at which stores are killed, and of the errors that are let happen.

The whole sweeps are ``python -m tests.crash.kills`` and ``python -m tests.crash.errnos``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parents[2]


@pytest.mark.row("L06")
def test_a_sample_of_kills(tmp_path: Path) -> None:
    found = _run("kills", "--points", "40", "--seed", "3", "--record", str(tmp_path / "kills"))
    assert sum(count for kind, count in found.items() if "killed" in kind) > 30
    assert any(kind.endswith("twice") for kind in found)


@pytest.mark.row("L06")
def test_a_sample_of_errors(tmp_path: Path) -> None:
    found = _run(
        "errnos", "--injections", "50", "--seed", "3", "--record", str(tmp_path / "errors")
    )
    assert found["succeeded"] < found.total()
    assert sum(count for kind, count in found.items() if kind.startswith("Store")) > 5


def test_every_change_that_the_kernel_sees_is_a_point() -> None:
    """Another kind of call, or another way to make one, must not go unnoticed."""
    works = ("pull", "remove", "collect")
    done = _python("kills.traced", *works)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = [int(number) for number in re.findall(r": (\d+) counted, \1 seen", done.stdout)]
    assert len(counted) == len(works)
    assert min(counted) > 50


def _run(module: str, *arguments: str) -> Counter[str]:
    """The kinds of outcomes, after a run without a violation."""
    done = _python(module, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.findall(r"^  (\d+) (.*)$", done.stdout, re.MULTILINE)
    return Counter({kind: int(count) for count, kind in counts})


def _python(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"tests.crash.{module}", *arguments],
        cwd=_ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
