"""Sections beside the image service's own, and what each key does to a pull."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.errors import FailedPrecondition, InvalidArgument, NoMatchingPlatform, NotFound
from orlop.metadata.store import MetadataStore
from orlop.model import labels
from orlop.ports.metadata import Usage
from orlop.ports.service import PullOptions
from orlop.testing.faults import Fault
from orlop.testing.file_events import FileEvents
from orlop.testing.images import build_image, build_index, build_layer
from orlop.testing.layers import directory, file
from tests.integration.pull.rig import NAMESPACE, configured, layers_fetched, offer
from tests.rigs.disk import loop_ext4

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.testing.distribution import DistributionRegistry
    from orlop.testing.fake_registry import FakeRegistry

pytestmark = pytest.mark.root

BASE = build_layer([directory("d"), file("d/noise", os.urandom(100_000))])
TOP = build_layer([file("d/more", os.urandom(50_000))])
IMAGE = build_image([BASE, TOP])
LAYERS = {str(layer.digest) for layer in IMAGE.layers}

OVERLAYFS, NATIVE = (f"io.containerd.snapshotter.v1.{name}" for name in ("overlayfs", "native"))
METADATA = "io.containerd.metadata.v1.bolt"
TRANSFER = "io.containerd.transfer.v1.local"
DIFF = "io.containerd.service.v1.diff-service"


@pytest.fixture(scope="session")
def events() -> FileEvents:
    return FileEvents()


@contextmanager
def synced_devices(events: FileEvents) -> Iterator[set[int]]:
    """The file systems that are synced as a whole within the block."""
    found: set[int] = set()

    def watch(operation: str, subject: object) -> None:
        if operation == "syncfs":
            assert isinstance(subject, int)
            found.add(os.fstat(subject).st_dev)

    with events.watched(watch):
        yield found


class TestOverlayfs:
    """Keys of the overlayfs snapshotter, and native's root_path"""

    async def test_root_path_on_another_file_system(
        self, tmp_path: Path, distribution: DistributionRegistry, events: FileEvents
    ) -> None:
        """What is pulled lies there, and is durable there, too."""
        reference = offer(distribution, "keys/place", "v1", IMAGE)
        with loop_ext4(64 << 20, tmp_path) as disk:
            sections = {
                OVERLAYFS: {"root_path": str(disk / "layers")},
                NATIVE: {"root_path": str(disk / "copies")},
            }
            async with configured(tmp_path / "root", sections) as store:
                for snapshotter, name in (("overlayfs", "layers"), ("native", "copies")):
                    with synced_devices(events) as synced:
                        await store.service.pull(reference, PullOptions(snapshotter=snapshotter))
                    assert synced == {os.stat(disk).st_dev, os.stat(tmp_path).st_dev}
                    assert len(os.listdir(disk / name / "snapshots")) == 2
                    assert not list((tmp_path / "root").glob(f"*{snapshotter}*"))
                assert [one.problems for one in await store.service.check()] == [(), ()]
                trees, rest = await store.service.filesystems()
                assert trees.mountpoint == str(disk / "layers")
                assert rest.mountpoint == store.blobs.path
                blobs = list(store.blobs.walk())
                assert rest.usage == Usage(sum(one.size for one in blobs), len(blobs))
                total = await store.service._metadata.usage()
                assert trees.usage.bytes + rest.usage.bytes == total.bytes
                assert trees.usage.inodes + rest.usage.inodes == total.inodes
            async with configured(tmp_path / "root", sections) as store:
                assert len(await store.service.images()) == 2
                await store.service.remove(reference)
                assert os.listdir(disk / "layers" / "snapshots") == []

    async def test_root_path_that_is_somebody_elses(self, tmp_path: Path) -> None:
        foreign = tmp_path / "containerd"
        (foreign / "snapshots" / "1" / "fs").mkdir(parents=True)
        foreign.chmod(0o700)
        with pytest.raises(FailedPrecondition, match="another program"):
            async with configured(tmp_path / "root", {OVERLAYFS: {"root_path": str(foreign)}}):
                pass
        assert (foreign / "snapshots" / "1" / "fs").is_dir()

    async def test_root_path_that_changes(self, tmp_path: Path, registry: FakeRegistry) -> None:
        """What is recorded is elsewhere: nothing may be listed that is not there."""
        reference = offer(registry, "app", "v1", IMAGE)
        async with configured(tmp_path / "root", {}) as store:
            await store.service.pull(reference)
        sections = {OVERLAYFS: {"root_path": str(tmp_path / "new")}}
        with pytest.raises(FailedPrecondition, match="not in"):
            async with configured(tmp_path / "root", sections):
                pass
        async with configured(tmp_path / "root", {}) as store:
            assert (await store.service.check())[0].problems == ()

    @pytest.mark.parametrize("labelled", [False, True])
    async def test_upperdir_label(
        self, tmp_path: Path, registry: FakeRegistry, labelled: bool
    ) -> None:
        reference = offer(registry, "app", "v1", IMAGE)
        async with configured(
            tmp_path / "root", {OVERLAYFS: {"upperdir_label": labelled}}
        ) as store:
            await store.service.pull(reference)
            snapshotter = store.service._snapshotters["overlayfs"]
            for record in await snapshotter.walk(NAMESPACE):
                told = record.labels.get(labels.OVERLAY_UPPERDIR)
                assert told == (snapshotter.staging.tree(record.directory) if labelled else None)
                assert await snapshotter.stat(NAMESPACE, record.key) == record
                assert await snapshotter.update(NAMESPACE, record.key, record.labels) is not None
            # It is told, not kept: the next configuration counts.
            stored = await store.service._metadata.snapshots(NAMESPACE)
            assert not any(labels.OVERLAY_UPPERDIR in one.labels for one in stored)

    @pytest.mark.parametrize("sync", [False, True])
    async def test_sync_remove(
        self, tmp_path: Path, registry: FakeRegistry, events: FileEvents, sync: bool
    ) -> None:
        reference = offer(registry, "app", "v1", IMAGE)
        async with configured(tmp_path / "root", {OVERLAYFS: {"sync_remove": sync}}) as store:
            await store.service.pull(reference)
            with events.recorded() as operations:
                await store.service.remove(reference)
            assert ("fsync" in operations) is sync
            assert (await store.traces()).files == frozenset()

    async def test_mount_options(self, tmp_path: Path, registry: FakeRegistry) -> None:
        reference = offer(registry, "app", "v1", IMAGE)
        target = tmp_path / "target"
        target.mkdir()
        sections = {OVERLAYFS: {"mount_options": ["volatile", "noexec"], "slow_chown": True}}
        async with configured(tmp_path / "root", sections) as store:
            await store.service.pull(reference)
            await store.service.mount(reference, str(target), writable=True)
            lines = Path("/proc/self/mountinfo").read_text().splitlines()
            (found,) = [line for line in lines if f" {target} " in line]
            await store.service.unmount(str(target))
        assert "volatile" in found.rpartition(" - ")[2]
        assert "noexec" in found.rpartition(" - ")[0]
        with pytest.raises(InvalidArgument, match="refused"):
            async with configured(
                tmp_path / "other", {OVERLAYFS: {"mount_options": ["redirect_dir=on"]}}
            ):
                pass


