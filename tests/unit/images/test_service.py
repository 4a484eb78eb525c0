"""What a call means, and what is asked of the rooms behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import InvalidArgument, InvalidReference, NotFound, StoreCorrupt
from orlop.images.service import LocalImageService
from orlop.images.settings import Runtime, ServiceSettings
from orlop.model import labels
from orlop.model.platform import Platform
from orlop.ports.metadata import BlobRecord, Image
from orlop.ports.registry import Credentials
from orlop.ports.service import PullOptions
from orlop.testing.images import build_image, build_index
from orlop.testing.layers import file
from tests.unit.images.rig import SPACE, name, record

if TYPE_CHECKING:
    from tests.unit.images.conftest import Bench

APP = "registry.example/team/app"
ONE = record("abc1", manifest="1")
BUILT = build_image([[file("a")]])
REAL = replace(record("0"), id=BUILT.id, manifest=BUILT.digest)


@pytest.mark.parametrize(
    ("options", "platform", "namespace"),
    [
        (None, "linux/amd64", SPACE),
        (PullOptions(), "linux/amd64", SPACE),
        (PullOptions(platform="linux/arm/v7"), "linux/arm/v7", SPACE),
        (PullOptions(namespace="mine"), "linux/amd64", "mine"),
        (PullOptions(runtime_handler="kata"), "linux/arm64", SPACE),
        (PullOptions(runtime_handler="kata", platform="linux/s390x"), "linux/s390x", SPACE),
        (PullOptions(runtime_handler="other", snapshotter="plain"), "linux/amd64", SPACE),
        (PullOptions(runtime_handler="bare"), "linux/amd64", SPACE),
    ],
)
async def test_pull(
    bench: Bench, options: PullOptions | None, platform: str, namespace: str
) -> None:
    bench.puller.answer = Image(ONE, ())
    assert await bench.service.pull("busybox", options) == bench.puller.answer
    (request,) = bench.puller.requests
    assert str(request.reference) == "docker.io/library/busybox:latest"
    assert (str(request.platform), request.namespace) == (platform, namespace)
    assert request.snapshotter.name == "plain"


async def test_credentials_are_passed_on(bench: Bench) -> None:
    bench.puller.answer = Image(ONE, ())
    own = Credentials(username="ann", password="s3cret")
    await bench.service.pull("busybox", PullOptions(credentials=own))
    assert bench.puller.requests[0].credentials is own
    assert "s3cret" not in repr(bench.puller.requests[0])


@pytest.mark.parametrize(
    ("reference", "options", "error"),
    [
        ("Not A Reference", PullOptions(), InvalidReference),
        ("", PullOptions(), InvalidReference),
        ("busybox", PullOptions(runtime_handler="unknown"), InvalidArgument),
        ("busybox", PullOptions(runtime_handler="other"), InvalidArgument),
        ("busybox", PullOptions(snapshotter="absent"), InvalidArgument),
        ("busybox", PullOptions(platform="///"), InvalidArgument),
    ],
)
async def test_pulls_that_make_no_sense(
    bench: Bench, reference: str, options: PullOptions, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await bench.service.pull(reference, options)
    assert bench.puller.requests == []


async def test_listing(bench: Bench) -> None:
    await bench.add(ONE, f"{APP}:v1")
    other = record("def", manifest="2")
    await bench.add(other, f"{APP}:v2")
    assert [one.record for one in await bench.service.images()] == [ONE, other]
    assert [one.record for one in await bench.service.images(f"{APP}:v2")] == [other]
    assert await bench.service.images("nothing") == []
    assert await bench.service.images(namespace="elsewhere") == []
    assert await bench.service.running() == []


async def test_the_list_for_the_node_is_the_same_until_something_changes(bench: Bench) -> None:
    await bench.add(ONE, f"{APP}:v1")
    before = await bench.service.images_for_node()
    assert await bench.service.images_for_node() is before
    assert [image.record for image in before] == [ONE]

    bench.service.reload(ServiceSettings(Platform("linux", "amd64"), pinned=(f"{APP}:v1",)))
    after = await bench.service.images_for_node()
    assert after is not before
    assert [bench.service.pinned(image) for image in after] == [True]

    await bench.metadata.put_name(SPACE, name(f"{APP}:v2", ONE))
    (tagged,) = await bench.service.images_for_node()
    assert f"{APP}:v2" in [one.name for one in tagged.names]
    await bench.service.remove(f"{APP}:v1")
    assert not await bench.service.images_for_node()


@pytest.mark.parametrize(
    ("names", "pinned"),
    [
        ((f"{APP}:v1",), False),
        (("registry.example/pause:3.9",), True),
        (("docker.io/library/busybox:latest", f"{APP}:v1"), True),
        (("docker.io/library/busybox:1",), False),
    ],
)
async def test_pinned(bench: Bench, names: tuple[str, ...], pinned: bool) -> None:
    image = Image(ONE, tuple(name(one, ONE) for one in names))
    assert bench.service.pinned(image) is pinned


async def test_pinned_by_a_label(bench: Bench) -> None:
    label = {"io.cri-containerd.pinned": "pinned"}
    assert bench.service.pinned(Image(ONE, (name(f"{APP}:v1", ONE, **label),)))
    label = {"io.cri-containerd.pinned": "no"}
    assert not bench.service.pinned(Image(ONE, (name(f"{APP}:v1", ONE, **label),)))


async def test_other_settings_hold_from_the_next_call_on(bench: Bench) -> None:
    image = Image(ONE, (name(f"{APP}:v1", ONE),))
    settings = ServiceSettings(Platform("linux", "amd64"), pinned=(f"{APP}:v1",))
    bench.service.reload(settings)
    assert bench.service.pinned(image)
    with pytest.raises(InvalidArgument, match="pinned image 'Not A Reference'"):
        bench.service.reload(replace(settings, pinned=("Not A Reference",)))
    assert bench.service.pinned(image)
    bench.service.reload(replace(settings, pinned=()))
    assert not bench.service.pinned(image)


async def test_other_runtime_handlers(bench: Bench) -> None:
    settings = ServiceSettings(Platform("linux", "amd64"), snapshotter="plain")
    with pytest.raises(InvalidArgument):
        bench.service.reload(replace(settings, runtimes={"kata": Runtime("no/such/at/all")}))
    bench.puller.answer = Image(ONE, ())
    await bench.service.pull("busybox", PullOptions(runtime_handler="bare"))
    bench.service.reload(settings)
    with pytest.raises(InvalidArgument, match="unknown runtime handler"):
        await bench.service.pull("busybox", PullOptions(runtime_handler="bare"))


def test_a_pinned_image_that_makes_no_sense(bench: Bench) -> None:
    settings = ServiceSettings(Platform("linux", "amd64"), pinned=("Not A Reference",))
    with pytest.raises(InvalidArgument, match="pinned image 'Not A Reference'"):
        LocalImageService(
            settings,
            puller=bench.puller,
            store=bench.store,
            metadata=bench.metadata,
            snapshotters={},
            collector=bench.collector,
            mounts=bench.mounts,
            repairs=bench.service._repairs,
            archives=bench.service._archives,
            exporter=bench.service._exporter,
            clock=bench.service._clock,
        )


async def test_detail(bench: Bench) -> None:
    await bench.add(REAL, f"{APP}:v1")
    with pytest.raises(NotFound):
        await bench.service.detail(f"{APP}:v1")
    bench.store.blobs |= {BUILT.digest: BUILT.manifest, BUILT.id: BUILT.config}
    detail = await bench.service.detail(f"{APP}:v1")
    assert (detail.manifest.digest, detail.config.digest) == (BUILT.digest, BUILT.id)
    bench.store.blobs[BUILT.id] = b"damaged"
    with pytest.raises(StoreCorrupt):
        await bench.service.detail(f"{APP}:v1")
    with pytest.raises(NotFound, match="is not here") as error:
        await bench.service.detail("absent")
    assert error.value.hint == "pull it first: orlop pull absent"


async def test_detail_of_an_index(bench: Bench) -> None:
    index = build_index([BUILT])
    await bench.add(replace(REAL, manifest=index.digest), f"{APP}:v1")
    bench.store.blobs[index.digest] = index.raw
    with pytest.raises(StoreCorrupt, match="is an index"):
        await bench.service.detail(f"{APP}:v1")
    (report,) = await bench.service.check()
    assert report.problems == (f"manifest {index.digest}: is an index",)


async def names(bench: Bench) -> set[str]:
    return {one.name for image in await bench.service.images() for one in image.names}


DIGEST = f"{APP}@{ONE.manifest}"
OTHER = "registry.example/other"


@pytest.mark.parametrize(
    ("present", "text", "left"),
    [
        ([f"{APP}:v1"], f"{APP}:v1", []),
        ([f"{APP}:v1", DIGEST], f"{APP}:v1", []),
        ([f"{APP}:v1", DIGEST], DIGEST, [f"{APP}:v1"]),
        ([DIGEST], DIGEST, []),
        ([f"{APP}:v1", f"{APP}:v2", DIGEST], f"{APP}:v1", [f"{APP}:v2", DIGEST]),
        ([f"{APP}:v1", DIGEST, f"{OTHER}:v1"], f"{APP}:v1", [f"{OTHER}:v1"]),
        ([f"{APP}:v1", DIGEST, f"{APP}2:v1"], f"{APP}:v1", [f"{APP}2:v1"]),
        ([f"{APP}:v1", f"{OTHER}:v1"], "abc1", []),
        ([f"{APP}:v1", f"{OTHER}:v1"], str(ONE.id), []),
        ([f"{APP}:v1"], "absent", [f"{APP}:v1"]),
    ],
)
async def test_removing_a_name(
    bench: Bench, present: list[str], text: str, left: list[str]
) -> None:
    await bench.add(ONE, *present)
    removed = await bench.service.remove_name(text)
    assert removed is (left != present)
    assert await names(bench) == ({*left, str(ONE.id)} if left else set())
    assert bench.collector.runs == ([False] if removed else [])


async def test_removing_an_image(bench: Bench) -> None:
    await bench.add(ONE, f"{APP}:v1", f"{OTHER}:v1")
    assert await bench.service.remove(f"{APP}:v1")
    assert await names(bench) == set()
    assert not await bench.service.remove(f"{APP}:v1")
    assert bench.collector.runs == [False]


@pytest.mark.parametrize("call", ["remove", "remove_name"])
async def test_a_removal_is_one_transaction(bench: Bench, call: str) -> None:
    """Also of a name that means images of several platforms, each with names of its own."""
    await bench.add(ONE, f"{APP}:v1", f"{APP}:one")
    await bench.add(replace(record("abc2"), manifest=ONE.manifest), f"{APP}:v1")
    before = (await bench.metadata.inventory(SPACE)).revision
    remove = bench.service.remove if call == "remove" else bench.service.remove_name
    assert await remove(f"{APP}:v1")
    after = await bench.metadata.inventory(SPACE)
    assert after.revision == before + 1
    left = set() if call == "remove" else {f"{APP}:one", str(ONE.id)}
    assert {name.name for name in after.names} == left


async def test_a_busy_store_frees_the_space_later(bench: Bench) -> None:
    await bench.add(ONE, f"{APP}:v1")
    bench.collector.busy = True
    assert await bench.service.remove(f"{APP}:v1")
    assert await names(bench) == set()


async def test_collecting(bench: Bench) -> None:
    await bench.service.collect(dry_run=True)
    await bench.service.collect()
    assert bench.collector.runs == [True, False]


async def test_filesystems(bench: Bench) -> None:
    await bench.add(record("abc1", chain_id="chain"), f"{APP}:v1")
    (found,) = await bench.service.filesystems()
    assert found.mountpoint == bench.snapshotter.root
    assert found.usage.bytes > 10
    assert found.timestamp == bench.service._clock.now()


async def test_checking(bench: Bench) -> None:
    await bench.add(REAL, f"{APP}:v1")
    bench.store.blobs |= {**BUILT.blobs, BUILT.digest: BUILT.manifest}
    (report,) = await bench.service.check(f"{APP}:v1")
    assert (report.image_id, report.problems) == (str(BUILT.id), ())
    layer = BUILT.layers[0].digest
    refers = {labels.gc_ref_layer(0): str(layer)}
    await bench.metadata.put_blob(SPACE, BlobRecord(BUILT.digest, 7, refers))
    bench.store.blobs[layer] = b"damaged"
    (report,) = await bench.service.check()
    assert len(report.problems) == 1
    assert str(layer) in report.problems[0]
    del bench.store.blobs[BUILT.digest]
    (report,) = await bench.service.check()
    assert len(report.problems) == 1  # the name's target and the manifest are one blob
    assert str(BUILT.digest) in report.problems[0]


async def test_repairing(bench: Bench) -> None:
    await bench.add(REAL, f"{APP}:v1")
    bench.puller.answer = Image(REAL, ())
    (report,) = await bench.service.check(repair=True)
    assert [str(one.reference) for one in bench.puller.requests] == [f"{APP}:v1"]
    # The puller has not done what it says.
    assert (report.repaired, bool(report.unrepaired)) == (False, True)


async def test_checking_what_is_unpacked_elsewhere(bench: Bench) -> None:
    bench.store.blobs |= {**BUILT.blobs, BUILT.digest: BUILT.manifest}
    await bench.add(replace(REAL, chain_id="chain"), f"{APP}:v1")
    (report,) = await bench.service.check()
    assert report.problems == ()
    bench.service._repairs._checker._snapshotters = {}
    (report,) = await bench.service.check()
    assert report.problems == ("snapshotter plain is not loaded",)
