"""``make demo``: it does what it says, and leaves nothing, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.rig import offer, small_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.testing.distribution import DistributionRegistry

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
STEPS = ("Make an image", "Serve it", "Start the daemon", "Pull", "List", "Mount", "Look", "Remove")


def start(temporary: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "demo", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), **environment},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where the demonstration makes its directory; a short path, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="t") as path:
        yield Path(path)


def nothing_is_left(temporary: Path) -> bool:
    """No file, no mount, no process of it."""
    mounts = Path("/proc/self/mountinfo").read_bytes()
    words = mounts + b"".join(map(_command_line, Path("/proc").glob("[0-9]*")))
    return not list(temporary.iterdir()) and os.fsencode(temporary) not in words


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def test_the_whole_story(temporary: Path) -> None:
    code, out, err = finish(start(temporary))
    assert (code, err) == (0, "")
    at = [out.index(f" {step}") for step in STEPS]
    assert at == sorted(at)
    assert "docker-registry: 127.0.0.1:" in out
    assert "removed by the top layer" in out
    assert "on disk: 0 blobs, 0 snapshots" in out
    assert "Done in" in out
    assert nothing_is_left(temporary)


def test_a_machine_without_a_registry(temporary: Path) -> None:
    code, out, err = finish(start(temporary, PATH="/nonexistent"))
    assert (code, err) == (0, "")
    assert "a registry in this process: 127.0.0.1:" in out
    assert nothing_is_left(temporary)


def test_an_image_of_somebody_else(temporary: Path, registry: DistributionRegistry) -> None:
    reference = offer(registry, small_image("demo"), "somebody/else", "1")
    code, out, err = finish(start(temporary, reference))
    assert (code, err) == (0, "")
    assert f"Pull {reference}" in out
    assert "/: bin etc usr" in out
    assert "Make an image" not in out
    assert nothing_is_left(temporary)


def test_a_failure_leaves_nothing(temporary: Path, registry: DistributionRegistry) -> None:
    code, _, err = finish(start(temporary, f"{registry.address}/not/there:1"))
    assert code == 1
    assert err.startswith("failed: ")
    assert "not/there" in err
    assert "Traceback" not in err
    assert nothing_is_left(temporary)


@pytest.mark.parametrize("step", ["Start the daemon", "Pull"])
def test_a_signal_leaves_nothing(temporary: Path, step: str) -> None:
    process = start(temporary)
    assert process.stdout is not None
    for line in process.stdout:
        if step in line:
            break
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert (code, err) == (130, "interrupted\n")
    assert nothing_is_left(temporary)


def test_without_root(temporary: Path) -> None:
    # In a user namespace without a mapping nobody is root.
    done = subprocess.run(
        ["unshare", "--user", sys.executable, "-m", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "needs root" in done.stderr
    assert nothing_is_left(temporary)
