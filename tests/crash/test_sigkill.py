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
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.app import embedded
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image
from orlop.testing.layers import directory, file, hard_link, symlink
from tests.rigs.tree import Node, differences, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.ports.metadata import Image

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


@pytest.fixture(scope="module")
def expected(reference: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was never disturbed, with the image in it."""
    root = tmp_path_factory.mktemp("expected") / "store"
    _run(root, "pull", reference, 0)
    return root


@pytest.mark.row("L06")
def test_a_pull_that_is_killed_anywhere(reference: str, expected: Path, tmp_path: Path) -> None:
    changes = int(_run(tmp_path / "whole", "pull", reference, 0)[-1])
    assert changes > 30
    whole = _trees(expected)
    for change in range(1, changes + 1):
        root = tmp_path / str(change)
        acknowledged = "acknowledged" in _run(root, "pull", reference, change)
        asyncio.run(_examine(root, reference, acknowledged=acknowledged))
        found = _trees(root)
        assert len(found) == len(whole)
        for left, right in zip(found, whole, strict=True):
            assert differences(left, right, ignore=frozenset({"mtime_ns"})) == [], (
                f"killed before change {change}"
            )
        shutil.rmtree(root)


@pytest.mark.row("L06")
def test_a_removal_that_is_killed_anywhere(reference: str, expected: Path, tmp_path: Path) -> None:
    _copy(expected, tmp_path / "whole")
    changes = int(_run(tmp_path / "whole", "remove", reference, 0)[-1])
    assert changes > 5
    for change in range(1, changes + 1):
        root = tmp_path / str(change)
        _copy(expected, root)
        acknowledged = "acknowledged" in _run(root, "remove", reference, change)
        asyncio.run(_examine(root, reference, removed=acknowledged))
        shutil.rmtree(root)


def _run(root: Path, work: str, reference: str, change: int) -> list[str]:
    """What the victim printed until it ended; it ends well, or by SIGKILL when it must."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.victim", str(root), work, reference, str(change)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in ((0,) if change == 0 else (0, -9)), done.stderr
    return done.stdout.split()


def _copy(store: Path, to: Path) -> None:
    subprocess.run(["cp", "-a", str(store), str(to)], check=True)


async def _examine(
    root: Path, reference: str, *, acknowledged: bool = False, removed: bool = False
) -> None:
    """Open the store that was left, judge it, and pull again."""
    async with embedded(root=str(root)) as service:
        images: list[Image] = await service.images()
        assert all(report.problems == () for report in await service.check())
        if acknowledged:
            assert len(images) == 1
        if removed:
            assert images == []
        assert list(root.glob("io.containerd.snapshotter.v1.*/staging/*")) == []
        pulled = await service.pull(reference)
        assert (await service.check())[0].problems == ()
        assert len(pulled.names) == 3
        usage = (await service.filesystems())[0].usage
    assert list(root.glob("io.containerd.snapshotter.v1.*/trash/*")) == []
    blobs = sum(path.stat().st_size for path in root.glob("*content*/blobs/sha256/*"))
    assert usage.bytes >= blobs


def _trees(root: Path) -> list[dict[bytes, Node]]:
    """The layers' own trees of a store with one image, in a stable order."""
    found = [tree(path) for path in root.glob("*overlayfs/snapshots/*/fs")]
    for one in found:
        one.pop(b".", None)
    return sorted(found, key=lambda nodes: sorted(nodes))
