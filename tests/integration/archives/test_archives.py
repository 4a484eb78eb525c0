"""Archives as users have them: several images, platforms, pipes, compression, names."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    DigestMismatch,
    FailedPrecondition,
    InvalidArgument,
    NoMatchingPlatform,
    NotFound,
    SignatureRejected,
)
from orlop.model.mediatype import Compression
from orlop.ports.service import ExportOptions, ImportOptions, PullOptions
from orlop.testing.faults import Fault
from orlop.testing.layers import compress, file, tar_bytes
from tests.integration.archives.conftest import APP, ARM, BOTH, OTHER, make_layout, opened
from tests.integration.pull.rig import offer, running
from tests.integration.pull.test_verifiers import verifying, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from orlop.model.digest import Digest
    from orlop.testing.fake_registry import FakeRegistry
    from orlop.testing.images import BuiltImage
    from tests.integration.archives.conftest import Bench

pytestmark = pytest.mark.root

REF_NAME = "org.opencontainers.image.ref.name"


def layout(*images: BuiltImage, names: Mapping[int, str] | None = None) -> bytes:
    """An OCI layout, with the annotation ``ref.name`` for some."""
    entries = []
    blobs: dict[Digest, bytes] = {}
    for at, image in enumerate(images):
        entry: dict[str, object] = {
            "mediaType": image.media_type,
            "digest": str(image.digest),
            "size": len(image.manifest),
        }
        if names and at in names:
            entry["annotations"] = {REF_NAME: names[at]}
        entries.append(entry)
        blobs |= {**image.blobs, image.digest: image.manifest}
    return tar_bytes(
        [
            file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            file("index.json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode()),
            *(file(f"blobs/sha256/{digest.hex}", blob) for digest, blob in blobs.items()),
        ]
    )


def docker(image: BuiltImage, *tags: str) -> bytes:
    """What ``docker save`` wrote for years: layers that are not compressed."""
    layers = [f"{layer.diff_id.hex}/layer.tar" for layer in image.layers]
    listed = [{"Config": "config.json", "RepoTags": list(tags), "Layers": layers}]
    return tar_bytes(
        [
            *(file(name, layer.tar) for name, layer in zip(layers, image.layers, strict=True)),
            file("config.json", image.config),
            file("manifest.json", json.dumps(listed).encode()),
        ]
    )


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe."""
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def written(bench: Bench, data: bytes, name: str = "in.tar") -> Path:
    path = bench.directory / name
    path.write_bytes(data)
    return path


async def test_several_images(bench: Bench, registry: FakeRegistry) -> None:
    names = [offer(registry, "app", "v1", APP), offer(registry, "other", "v2", OTHER)]
    for name in names:
        await bench.store.service.pull(name)
    archive = await bench.give(*names)
    for name in names:
        await bench.store.service.remove(name)
    images = await bench.take(archive)
    assert [image.record.manifest for image in images] == [APP.digest, OTHER.digest]
    assert [names[at] in {one.name for one in images[at].names} for at in (0, 1)] == [True, True]


async def test_import_of_what_is_here_does_nothing(bench: Bench) -> None:
    path = written(bench, layout(APP, names={0: "registry.example/app:v1"}))
    (first,) = await bench.take(path)
    before, trees = await bench.store.traces(), bench.store.trees_made()
    (again,) = await bench.take(path)
    assert again == first
    assert await bench.store.traces() == before
    assert bench.store.trees_made() == trees


@pytest.mark.parametrize(
    ("text", "base", "expected"),
    [
        ("registry.example/app:v1", "", "registry.example/app:v1"),
        ("busybox:1", "", "docker.io/library/busybox:1"),
        ("v1", "team/app", "docker.io/team/app:v1"),
        ("v1", "", None),
        ("My Image!", "", None),
    ],
)
async def test_names(bench: Bench, text: str, base: str, expected: str | None) -> None:
    path = written(bench, layout(APP, names={0: text}))
    (image,) = await bench.take(path, ImportOptions(base_name=base))
    tags = [name.name for name in image.names if "@" not in name.name]
    assert tags == sorted(filter(None, [expected, str(APP.id)]))
    found = await bench.store.service.find(str(APP.id))
    assert found is not None
    assert (await bench.store.service.check())[0].problems == ()


