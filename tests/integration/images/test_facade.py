"""The front door: images that are pulled, named, mounted, checked and removed."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, StoreLocked
from orlop.images.facade import Library
from orlop.ports.service import PullOptions
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image, build_index
from orlop.testing.layers import directory, file
from tests.integration.pull.rig import Store, offer, running, unmount_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.root

IMAGE = build_image(
    [[directory("d"), file("d/a", b"a" * 1000)], [file("d/b", b"b")]],
    config={"config": {"User": "1000", "Env": ["A=b"]}},
)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        yield found


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with running(tmp_path / "root") as found:
        yield found
        unmount_all(found.root)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    return path


async def test_the_library(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    async with orlop.open(str(tmp_path / "root")) as library:
        image = await library.pull(reference)
        assert image.id == str(IMAGE.id)
        assert reference in image.names
        assert image.id not in image.names
        assert image.size > 1000
        assert (await image.config()).env == ("A=b",)
        async with image.mount() as path:
            assert (path / "d" / "a").read_bytes() == b"a" * 1000
            with pytest.raises(OSError, match="Read-only"):
                (path / "new").touch()
        assert not path.exists()
        async with image.mount(writable=True) as path:
            (path / "d" / "a").unlink()
            (path / "new").write_text("mine")
        async with image.mount() as path:
            assert sorted(os.listdir(path)) == ["d"]
        assert [one.id for one in await library.images()] == [image.id]
        assert (await library.get(reference)).id == image.id
        assert await library.remove(image.id)
        assert not await library.remove(image.id)
        with pytest.raises(NotFound):
            await library.get(reference)


async def test_what_is_leased_outlives_its_image(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    async with orlop.open(str(tmp_path / "root")) as library:
        image = await library.pull(reference)
        lease = await library.keep(reference)
        assert await library.remove(image.id)
        assert await library.images() == []
        registry.clear_requests()
        await library.pull(reference)
        asked = [one.path for one in registry.requests if "/blobs/" in one.path]
        assert asked == [], "all of it is here"
        await library.remove(image.id)
        await library.release(lease)
        registry.clear_requests()
        await library.pull(reference)
        asked = [one.path for one in registry.requests if "/blobs/" in one.path]
        assert len(asked) == 3, "config and layers"


async def test_a_second_one_on_the_same_root(tmp_path: Path) -> None:
    async with orlop.open(str(tmp_path / "root")):
        with pytest.raises(StoreLocked):
            async with orlop.open(str(tmp_path / "root")):
                pass


async def test_mounting(store: Store, registry: FakeRegistry, target: Path) -> None:
    service = store.service
    reference = offer(registry, "app", "v1", IMAGE)
    await service.pull(reference)
    await service.mount(reference, str(target))
    with pytest.raises(AlreadyExists):
        await service.mount(reference, str(target))
    link = target.parent / "link"
    link.symlink_to(target)
    with pytest.raises(AlreadyExists):
        await service.mount(reference, str(link))
    await service.unmount(str(link))
    with pytest.raises(NotFound):
        await service.unmount(str(target))
    with pytest.raises(NotFound):
        await service.mount(reference, str(target / "missing"))
    with pytest.raises(InvalidArgument):
        await service.mount(reference, "relative")
    with pytest.raises(NotFound):
        await service.mount("no/such:image", str(target))
    empty = await service.pull(offer(registry, "empty", "v1", build_image()))
    with pytest.raises(FailedPrecondition):
        await service.mount(str(empty.record.id), str(target))
    assert (await store.traces()).mounts == ()


async def test_a_busy_mount_stays(store: Store, registry: FakeRegistry, target: Path) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    await store.service.pull(reference)
    await store.service.mount(reference, str(target))
    with (target / "d" / "a").open("rb"), pytest.raises(FailedPrecondition):
        await store.service.unmount(str(target))
    assert (target / "d" / "a").exists()
    await store.service.unmount(str(target))


async def test_two_who_mount_on_one_place(
    store: Store, registry: FakeRegistry, target: Path
) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    await store.service.pull(reference)
    results = await asyncio.gather(
        *(store.service.mount(reference, str(target)) for _ in range(4)), return_exceptions=True
    )
    assert sorted(map(str, map(type, results))).count(str(AlreadyExists)) == 3
    assert (target / "d" / "b").read_bytes() == b"b"
    await store.service.unmount(str(target))
    assert not os.path.ismount(target)


async def test_a_mount_that_is_cancelled(
    store: Store, registry: FakeRegistry, target: Path
) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    await store.service.pull(reference)
    before = await store.traces()
    mounted = 0
    for moment in range(25):
        mounting = asyncio.create_task(store.service.mount(reference, str(target)))
        await asyncio.sleep(moment * 0.0005)
        mounting.cancel()
        await asyncio.wait({mounting})
        if not mounting.cancelled():
            mounted += 1
            await store.service.unmount(str(target))
        assert not os.path.ismount(target)
        assert await store.traces() == before
    assert mounted < 25


async def test_a_library_mount_that_is_cancelled(
    store: Store, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    image = await Library(store.service).pull(offer(registry, "app", "v1", IMAGE))

    async def hold() -> None:
        async with image.mount():
            await asyncio.sleep(60)

    for _ in range(5):
        holding = asyncio.create_task(hold())
        await asyncio.sleep(0.05)
        holding.cancel()
        await asyncio.sleep(0)
        holding.cancel()
        await asyncio.wait({holding})
        assert os.listdir(tmp_path / "temporary") == []


async def test_a_mount_keeps_the_layers_of_a_removed_image(
    store: Store, registry: FakeRegistry, target: Path
) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    await store.service.pull(reference)
    await store.service.mount(reference, str(target))
    assert await store.service.remove(reference)
    assert (target / "d" / "a").read_bytes() == b"a" * 1000
    await store.service.unmount(str(target))
    report = await store.service.collect()
    assert report.snapshots == 2
    assert (await store.traces()).files == frozenset()


async def test_namespaces(store: Store, registry: FakeRegistry, target: Path) -> None:
    """What one namespace has another does not see; a mount ends whoever made it."""
    reference = offer(registry, "app", "v1", IMAGE)
    await store.service.pull(reference, PullOptions(namespace="mine"))
    assert await store.service.find(reference) is None
    assert await store.service.find(reference, "mine") is not None
    await store.service.mount(reference, str(target), namespace="mine")
    await store.service.unmount(str(target))
    assert await store.service.remove(reference, "mine")
    assert (await store.traces()).files == frozenset()


async def test_finding(store: Store, registry: FakeRegistry) -> None:
    index = build_index([IMAGE])
    name = offer(registry, "team/app", "v1", index).removesuffix(":v1")
    pulled = await store.service.pull(f"{name}:v1", PullOptions(platform="linux/amd64"))
    for text in (
        str(IMAGE.id),
        IMAGE.id.hex,
        IMAGE.id.hex[:12],
        f"sha256:{IMAGE.id.hex[:7]}",
        f"{name}:v1",
        f"{name}@{index.digest}",
        f"{name}@{IMAGE.digest}",
        f"{name}:ignored@{IMAGE.digest}",
    ):
        assert await store.service.find(text) == pulled, text
        assert await store.service.images(text) == [pulled], text
    for text in (
        "",
        "NOT/valid",
        f"{name}:v2",
        name,
        f"{name}2@{IMAGE.digest}",
        "f" * 64 if IMAGE.id.hex[0] != "f" else "0" * 64,
        IMAGE.id.hex[1:20],
    ):
        assert await store.service.find(text) is None, text


async def test_removing_names(store: Store, registry: FakeRegistry) -> None:
    service = store.service
    first = offer(registry, "app", "v1", IMAGE)
    second = offer(registry, "app", "v2", IMAGE)
    other = offer(registry, "other", "v1", IMAGE)
    for reference in (first, second, other):
        await service.pull(reference)

    async def names() -> set[str]:
        images = await service.images()
        return {one.name for image in images for one in image.names} - {str(IMAGE.id)}

    digests = {f"{registry.address}/{name}@{IMAGE.digest}" for name in ("app", "other")}
    assert await names() == {first, second, other, *digests}
    assert await service.remove_name(first)
    assert await names() == {second, other, *digests}
    assert not await service.remove_name(first)
    # A repository's digest does not outlive its last tag.
    assert await service.remove_name(second)
    assert await names() == {other, f"{registry.address}/other@{IMAGE.digest}"}
    assert await service.remove_name(other)
    assert await names() == set()
    assert (await store.traces()).files == frozenset()
    await service.pull(first)
    assert await service.remove_name(IMAGE.id.hex[:12])
    assert (await store.traces()).rows == frozenset()


async def test_removing_a_digest_leaves_the_tag(store: Store, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    await store.service.pull(reference)
    by_digest = f"{reference.removesuffix(':v1')}@{IMAGE.digest}"
    assert await store.service.remove_name(by_digest)
    found = await store.service.find(reference)
    assert found is not None
    assert {one.name for one in found.names} == {reference, str(IMAGE.id)}


async def test_usage_is_what_is_on_the_disk(store: Store, registry: FakeRegistry) -> None:
    empty = (await store.service.filesystems())[0].usage
    assert (empty.bytes, empty.inodes) == (0, 0)
    reference = offer(registry, "app", "v1", IMAGE)
    await store.service.pull(reference)
    (found,) = await store.service.filesystems()
    assert found.usage.bytes > 0
    assert Path(found.mountpoint).is_relative_to(store.root)
    await store.service.remove(reference)
    assert (await store.service.filesystems())[0].usage == empty


async def test_checking(store: Store, registry: FakeRegistry) -> None:
    index = build_index([IMAGE])
    reference = offer(registry, "app", "v1", index)
    pulled = await store.service.pull(reference, PullOptions(platform="linux/amd64"))
    (report,) = await store.service.check(reference)
    assert (report.image_id, report.problems) == (str(IMAGE.id), ())
    assert report.names == tuple(one.name for one in pulled.names)
    for digest in (index.digest, IMAGE.layers[1].digest):
        store.blob(digest.hex).unlink()
    (report,) = await store.service.check()
    assert len(report.problems) == 2
    assert str(index.digest) in report.problems[0]
    assert str(IMAGE.layers[1].digest) in report.problems[1]
    tree = next(store.root.glob("*overlayfs/snapshots/*"))
    tree.rename(store.root / "gone")
    (report,) = await store.service.check()
    assert f"snapshot directory {tree}/fs is missing" in report.problems
    with pytest.raises(NotFound):
        await store.service.check("no/such:image")


async def test_an_image_that_is_removed_while_it_is_checked(
    store: Store, registry: FakeRegistry
) -> None:
    references = [
        offer(registry, f"app{at}", "v1", build_image([[file("f", os.urandom(500_000))]]))
        for at in range(6)
    ]
    for reference in references:
        await store.service.pull(reference)
    checking = asyncio.create_task(store.service.check())
    await asyncio.gather(*(store.service.remove(reference) for reference in references))
    assert all(report.problems == () for report in await checking)
