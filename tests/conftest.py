"""What all tests share: the powers of this machine, shown at the top of every report."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def pytest_report_header() -> str:
    """Which kinds of tests can run here; those that cannot will fail, not be skipped."""
    powers = {
        "root": os.geteuid() == 0,
        "overlay": "overlay" in Path("/proc/filesystems").read_text().split(),
        "loop": Path("/dev/loop-control").exists() and shutil.which("losetup") is not None,
        "docker-registry": shutil.which("docker-registry") is not None,
    }
    return "powers: " + ", ".join(f"{name} {_yes(has)}" for name, has in powers.items())


def _yes(has: bool) -> str:
    return "yes" if has else "NO"