async def test_a_name_of_the_users(bench: Bench) -> None:
    one = written(bench, layout(APP, names={0: "theirs:v1"}))
    (image,) = await bench.take(one, ImportOptions(name="mine"))
    assert "docker.io/library/mine:latest" in {name.name for name in image.names}
    assert "docker.io/library/theirs:v1" not in {name.name for name in image.names}
    two = written(bench, layout(APP, OTHER))
    with pytest.raises(InvalidArgument, match="2 images"):
        await bench.take(two, ImportOptions(name="mine"))


async def test_an_old_docker_archive(bench: Bench) -> None:
    path = written(bench, docker(APP, "app:v1", "app:v2"))
    (image,) = await bench.take(path)
    assert image.record.id == APP.id
    names = {name.name for name in image.names}
    assert {"docker.io/library/app:v1", "docker.io/library/app:v2"} <= names
    detail = await bench.store.service.detail("app:v1")
    assert [layer.digest for layer in detail.manifest.layers] == list(APP.diff_ids)
    assert (await bench.store.service.check())[0].problems == ()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: compress(data, Compression.ZSTD),
    "plain": bytes,
}


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("piped", [True, False])
async def test_pipes_and_compression(bench: Bench, packing: str, piped: bool) -> None:
    data = PACK[packing](layout(OTHER))
    if piped:
        reader, writer = os.pipe()
        feeder = threading.Thread(target=_feed, args=(writer, data))
        feeder.start()
        try:
            (image,) = await bench.store.service.import_images(reader)
        finally:
            os.close(reader)
            feeder.join()
    else:
        (image,) = await bench.take(written(bench, data))
    assert image.record.manifest == OTHER.digest
    assert bench.store.ingests() == {}


def _feed(writer: int, data: bytes) -> None:
    with open(writer, "wb") as file:
        file.write(data)


