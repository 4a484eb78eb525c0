"""Workers where the kernel does not allow all that they should give up."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root

POOR_DAEMON = """
import asyncio, json, os, sys
from orlop.linux import isolation
from orlop.errors import OrlopError
from orlop.model.digest import Digest
from orlop.model.mediatype import Compression
from orlop.ports.unpack import UnpackJob
from orlop.testing import layers
from orlop.unpack.pool import WorkerPool

place, strict = sys.argv[1], sys.argv[2] == "strict"
layer = layers.tar_bytes([layers.file("f", b"content")])

class Blob:
    def fileno(self):
        return self.file.fileno()
    async def follow(self):
        yield len(layer)

async def main():
    warnings, failures = [], []
    async with WorkerPool(strict=strict, warn=warnings.append) as pool:
        for number in range(2):
            blob = Blob()
            with open(f"{place}/blob", "w+b") as blob.file:
                blob.file.write(layer)
                blob.file.flush()
                os.mkdir(f"{place}/{number}")
                target = os.open(f"{place}/{number}", os.O_RDONLY)
                try:
                    await pool.unpack(UnpackJob(
                        blob, target, Compression.NONE, "overlay", Digest.of(layer), len(layer)))
                except OrlopError as error:
                    failures.append(f"{error.reference}: {error.message}")
    print(json.dumps([warnings, failures]))

# What a container without CAP_SYS_ADMIN has: most of what makes a jail is forbidden.
kept = [n for n in range(41) if n not in (6, 7, 8, 21, 24)]
isolation.keep_capabilities(kept)
asyncio.run(main())
"""


def poor_daemon(place: Path, how: str) -> tuple[list[str], list[str]]:
    """Warnings and failures of a pool without CAP_SYS_ADMIN that unpacks two layers."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", POOR_DAEMON, str(place), how],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    warnings, failures = json.loads(done.stdout)
    return warnings, failures


def test_what_is_missing_is_said_once_and_the_layer_unpacked(tmp_path: Path) -> None:
    warnings, failures = poor_daemon(tmp_path, "available")
    assert failures == []
    assert (tmp_path / "0" / "f").read_text() == (tmp_path / "1" / "f").read_text() == "content"
    assert len(warnings) == 1
    assert "less isolated" in warnings[0]
    assert "Operation not permitted" in warnings[0]
    for fence in ("PROCESSES", "ROOT", "NETWORK"):
        assert fence in warnings[0]
    for fence in ("LANDLOCK", "CALLS", "LIMITS"):
        assert fence not in warnings[0]


def test_strict_reads_nothing_without_all_of_it(tmp_path: Path) -> None:
    warnings, failures = poor_daemon(tmp_path, "strict")
    assert warnings == []
    assert len(failures) == 2
    for failure in failures:
        assert failure.startswith("failed-precondition: unpack worker cannot be isolated: ")
        assert "ROOT" in failure
    assert [*(tmp_path / "0").iterdir(), *(tmp_path / "1").iterdir()] == []
