"""Keys of the configuration, and what each does to a pull from a real registry."""

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
from orlop.ports.service import PullOptions
from orlop.testing.faults import Fault
from orlop.testing.file_events import FileEvents
from orlop.testing.images import build_image, build_index, build_layer
from orlop.testing.layers import directory, file
from tests.integration.pull.rig import NAMESPACE, configured, offer, running
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


def fetched(registry: FakeRegistry) -> list[str]:
    """Digests of the layers that were asked for."""
    found = [request.path.rpartition("/")[2] for request in registry.requests]
    return sorted(digest for digest in found if digest in LAYERS)


class TestDiscardUnpackedLayers:
    """discard_unpacked_layers"""

    async def test_blobs_of_layers_go(
        self, tmp_path: Path, distribution: DistributionRegistry
    ) -> None:
        reference = offer(distribution, "keys/discard", "v1", IMAGE)
        async with running(tmp_path / "kept") as store:
            kept = await store.service.pull(reference)
            (before,) = await store.service.filesystems()
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            pulled = await store.service.pull(reference)
            layers = sum(len(layer.blob) for layer in IMAGE.layers)
            assert pulled.record.content_bytes == kept.record.content_bytes - layers
            (now,) = await store.service.filesystems()
            assert now.usage.bytes == before.usage.bytes - layers
            assert {one.digest for one in store.blobs.walk()} == {IMAGE.digest, IMAGE.id}
            traces = await store.traces()
            assert (traces.ingests, traces.descriptors) == (frozenset(), ())
            assert await store.service.images() == [pulled]
            assert (await store.service.check())[0].problems == ()
            await store.service.collect()
            assert await store.traces() == traces
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            assert await store.service.images() == [pulled]
            assert await store.traces() == traces
            await store.service.remove(reference)
            assert (await store.traces()).rows == frozenset()

    async def test_a_second_pull_fetches_nothing(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        reference = offer(registry, "app", "v1", IMAGE)
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            first = await store.service.pull(reference)
            registry.clear_requests()
            assert await store.service.pull(reference) == first
            assert [request.method for request in registry.requests] == ["HEAD"]

    async def test_what_needs_a_discarded_layer_fetches_it(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        """Another snapshotter needs both, another parent one, the same chain none."""
        reference = offer(registry, "app", "v1", IMAGE)
        longer = build_image([BASE, TOP, [file("own")]])
        other = build_image([[file("below")], TOP])
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            await store.service.pull(reference)
            for image, snapshotter, needs in (
                (longer, "overlayfs", []),
                (other, "overlayfs", [TOP]),
                (IMAGE, "native", [BASE, TOP]),
            ):
                registry.clear_requests()
                text = offer(registry, "app", "v2", image)
                await store.service.pull(text, PullOptions(snapshotter=snapshotter))
                assert fetched(registry) == sorted(str(layer.digest) for layer in needs)
            assert [one.problems for one in await store.service.check()] == [()] * 4

    async def test_pulls_that_share_a_layer(self, tmp_path: Path, registry: FakeRegistry) -> None:
        """The quick one is done, and has given the layer up, when the slow one unpacks it."""
        slow = build_layer([file("slow")])
        registry.fail(Fault(delay=0.5), path=str(slow.digest))
        quick = offer(registry, "quick", "v1", build_image([TOP]))
        late = offer(registry, "late", "v1", build_image([slow, TOP]))
        options = PullOptions(snapshotter="native")  # where layers wait for their parents
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            await asyncio.gather(*(store.service.pull(one, options) for one in (quick, late)))
            assert fetched(registry) == [str(TOP.digest)]
            assert [one.problems for one in await store.service.check()] == [(), ()]
            assert store.ingests() == {}

    async def test_a_pull_that_fails_keeps_its_bytes(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        late = build_layer([file("late")])
        reference = offer(registry, "app", "v1", build_image([BASE, late]))
        registry.fail(Fault(status=404, delay=0.5), path=str(late.digest), times=None)
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            with pytest.raises(NotFound):
                await store.service.pull(reference)
            assert store.ingests() == {f"layer-{BASE.digest}": len(BASE.blob)}
            registry.clear_rules()
            registry.clear_requests()
            await store.service.pull(reference)
            assert fetched(registry) == []
            assert store.ingests() == {}

    async def test_without_it_what_is_missing_is_fetched_again(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        reference = offer(registry, "app", "v1", IMAGE)
        async with running(tmp_path / "root", discard_unpacked_layers=True) as store:
            await store.service.pull(reference)
        registry.clear_requests()
        async with running(tmp_path / "root") as store:
            pulled = await store.service.pull(reference)
            assert fetched(registry) == sorted(LAYERS)
            assert {str(one.digest) for one in store.blobs.walk()} >= LAYERS
            assert pulled.record.content_bytes > len(BASE.blob) + len(TOP.blob)
            assert (await store.service.check())[0].problems == ()
            store.blob(TOP.digest.hex).unlink()
            assert (await store.service.check())[0].problems != ()  # now it is missed


@pytest.mark.parametrize("disabled", [False, True])
async def test_disable_snapshot_annotations(
    tmp_path: Path, distribution: DistributionRegistry, disabled: bool
) -> None:
    reference = offer(distribution, "keys/annotations", "v1", IMAGE)
    keys = {"disable_snapshot_annotations": disabled}
    async with running(tmp_path / "root", **keys) as store:
        await store.service.pull(reference)
        found = await store.service._metadata.snapshots(NAMESPACE)
    told = {
        snapshot.key: {
            key.rpartition("/cri.")[2]: value
            for key, value in snapshot.labels.items()
            if key != labels.SNAPSHOT_REF
        }
        for snapshot in found
    }
    base, top = str(BASE.digest), str(TOP.digest)
    common = {"image-ref": reference, "manifest-digest": str(IMAGE.digest)}
    assert (
        told
        == {
            str(IMAGE.chain[0]): common | {"layer-digest": base, "image-layers": f"{base},{top}"},
            str(IMAGE.chain[1]): common | {"layer-digest": top, "image-layers": top},
        }
        if not disabled
        else {str(chain): {} for chain in IMAGE.chain}
    )


class TestPinnedImages:
    """pinned_images"""

    async def test_pulled_images_are_labelled(
        self, tmp_path: Path, distribution: DistributionRegistry
    ) -> None:
        pinned = offer(distribution, "keys/pinned", "v1", IMAGE)
        other = offer(distribution, "keys/other", "v1", build_image([TOP]))
        keys = {"pinned_images": {"sandbox": pinned, "none": ""}}
        async with running(tmp_path / "root", **keys) as store:
            for reference, wanted in ((pinned, {"pinned"}), (other, {None})):
                image = await store.service.pull(reference)
                assert {name.labels.get(labels.CRI_PINNED) for name in image.names} == wanted
                assert store.service.pinned(image) is (reference == pinned)

    async def test_the_configuration_counts_for_images_that_are_there(
        self, tmp_path: Path, registry: FakeRegistry
    ) -> None:
        """Also by the digest of a manifest that was pulled by its index."""
        index = build_index([IMAGE])
        reference = offer(registry, "app", "v1", index)
        repository = reference.removesuffix(":v1")
        by_digest = f"{repository}@{IMAGE.digest}"
        for pins in ([], [by_digest], [reference], []):
            keys = {"pinned_images": {str(at): pin for at, pin in enumerate(pins)}}
            async with running(tmp_path / "root", **keys) as store:
                await store.service.pull(reference)
                (image,) = await store.service.images()
                assert store.service.pinned(image) is bool(pins)
                label = "pinned" if pins else None
                assert {name.labels.get(labels.CRI_PINNED) for name in image.names} == {label}


async def test_stats_collect_period(tmp_path: Path, registry: FakeRegistry) -> None:
    """What others change may show later; what this service did shows at once."""
    reference = offer(registry, "app", "v1", IMAGE)
    for seconds in (1, 3600):
        async with running(tmp_path / f"root{seconds}", stats_collect_period=seconds) as store:
            await store.service.pull(reference)
            (first,) = await store.service.filesystems()
            assert first.usage == await store.service._metadata.usage()
            if seconds == 1:
                await asyncio.sleep(1.1)  # the period is what is tested
            (found,) = await store.service.filesystems()
            assert (found.timestamp == first.timestamp) is (seconds != 1)
            await store.service.remove(reference)
            (left,) = await store.service.filesystems()
            assert left.usage.bytes == 0
            assert left.timestamp > first.timestamp


@pytest.mark.parametrize("local", [False, True])
async def test_use_local_image_pull(tmp_path: Path, registry: FakeRegistry, local: bool) -> None:
    """There is one way to pull: the key changes nothing of what is there afterwards."""
    reference = offer(registry, "app", "v1", IMAGE)
    keys = {"use_local_image_pull": local, "discard_unpacked_layers": True}
    async with running(tmp_path / "root", **keys) as store:
        await store.service.pull(reference)
        assert {one.digest for one in store.blobs.walk()} == {IMAGE.digest, IMAGE.id}


@pytest.mark.parametrize("synced", [False, True])
async def test_image_pull_with_sync_fs(
    tmp_path: Path, registry: FakeRegistry, synced: bool
) -> None:
    """``synced`` tells it of each image; a pull with it makes up for one without it."""
    reference = offer(registry, "app", "v1", IMAGE)
    async with running(tmp_path / "root", image_pull_with_sync_fs=synced) as store:
        pulled = await store.service.pull(reference)
        assert pulled.record.synced is synced
        assert (await store.service.detail(reference)).image.record.synced is synced
    async with running(tmp_path / "root") as store:
        assert (await store.service.pull(reference)).record.synced


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
                (usage,) = await store.service.filesystems()
                assert usage.mountpoint == str(disk / "layers")
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
        async with configured(tmp_path / "root", {}) as store:
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
                assert fetched(registry) == expected
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
            assert fetched(registry) == sorted([*LAYERS, *LAYERS])
            assert store.ingests() == {}
