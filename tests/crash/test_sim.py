"""Power cuts of a simulated disk: a part of what ``python -m tests.crash.sim`` does.

Each run has processes of its own, whose calls of ``os`` go to the simulated disk.
"""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.crash.sim.beside import differences

pytestmark = pytest.mark.timeout(300)

_ROOT = Path(__file__).parents[2]
_STATES = 2000


def _sim(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.crash.sim", "--states", str(_STATES), *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=290,
    )


@pytest.mark.row("L07")
def test_what_a_power_cut_may_leave_is_put_right() -> None:
    done = _sim("--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{_STATES} states" in done.stdout
    assert " 0 violations" in done.stdout


@pytest.mark.parametrize(
    ("step", "model"),
    [("image-syncfs", "ext4"), ("layout-fsync", "weak"), ("wal-synchronous-full", "xfs")],
)
def test_a_missing_step_is_seen_and_seen_again(step: str, model: str) -> None:
    done = _sim("--seed", "7", "--model", model, "--without", step)
    assert done.returncode == 1, done.stdout + done.stderr
    state, problem = re.findall(r"^VIOLATION (.*)\n +(.*)$", done.stderr, re.MULTILINE)[0]
    again = _sim("--replay", state, "--without", step)
    assert again.returncode == 1, again.stdout + again.stderr
    assert problem in again.stdout.splitlines()


def test_the_simulated_disk_answers_as_the_kernel_does(tmp_path: Path) -> None:
    compare = partial(differences, str(tmp_path), seed=7, calls=3000)
    # What it replaces is replaced for good.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(compare).result() == []
