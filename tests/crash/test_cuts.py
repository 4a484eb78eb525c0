"""Power cuts of real file systems: a few of each kind, and that the rigs are not blind.

The long runs are ``python -m tests.crash.cuts``. Each run has a process of its own, whose
mounts nobody else sees.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.cuts.disks import KINDS

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parents[2]
_STATES = {"ext4": 100, "xfs": 40, "btrfs": 40}


def _cut(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.crash.cuts", *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=590,
    )


@pytest.mark.parametrize("fs", KINDS)
def test_a_disk_that_loses_what_it_was_not_told_to_keep(fs: str) -> None:
    done = _cut("--rig", "block", "--fs", fs, "--states", str(_STATES[fs]), "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 violations" in done.stdout


@pytest.mark.parametrize("fs", KINDS)
def test_a_disk_that_is_cloned_while_images_are_pulled(fs: str) -> None:
    done = _cut("--rig", "clones", "--fs", fs, "--states", "15", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "15 examined" in done.stdout


@pytest.mark.parametrize(
    ("rig", "step"),
    [
        ("block", "image-syncfs"),
        ("block", "transaction-last"),
        ("block", "wal-synchronous-full"),
        ("clones", "image-syncfs"),
    ],
)
def test_a_missing_step_is_seen(rig: str, step: str) -> None:
    done = _cut("--rig", rig, "--states", "250", "--seed", "7", "--without", step)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "VIOLATION" in done.stdout, done.stderr


def test_files_that_containerd_loses_are_seen() -> None:
    done = _cut("--peer")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is not whole on" in done.stdout