@pytest.mark.parametrize(
    ("images", "diff", "synced"), [(True, False, True), (False, True, True), (False, False, False)]
)
async def test_diff_service_sync_fs(
    tmp_path: Path, registry: FakeRegistry, images: bool, diff: bool, synced: bool
) -> None:
    """It means what image_pull_with_sync_fs means; either asks for it."""
    reference = offer(registry, "app", "v1", IMAGE)
    async with configured(
        tmp_path / "root", {DIFF: {"sync_fs": diff}}, image_pull_with_sync_fs=images
    ) as store:
        assert (await store.service.pull(reference)).record.synced is synced


class TestTransfer:
    """Keys of containerd's transfer service"""

    async def test_unpack_config(self, tmp_path: Path, distribution: DistributionRegistry) -> None:
        """A platform is unpacked where its entry says, unless something nearer says it."""
        foreign = build_image([TOP], platform="linux/s390x")
        index = build_index([IMAGE, foreign])
        reference = offer(distribution, "keys/unpack", "v1", index)
        options = PullOptions(platform="linux/s390x")
        entries = [{"platform": "linux/s390x", "snapshotter": "native"}]
        sections = {TRANSFER: {"unpack_config": entries}}
        async with configured(tmp_path / "root", sections) as store:
            assert (await store.service.pull(reference)).record.snapshotter == "overlayfs"
            pulled = await store.service.pull(reference, options)
            assert (pulled.record.id, pulled.record.snapshotter) == (foreign.id, "native")
        async with configured(tmp_path / "other", sections, snapshotter="native") as store:
            assert (await store.service.pull(reference)).record.snapshotter == "native"

    async def test_check_platform_supported(self, tmp_path: Path, registry: FakeRegistry) -> None:
        """Before anything is asked of the registry."""
        reference = offer(registry, "app", "v1", IMAGE)
        options = PullOptions(platform="linux/s390x")
        for check, error in ((False, NoMatchingPlatform), (True, InvalidArgument)):
            registry.clear_requests()
            sections = {TRANSFER: {"check_platform_supported": check}}
            async with configured(tmp_path / "root", sections) as store:
                with pytest.raises(error):
                    await store.service.pull(reference, options)
                assert (registry.requests == []) is check
                await store.service.pull(reference)


