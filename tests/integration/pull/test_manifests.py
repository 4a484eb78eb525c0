"""Trees are what their manifests say, whatever a layer did; damage shows, and is repaired."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from orlop.config.durations import Duration
from orlop.images.scrub import scrubbing
from orlop.ports.service import PullOptions
from orlop.testing.images import build_image
from orlop.testing.layers import directory, file, hard_link, opaque, symlink, whiteout
from tests.integration.pull.rig import offer, running
from tests.integration.pull.test_trees import CASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.ports.metadata import Image
    from orlop.ports.service import CheckReport, ImageService
    from orlop.testing.fake_registry import FakeRegistry
    from tests.integration.pull.rig import Store

pytestmark = pytest.mark.root

LAYERS = [
    [
        directory("etc", mode=0o755),
        file("etc/passwd", b"root"),
        file("etc/large", os.urandom(3_000_000)),
        file("etc/extra", b"to be hidden"),
        directory("usr/bin"),
        file("usr/bin/su", b"#!", mode=0o4755),
        hard_link("usr/bin/sudo", "usr/bin/su"),
        symlink("bin", "usr/bin"),
    ],
    [file("etc/hosts", b"127.0.0.1"), whiteout("etc/extra"), opaque("usr/bin")],
]


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
@pytest.mark.parametrize("case", CASES)
async def test_what_was_unpacked_is_what_was_recorded(
    store: Store, registry: FakeRegistry, case: str, snapshotter: str
) -> None:
    reference = offer(registry, "trees", "v1", build_image(CASES[case]))

    await store.service.pull(reference, PullOptions(snapshotter=snapshotter))

    assert [report.problems for report in await store.service.check()] == [()]


def _flip(path: Path) -> None:
    """Change one byte, and nothing that a listing shows."""
    found = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _cut(path: Path) -> None:
    found = path.stat()
    os.truncate(path, 0)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _unlink_one_name(path: Path) -> None:
    found = path.stat()
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    os.chmod(path, 0o4755)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _make_directory(link: Path) -> None:
    link.unlink()
    link.mkdir()


DAMAGES: dict[str, tuple[int, Callable[[Path], None], str]] = {
    "a bit": (0, lambda fs: _flip(fs / "etc/large"), "'etc/large': content"),
    "a lost write": (0, lambda fs: _cut(fs / "etc/passwd"), "'etc/passwd': size 0 instead of 4"),
    "a mode": (0, lambda fs: os.chmod(fs / "etc/passwd", 0o666), "'etc/passwd': mode 666"),
    "an owner": (0, lambda fs: os.lchown(fs / "bin", 1, 2), "'bin': owner 1:2 instead of 0:0"),
    "an attribute": (
        0,
        lambda fs: os.setxattr(fs / "etc", b"user.x", b"y"),
        "'etc': extended attributes",
    ),
    "a hard link": (0, lambda fs: _unlink_one_name(fs / "usr/bin/sudo"), "no hard link any more"),
    "a kind": (
        0,
        lambda fs: _make_directory(fs / "bin"),
        "'bin': directory instead of symlink",
    ),
    "an opaque mark": (
        1,
        lambda fs: os.removexattr(fs / "usr/bin", b"trusted.overlay.opaque"),
        "'usr/bin': extended attributes",
    ),
    "a whiteout": (1, lambda fs: (fs / "etc/extra").unlink(), "'etc/extra': missing"),
    "something more": (1, lambda fs: (fs / "etc/more").touch(), "'etc/more': extra"),
    "a directory": (1, lambda fs: (fs / "usr/bin").rmdir(), "'usr/bin': missing"),
    "the manifest": (1, lambda fs: _flip(fs.parent / "manifest"), "its manifest is not sha256:"),
    "all of it": (0, lambda fs: os.rename(fs, fs.parent / "lost"), "is missing"),
}


async def _trees(store: Store, image: Image) -> list[Path]:
    """The trees of an image, lowest first."""
    record = image.record
    chain = await store.service._metadata.chain("k8s.io", record.snapshotter, record.chain_id)
    staging = store.service._snapshotters[record.snapshotter].staging
    return [Path(staging.tree(one.directory)) for one in reversed(chain)]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_named_and_repaired_without_a_registry(
    store: Store, registry: FakeRegistry, damage: str
) -> None:
    image = await store.service.pull(offer(registry, "app", "v1", build_image(LAYERS)))
    layer, hurt, expected = DAMAGES[damage]
    hurt((await _trees(store, image))[layer])
    asked = len(registry.requests)

    found = (await store.service.check())[0]
    assert any(expected in problem for problem in found.problems), found.problems
    assert not await store.service.images_for_node()
    assert await store.service.find_for(str(image.record.id), "") is None

    repaired = (await store.service.check(repair=True))[0]
    assert repaired.repaired, repaired.unrepaired
    assert len(registry.requests) == asked
    assert [report.problems for report in await store.service.check()] == [()]
    assert [one.record.id for one in await store.service.images_for_node()] == [image.record.id]
    # The old tree is gone, and what is accounted for is what is there.
    assert len(list((await _trees(store, image))[0].parents[1].iterdir())) == 2
    usage = await store.service._metadata.usage()
    blobs = {one.digest: one.size for one in await store.service._metadata.blobs("k8s.io")}
    assert usage.bytes == sum(blobs.values()) + image.record.unpacked_bytes


async def test_a_pull_heals_what_a_check_has_found(store: Store, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", build_image(LAYERS))
    image = await store.service.pull(reference)
    _flip((await _trees(store, image))[1] / "etc/hosts")
    names = {name.name for name in image.names}
    await store.service.check()

    again = await store.service.pull(reference)

    assert [report.problems for report in await store.service.check()] == [()]
    assert {name.name for name in again.names} == names
    assert len(await store.service.images_for_node()) == 1


@pytest.mark.parametrize("which", ["layer", "config", "manifest"])
@pytest.mark.parametrize("gone", [False, True])
async def test_a_damaged_blob_is_fetched_again(
    store: Store, registry: FakeRegistry, which: str, gone: bool
) -> None:
    image = await store.service.pull(offer(registry, "app", "v1", build_image(LAYERS)))
    detail = await store.service.detail(str(image.record.id))
    digest = {
        "layer": detail.manifest.layers[0].digest,
        "config": image.record.id,
        "manifest": image.record.manifest,
    }[which]
    path = store.root / "io.containerd.content.v1.content/blobs/sha256" / digest.hex
    if gone:
        path.unlink()
    else:
        os.chmod(path, 0o600)
        _flip(path)

    found = (await store.service.check())[0]
    assert any(str(digest) in problem for problem in found.problems)
    # A container can be started without the compressed layer.
    assert bool(await store.service.images_for_node()) is (which == "layer")

    repaired = (await store.service.check(repair=True))[0]
    assert repaired.repaired, repaired.unrepaired
    assert [report.problems for report in await store.service.check()] == [()]
    assert await store.service._metadata.damage() == type(await store.service._metadata.damage())()


async def test_what_cannot_be_repaired_says_why(store: Store, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", build_image(LAYERS))
    image = await store.service.pull(reference)
    path = store.root / "io.containerd.content.v1.content/blobs/sha256" / image.record.id.hex
    path.unlink()
    registry.remove(str(image.record.id))

    report = (await store.service.check(repair=True))[0]

    assert not report.repaired
    assert report.unrepaired


async def test_a_tree_that_is_mounted_stays_where_it_is(
    store: Store, registry: FakeRegistry, tmp_path: Path
) -> None:
    image = await store.service.pull(offer(registry, "app", "v1", build_image(LAYERS)))
    trees = await _trees(store, image)
    merged = tmp_path / "merged"
    merged.mkdir()
    await store.service.mount(str(image.record.id), str(merged))
    try:
        _flip(trees[0] / "etc/large")
        report = (await store.service.check(repair=True))[0]
        assert report.repaired, report.unrepaired
        assert (await _trees(store, image))[0] != trees[0]
        assert (merged / "etc/passwd").read_bytes() == b"root"
        assert trees[0].exists()
    finally:
        await store.service.unmount(str(merged))


async def test_quick_reads_nothing(store: Store, registry: FakeRegistry) -> None:
    image = await store.service.pull(offer(registry, "app", "v1", build_image(LAYERS)))
    trees = await _trees(store, image)
    _flip(trees[0] / "etc/large")

    assert [report.problems for report in await store.service.check(quick=True)] == [()]
    trees[1].rename(trees[1].parent / "lost")
    assert (await store.service.check(quick=True))[0].problems != ()


async def test_a_rate_slows_a_check_down(store: Store, registry: FakeRegistry) -> None:
    await store.service.pull(offer(registry, "app", "v1", build_image(LAYERS)))
    loop = asyncio.get_running_loop()
    begun = loop.time()

    await store.service.check(max_rate=20_000_000)

    # Some 3 MB of a blob and as much of a tree.
    assert loop.time() - begun > 0.2


async def test_the_scrubber_finds_damage(tmp_path: Path, registry: FakeRegistry) -> None:
    async with running(tmp_path / "root", scrub_interval=Duration.parse("50ms")) as store:
        image = await store.service.pull(offer(registry, "app", "v1", build_image(LAYERS)))
        _flip((await _trees(store, image))[0] / "etc/large")
        async with asyncio.timeout(20):
            while await store.service.images_for_node():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)


async def test_the_scrubber_keeps_to_its_rate(store: Store, registry: FakeRegistry) -> None:
    await store.service.pull(offer(registry, "app", "v1", build_image(LAYERS)))
    rates: list[int] = []
    checked = asyncio.Event()

    class Watched:
        async def check(self, *, max_rate: int) -> list[CheckReport]:
            rates.append(max_rate)
            checked.set()
            return await store.service.check(max_rate=max_rate)

    watched = cast("ImageService", Watched())
    async with scrubbing(watched, seconds=0.01, rate=123_000_000), asyncio.timeout(20):
        await checked.wait()

    assert set(rates) == {123_000_000}


def _is_in_doubt(root: Path) -> bool:
    mark = root / "running"
    return mark.exists() and mark.read_text() == "another boot"


@pytest.mark.parametrize("sync_fs", [False, True])
async def test_what_was_not_synced_is_verified_after_a_power_failure(
    tmp_path: Path, registry: FakeRegistry, sync_fs: bool
) -> None:
    root = tmp_path / "root"
    async with running(root, image_pull_with_sync_fs=False) as store:
        image = await store.service.pull(offer(registry, "app", "v1", build_image(LAYERS)))
        other = build_image([[file("other", b"other")]])
        sound = await store.service.pull(offer(registry, "other", "v1", other))
        tree = (await _trees(store, image))[0]
        mark = (root / "running").read_text()
    assert not (root / "running").exists()  # it ended well
    _cut(tree / "etc/passwd")

    # Killed, in this boot: nothing is lost.
    (root / "running").write_text(mark)
    async with running(root, image_pull_with_sync_fs=sync_fs) as store:
        assert len(await store.service.images_for_node()) == 2

    (root / "running").write_text("another boot")
    async with running(root, image_pull_with_sync_fs=sync_fs) as store:
        assert not await store.service.images_for_node()
        async with asyncio.timeout(20):
            while _is_in_doubt(root):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
        listed = await store.service.images_for_node()
        assert [one.record.id for one in listed] == [sound.record.id]
        assert (await store.service.check(str(image.record.id)))[0].problems != ()
    assert not (root / "running").exists()
