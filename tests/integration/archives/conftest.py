"""A service, and images as archives of other makers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from orlop.model.mediatype import Compression
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image, build_index
from orlop.testing.layers import directory, file
from tests.integration.pull.rig import Store, running, unmount_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from orlop.ports.metadata import Image
    from orlop.ports.service import ExportOptions, ImportOptions
    from orlop.testing.images import BuiltImage

APP = build_image(
    [[directory("d"), file("d/a", b"a" * 3000)], [file("d/b", b"b")]],
    config={"config": {"User": "1000"}},
)
OTHER = build_image(
    [[directory("d"), file("d/a", b"a" * 3000)], [file("c", b"c" * 200_000)]],
    compression=Compression.NONE,
)
ARM = build_image([[file("arm", b"v8")]], platform="linux/arm64")
BOTH = build_index([APP, ARM])


@dataclass(frozen=True)
class Bench:
    """A store, and archives that go in and come out."""

    store: Store
    directory: Path

    async def take(self, path: Path, options: ImportOptions | None = None) -> list[Image]:
        """Import a file or a directory."""
        with opened(path, os.O_RDONLY) as fd:
            return await self.store.service.import_images(fd, options)

    async def give(
        self, *names: str, options: ExportOptions | None = None, to: str = "out.tar"
    ) -> Path:
        """Export into a file."""
        path = self.directory / to
        with opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
            await self.store.service.export(names, fd, options)
        return path


def make_layout(place: Path, image: BuiltImage, name: str = "") -> Path:
    """An OCI layout in the directory ``place``, which is made."""
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for digest, blob in {**image.blobs, image.digest: image.manifest}.items():
        (blobs / digest.hex).write_bytes(blob)
    entry: dict[str, object] = {
        "mediaType": image.media_type,
        "digest": str(image.digest),
        "size": len(image.manifest),
    }
    if name:
        entry["annotations"] = {"org.opencontainers.image.ref.name": name}
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (place / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return place


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


async def run(*arguments: str | Path) -> str:
    """What a program of another maker prints."""
    process = await asyncio.create_subprocess_exec(
        *map(str, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def skopeo(source: str, target: str) -> None:
    """Copy an image between its forms."""
    await run("skopeo", "--insecure-policy", "copy", "--quiet", source, target)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        yield found


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(tmp_path / "root") as store:
        yield Bench(store, tmp_path)
        unmount_all(store.root)
