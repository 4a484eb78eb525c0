"""SIGKILL before every change that a pull or a removal makes to the disk.

Whatever the moment, the store opens again, lists only whole images, has what was
acknowledged, and the next pull of the same image succeeds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image
from orlop.testing.layers import directory, file, hard_link, symlink
from tests.crash.invariants import Expectation, captured, violations

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference() -> Iterator[str]:
    """An image of three layers in a registry; the topmost needs the layers below it."""
    image = build_image(
        [
            [directory("etc", mode=0o750, uid=3), file("etc/a", b"a" * 5000), symlink("l", "etc")],
            [file("etc/b", b"b"), file("etc/.wh.a"), file("usr/bin/c", os.urandom(300_000))],
            [hard_link("etc/linked", "etc/b"), file("l/through", b"link")],
        ]
    )
    with FakeRegistry() as registry:
        for blob in image.blobs.values():
            registry.add_blob(blob)
        registry.add_manifest("crash", "1", image.manifest, image.media_type)
        yield f"{registry.address}/crash:1"


@dataclass(frozen=True)
class Undisturbed:
    """A store that nobody killed, with the image in it."""

    root: Path
    images: dict[str, Expectation]


@pytest.fixture(scope="module")
def undisturbed(reference: str, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root = tmp_path_factory.mktemp("undisturbed") / "store"
    _run(root, "pull", reference, 0)
    return Undisturbed(root, asyncio.run(captured(root)))


@pytest.mark.row("L06")
def test_a_pull_that_is_killed_anywhere(
    reference: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    changes = int(_run(tmp_path / "whole", "pull", reference, 0)[-1])
    assert changes > 30
    for change in range(1, changes + 1):
        root = tmp_path / str(change)
        acknowledged = "acknowledged" in _run(root, "pull", reference, change)
        there = undisturbed.images if acknowledged else {}
        _examine(root, reference, undisturbed, acknowledged=there)
        shutil.rmtree(root)


@pytest.mark.row("L06")
def test_a_removal_that_is_killed_anywhere(
    reference: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    _copy(undisturbed.root, tmp_path / "whole")
    changes = int(_run(tmp_path / "whole", "remove", reference, 0)[-1])
    assert changes > 5
    for change in range(1, changes + 1):
        root = tmp_path / str(change)
        _copy(undisturbed.root, root)
        acknowledged = "acknowledged" in _run(root, "remove", reference, change)
        removed = tuple(undisturbed.images) if acknowledged else ()
        _examine(root, reference, undisturbed, removed=removed)
        shutil.rmtree(root)


def _run(root: Path, work: str, reference: str, change: int) -> list[str]:
    """What the victim printed until it ended; it ends well, or by SIGKILL when it must."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.victim", str(root), work, reference, str(change)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode in ((0,) if change == 0 else (0, -9)), done.stderr
    return done.stdout.split()


def _copy(store: Path, to: Path) -> None:
    subprocess.run(["cp", "-a", str(store), str(to)], check=True)


def _examine(
    root: Path,
    reference: str,
    undisturbed: Undisturbed,
    *,
    acknowledged: Mapping[str, Expectation] | None = None,
    removed: Collection[str] = (),
) -> None:
    """Open the store that was left, judge it, and pull again."""
    found = violations(
        root,
        acknowledged=acknowledged,
        removed=removed,
        possible=undisturbed.images,
        pulls={reference: undisturbed.images[reference]},
        ignore=frozenset({"mtime_ns"}),
    )
    assert asyncio.run(found) == []