async def test_a_cancelled_import_leaves_nothing(bench: Bench) -> None:
    before = await bench.store.traces()
    with pipe() as (reader, writer):
        os.write(writer, layout(OTHER)[:4000])
        task = asyncio.create_task(bench.store.service.import_images(reader))
        async with asyncio.timeout(10):
            while not any(bench.store.ingests().values()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await bench.store.traces() == before


async def test_platforms(bench: Bench, registry: FakeRegistry) -> None:
    name = offer(registry, "both", "v1", BOTH)
    service = bench.store.service
    for platform in ("linux/amd64", "linux/arm64"):
        await service.pull(name, PullOptions(platform=platform))
    whole = await bench.give(name, options=ExportOptions(all_platforms=True), to="whole")
    default = await bench.give(name, to="default")
    arm = await bench.give(name, options=ExportOptions(platforms=("arm64",)), to="arm")
    with pytest.raises(NoMatchingPlatform, match="riscv64"):
        await bench.give(name, options=ExportOptions(platforms=("riscv64",)))
    await service.remove(name)

    images = await bench.take(whole, ImportOptions(all_platforms=True))
    assert {image.record.manifest for image in images} == {APP.digest, ARM.digest}
    assert {one.target.digest for image in images for one in image.names} == {BOTH.digest}
    await service.remove(name)
    (image,) = await bench.take(whole, ImportOptions(platforms=("linux/arm64",)))
    assert image.record.manifest == ARM.digest
    await service.remove(name)
    (image,) = await bench.take(default)
    assert image.record.manifest == APP.digest
    await service.remove(name)
    with pytest.raises(NoMatchingPlatform):
        await bench.take(arm)
    (image,) = await bench.take(arm, ImportOptions(all_platforms=True))
    assert image.record.platform == "linux/arm64"


async def test_an_index_of_which_only_a_part_is_here(bench: Bench, registry: FakeRegistry) -> None:
    name = offer(registry, "both", "v1", BOTH)
    await bench.store.service.pull(name)
    archive = await bench.give(name, options=ExportOptions(all_platforms=True))
    await bench.store.service.remove(name)
    (image,) = await bench.take(archive, ImportOptions(all_platforms=True))
    assert {one.target.digest for one in image.names} == {APP.digest}


async def test_the_same_images_make_the_same_bytes(bench: Bench, registry: FakeRegistry) -> None:
    name = offer(registry, "app", "v1", APP)
    await bench.store.service.pull(name)
    first = (await bench.give(name, to="first")).read_bytes()
    reader, writer = os.pipe()
    found: list[bytes] = []
    drain = threading.Thread(target=lambda: found.append(_read_all(reader)))
    drain.start()
    try:
        await bench.store.service.export([name], writer)
    finally:
        os.close(writer)
        drain.join()
    assert found == [first]
    with (bench.directory / "appended").open("ab") as appended:
        await bench.store.service.export([name], appended.fileno())
    assert (bench.directory / "appended").read_bytes() == first


def _read_all(reader: int) -> bytes:
    with open(reader, "rb") as file:
        return file.read()


async def test_a_reader_that_leaves(bench: Bench, registry: FakeRegistry) -> None:
    name = offer(registry, "other", "v1", OTHER)
    await bench.store.service.pull(name)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(FailedPrecondition, match="Broken pipe"):
            await bench.store.service.export([name], writer)
    finally:
        os.close(writer)


async def test_a_reader_that_does_not_read_can_be_left(
    bench: Bench, registry: FakeRegistry
) -> None:
    name = offer(registry, "other", "v1", OTHER)
    await bench.store.service.pull(name)
    with pipe() as (_, writer):
        task = asyncio.create_task(bench.store.service.export([name], writer))
        done, _ = await asyncio.wait({task}, timeout=0.3)
        assert not done
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


async def test_discarded_layers_cannot_be_exported(tmp_path: Path, registry: FakeRegistry) -> None:
    name = offer(registry, "app", "v1", APP)
    async with running(tmp_path / "lean", discard_unpacked_layers=True) as store:
        await store.service.pull(name)
        path = tmp_path / "out"
        with opened(path, os.O_WRONLY | os.O_CREAT) as fd:
            with pytest.raises(FailedPrecondition, match="discarded"):
                await store.service.export([name], fd)
            with pytest.raises(NotFound):
                await store.service.export(["no/such:image"], fd)
        assert path.read_bytes() == b""


async def test_a_layout_in_a_directory(bench: Bench) -> None:
    place = make_layout(bench.directory / "layout", APP)
    (image,) = await bench.take(place, ImportOptions(name="app"))
    assert image.record.manifest == APP.digest


async def test_verifiers_are_asked(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(layout(APP, names={0: "registry.example/app:v1"}))
    unnamed = tmp_path / "unnamed"
    unnamed.write_bytes(layout(APP))
    async with verifying(tmp_path) as (store, directory):
        with opened(path, os.O_RDONLY) as fd, opened(unnamed, os.O_RDONLY) as bare:
            write(directory, 'echo "$2"; exit 1')
            with pytest.raises(SignatureRejected, match=r"registry\.example/app:v1"):
                await store.service.import_images(fd)
            with pytest.raises(SignatureRejected, match="no name"):
                await store.service.import_images(bare)
            assert await store.service.images() == []
            write(directory, "exit 0")
            assert len(await store.service.import_images(fd)) == 1


async def test_a_shared_download_is_no_way_to_get_what_one_has_not(
    bench: Bench, registry: FakeRegistry
) -> None:
    """The registry's layer is on its way; an archive that only names it must not have it."""
    name = offer(registry, "other", "v1", OTHER)
    layer = OTHER.layers[1]
    bogus = bytes(len(layer.blob))
    whole = layout(OTHER)
    start = whole.index(layer.blob)
    path = written(bench, whole[:start] + bogus + whole[start + len(bogus) :])
    registry.fail(Fault(delay=1.0), path=str(layer.digest))
    pulling = asyncio.create_task(bench.store.service.pull(name))
    async with asyncio.timeout(10):
        while not any(  # noqa: ASYNC110 - the registry tells nobody
            one.path.endswith(str(layer.digest)) for one in registry.requests
        ):
            await asyncio.sleep(0.005)
    with pytest.raises(DigestMismatch):
        await bench.take(path)
    assert not pulling.done()
    await pulling


async def test_what_a_killed_import_left_is_removed_at_the_start(tmp_path: Path) -> None:
    async with running(tmp_path / "root") as store:
        for ref in ("import-0123", "layer-of-a-pull"):
            with store.blobs.ingest(ref) as ingest:
                ingest.write(b"some")
    async with running(tmp_path / "root") as store:
        assert list(store.ingests()) == ["layer-of-a-pull"]
