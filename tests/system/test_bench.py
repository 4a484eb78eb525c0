"""The benchmarks still run: one round with a tiny image. Nothing is timed here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

_ROOT = Path(__file__).parents[2]


def test_both_peers_pull_the_same_tree(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    peers = ["--only", "containerd", "--only", "orlop"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.pull", "--tiny", *peers, "--pairs", "1", "--json", result],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    samples = json.loads(result.read_text())["samples"]
    assert [sample["peer"] for sample in samples] == ["containerd", "orlop"]
    assert samples[0]["entries"] == samples[1]["entries"] > 100


def test_the_limit_of_the_machine_is_found() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.limit", "--image", "tiny"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "limit" in done.stdout
