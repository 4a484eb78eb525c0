"""What tests of failing machines share: an image, and questions about a service."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from orlop.errors import OrlopError
from orlop.testing.images import build_image
from orlop.testing.layers import Entry, directory, file, opaque, whiteout
from tests.integration.pull.rig import Store, offer
from tests.unit.unpack.rig import shape

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from pathlib import Path

    from orlop.testing.fake_registry import FakeRegistry


MEBIBYTE = 1 << 20
IMAGE = build_image(
    [
        [directory("d"), file("d/f", b"1" * 5000), file("g", b"2")],
        [whiteout("g"), opaque("d"), file("d/h", b"3"), Entry(b"x", xattrs={"user.a": b"b"})],
    ]
)
SHOWN = {"d": "dir", "d/h": b"3", "x": b""}
CONTENT = "io.containerd.content.v1.content"
OVERLAY = "io.containerd.snapshotter.v1.overlayfs"
DATABASE = "io.containerd.metadata.v1.sqlite"


async def whole(store: Store, count: int) -> None:
    """So many images are listed, and each of them is complete."""
    assert len(await store.service.images()) == count
    assert [one.problems for one in await store.service.check()] == [()] * count


async def failure(work: Awaitable[object]) -> OrlopError | None:
    """What went wrong, if something did. An exception that is none of ours is passed on."""
    try:
        await work
    except OrlopError as error:
        return error
    return None


async def works(store: Store, registry: FakeRegistry, target: Path) -> None:
    """All that is done with an image."""
    reference = offer(registry, "works/image", "v1", IMAGE)
    await store.service.pull(reference)
    target.mkdir()
    await store.service.mount(reference, str(target))
    try:
        assert shape(target) == SHOWN
    finally:
        await store.service.unmount(str(target))
        target.rmdir()
    assert await store.service.remove(reference)
    assert (await store.traces()).files == frozenset()


def free(path: Path) -> int:
    """Bytes, those among them that are kept for root."""
    found = os.statvfs(path)
    return found.f_bfree * found.f_frsize


def fill(path: Path) -> Path:
    """Take the last block of a file system."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file_:
        for piece in (MEBIBYTE, 4096, 1):
            with suppress(OSError):
                while file_.write(bytes(piece)):
                    continue
    assert free(path) < MEBIBYTE  # ext4 keeps some for itself
    return ballast


@contextmanager
def mounted(path: Path, *options: str) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", *options, str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)
