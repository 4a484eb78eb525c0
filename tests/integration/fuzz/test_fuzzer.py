"""The fuzzer itself, briefly: it runs every target, and it finds what is there to find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[3]

BROKEN = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from fuzz import inside

def fragile(data):
    assert not data.startswith(b"AB")

inside.TARGETS["worker_frames"] = fragile
inside.main("worker_frames", 60, Path(".cache/fuzz/worker_frames"))
"""


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_runs(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "--seconds", "1", name],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing found" in done.stdout
    assert "unknown" not in done.stdout


def test_a_defect_is_found(tmp_path: Path) -> None:
    work = tmp_path / ".cache/fuzz/worker_frames"
    work.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", BROKEN.format(root=str(ROOT))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode != 0
    (crash,) = work.glob("found-crash-*")
    assert crash.read_bytes().startswith(b"AB")


def test_an_unknown_target_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "nothing"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no target nothing" in done.stderr
