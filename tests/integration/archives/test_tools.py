"""To other programs and back: skopeo and podman read what orlop writes, and the reverse."""

from __future__ import annotations

import hashlib
import json
import tempfile
from typing import TYPE_CHECKING

import pytest

from orlop.ports.service import ExportOptions
from tests.integration.archives.conftest import APP, OTHER, make_layout, run, skopeo
from tests.integration.pull.rig import offer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orlop.ports.metadata import Image
    from orlop.testing.fake_registry import FakeRegistry
    from tests.integration.archives.conftest import Bench

pytestmark = pytest.mark.root


def tagged(images: Iterable[Image]) -> list[str]:
    """Names with tags."""
    return sorted(
        name.name
        for image in images
        for name in image.names
        if "@" not in name.name and "/" in name.name
    )


async def test_skopeo_reads_what_is_exported(bench: Bench, registry: FakeRegistry) -> None:
    name = offer(registry, "app", "v1", APP)
    await bench.store.service.pull(name)
    archive = await bench.give(name)
    layout = bench.directory / "layout"
    await skopeo(f"oci-archive:{archive}:{name}", f"oci:{layout}:copy")
    index = json.loads((layout / "index.json").read_bytes())
    assert index["manifests"][0]["digest"] == str(APP.digest)
    blobs = {path.name for path in (layout / "blobs" / "sha256").iterdir()}
    assert blobs == {digest.hex for digest in (APP.digest, *APP.blobs)}
    # The same file is a Docker archive.
    await skopeo(f"docker-archive:{archive}:{name}", f"dir:{bench.directory}/copy")
    config = json.loads((bench.directory / "copy" / "manifest.json").read_bytes())["config"]
    assert config["digest"] == str(APP.id)


@pytest.mark.parametrize("form", ["oci", "oci-archive", "docker-archive"])
async def test_what_skopeo_writes_is_imported(bench: Bench, form: str) -> None:
    name = "docker.io/library/app:v1"
    layout = make_layout(bench.directory / "layout", APP)
    path = bench.directory / "theirs"
    await skopeo(f"oci:{layout}", f"{form}:{path}:{name}")
    (image,) = await bench.take(path)
    assert image.record.id == APP.id
    assert tagged([image]) == [name]
    assert (image.record.manifest == APP.digest) == (form != "docker-archive")
    (report,) = await bench.store.service.check()
    assert report.problems == ()


async def test_a_round_trip_through_skopeo_changes_no_byte(
    bench: Bench, registry: FakeRegistry
) -> None:
    name = offer(registry, "app", "v1", APP)
    await bench.store.service.pull(name)
    first = await bench.give(name)
    again = bench.directory / "again.tar"
    await skopeo(f"oci-archive:{first}:{name}", f"oci-archive:{again}:{name}")
    await bench.store.service.remove(name)
    assert (await bench.store.traces()).rows == frozenset()
    (image,) = await bench.take(again)
    assert (image.record.manifest, image.record.id) == (APP.digest, APP.id)
    second = await bench.give(name, to="second.tar")
    assert _sha256(first) == _sha256(second)


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[list[str]]:
    """The words that start podman on a storage of its own; it wants a short path to run in."""
    with tempfile.TemporaryDirectory(prefix="pod") as directory:
        yield [
            *("podman", "--root", str(tmp_path / "graph"), "--runroot", directory),
            *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"),
        ]


async def test_podman_loads_and_saves(
    bench: Bench, registry: FakeRegistry, podman: list[str]
) -> None:
    names = [offer(registry, "app", "v1", APP), offer(registry, "other", "v2", OTHER)]
    for name in names:
        await bench.store.service.pull(name)
    await run(*podman, "load", "-i", await bench.give(*names))
    form = "{{.Repository}}:{{.Tag}} {{.ID}}"
    listed = await run(*podman, "images", "--no-trunc", "--format", form)
    assert sorted(listed.splitlines()) == sorted(
        f"{name} {image.id}" for name, image in zip(names, (APP, OTHER), strict=True)
    )
    for form in ("docker-archive", "oci-archive"):
        await bench.store.service.remove(names[0])
        saved = bench.directory / form
        await run(*podman, "save", "--format", form, "-o", saved, names[0])
        (image,) = await bench.take(saved)
        # Podman writes a config of its own, for the same layers.
        detail = await bench.store.service.detail(str(image.record.id))
        assert detail.config.diff_ids == APP.diff_ids
        assert tagged([image]) == [names[0]]


async def test_docker_format(bench: Bench, registry: FakeRegistry) -> None:
    name = offer(registry, "app", "v1", APP)
    await bench.store.service.pull(name)
    archive = await bench.give(name, options=ExportOptions(format="docker"))
    await skopeo(f"docker-archive:{archive}", f"oci:{bench.directory}/copy")
    await bench.store.service.remove(name)
    (image,) = await bench.take(archive)
    assert image.record.id == APP.id
    assert tagged([image]) == [name]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