class TestMetadata:
    """Keys of the database"""

    @pytest.mark.parametrize("no_sync", [False, True])
    async def test_no_sync(
        self,
        tmp_path: Path,
        registry: FakeRegistry,
        capsys: pytest.CaptureFixture[str],
        no_sync: bool,
    ) -> None:
        reference = offer(registry, "app", "v1", IMAGE)
        async with configured(tmp_path / "root", {METADATA: {"no_sync": no_sync}}) as store:
            await store.service.pull(reference)
            metadata = store.service._metadata
            assert isinstance(metadata, MetadataStore)
            modes = [
                await metadata._database.read(lambda db: db.pragma("synchronous")),
                await metadata._database.write(lambda db: db.pragma("synchronous")),
            ]
            assert modes == ([0, 0] if no_sync else [2, 2])
        said = capsys.readouterr()
        assert ("is not synced" in said.out + said.err) is no_sync

    async def test_shared_content(self, tmp_path: Path, registry: FakeRegistry) -> None:
        reference = offer(registry, "app", "v1", IMAGE)
        async with configured(tmp_path / "root", {}, require_layer_access=False) as store:
            await store.service.pull(reference)
            registry.clear_requests()
            await store.service.pull(reference, PullOptions(namespace="other"))
            assert [request.method for request in registry.requests] == ["HEAD"]

    async def test_isolated_content(self, tmp_path: Path, registry: FakeRegistry) -> None:
        """Another namespace fetches it all, once, and keeps one copy."""
        reference = offer(registry, "app", "v1", IMAGE)
        other = PullOptions(namespace="other")
        sections = {METADATA: {"content_sharing_policy": "isolated"}}
        async with configured(tmp_path / "root", sections) as store:
            await store.service.pull(reference)
            blobs = sorted(store.blobs.walk(), key=lambda one: one.digest)
            for expected in (sorted(LAYERS), []):
                registry.clear_requests()
                await store.service.pull(reference, other)
                assert layers_fetched(registry, IMAGE) == expected
            assert sorted(store.blobs.walk(), key=lambda one: one.digest) == blobs
            assert store.ingests() == {}

    async def test_a_digest_alone_gets_nothing_of_others(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        """The registry lists a layer, and does not have it for the second namespace."""
        first = offer(registry, "app", "v1", IMAGE)
        second = offer(registry, "thief", "v1", build_image([BASE, [file("own")]]))
        sections = {METADATA: {"content_sharing_policy": "isolated"}}
        async with configured(tmp_path / "root", sections) as store:
            await store.service.pull(first)
            registry.fail(Fault(status=404), path=str(BASE.digest), times=None)
            with pytest.raises(NotFound):
                await store.service.pull(second, PullOptions(namespace="other"))
            assert await store.service.images(namespace="other") == []

    async def test_isolated_pulls_at_the_same_time(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        reference = offer(registry, "app", "v1", IMAGE)
        sections = {METADATA: {"content_sharing_policy": "isolated"}}
        async with configured(tmp_path / "root", sections) as store:
            names = ("one", "two", "one")
            await asyncio.gather(
                *(store.service.pull(reference, PullOptions(namespace=name)) for name in names)
            )
            assert layers_fetched(registry, IMAGE) == sorted([*LAYERS, *LAYERS])
            assert store.ingests() == {}
