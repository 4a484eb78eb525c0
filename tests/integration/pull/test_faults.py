"""Bad input at every door: the right error, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.config.durations import Duration
from orlop.errors import (
    ArchiveInvalid,
    DataLoss,
    DigestMismatch,
    LimitExceeded,
    ManifestInvalid,
    OrlopError,
    RegistryError,
    RegistryUnavailable,
    Stalled,
    StoreFull,
)
from orlop.model.mediatype import OCI_MANIFEST, Compression
from orlop.testing.distribution import DistributionRegistry
from orlop.testing.faults import Fault
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import directory, file
from tests.integration.pull.rig import Store, offer, running
from tests.rigs.disk import loop_ext4

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.model.digest import Digest
    from orlop.ports.observe import PullProgress
    from orlop.testing.fake_registry import FakeRegistry
    from orlop.testing.images import BuiltImage

pytestmark = pytest.mark.root

NOISE = os.urandom(2_000_000)
IMAGE = build_image(
    [[directory("d"), file("d/noise", NOISE)], [file("d/small", b"s")]],
    compression=Compression.NONE,
)
BIG, SMALL = IMAGE.layers


async def fails(
    store: Store, reference: str, kind: type[OrlopError], *, keeps: frozenset[str] = frozenset()
) -> OrlopError:
    """Pull, and see that it fails in this way and leaves nothing but the ingests of ``keeps``."""
    before = await store.traces()
    with pytest.raises(OrlopError) as failure:
        await store.service.pull(reference)
    assert type(failure.value) is kind, failure.value
    after = await store.traces()
    assert replace(after, ingests=frozenset()) == replace(before, ingests=frozenset())
    assert {ref for ref, _ in after.ingests} <= keeps
    return failure.value


LAYERS = frozenset({f"layer-{BIG.digest}", f"layer-{SMALL.digest}"})


@pytest.mark.parametrize("at", [0, 600, 1_000_000, -1])
async def test_a_corrupted_layer_is_a_wrong_digest(
    store: Store, registry: FakeRegistry, at: int
) -> None:
    """Also where the damage makes a broken archive, or one that is merely different."""
    reference = offer(registry, "app", "v1", IMAGE)
    registry.fail(Fault(corrupt_at=at), path=str(BIG.digest), times=None)
    error = await fails(store, reference, DigestMismatch, keeps=LAYERS)
    assert str(BIG.digest) in error.message
    # Once the registry is right again, so is the next pull.
    registry.clear_rules()
    await store.service.pull(reference)
    assert (await store.service.check())[0].problems == ()


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
async def test_a_corrupted_packed_layer_is_a_wrong_digest(
    store: Store, registry: FakeRegistry, compression: Compression
) -> None:
    layer = build_layer([file("noise", NOISE)], compression)
    reference = offer(registry, "app", "v1", build_image([layer]))
    for at in (0, len(layer.blob) // 2, len(layer.blob) - 5):
        registry.clear_rules()
        registry.fail(Fault(corrupt_at=at), path=str(layer.digest), times=None)
        await fails(store, reference, DigestMismatch)


@pytest.mark.row("M01")
async def test_a_corrupted_document(store: Store, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    for path in (str(IMAGE.digest), str(IMAGE.id)):
        registry.fail(Fault(corrupt_at=5), path=path, method="GET", times=1)
        await fails(store, reference, DigestMismatch)


def with_blob(image: BuiltImage, at: int, blob: bytes) -> BuiltImage:
    """The image with another blob for a layer; the manifest tells the truth about it."""
    layers = [*image.layers]
    layers[at] = replace(layers[at], blob=blob)
    return build_image(layers)


@pytest.mark.row("M11")
@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda tar: tar[: len(tar) // 2], ArchiveInvalid),
        (lambda tar: tar[:-1536] + b"x" + tar[-1535:], DigestMismatch),
        (lambda tar: os.urandom(5000), ArchiveInvalid),
    ],
)
async def test_a_layer_that_is_not_what_the_config_says(
    store: Store, registry: FakeRegistry, spoil: Callable[[bytes], bytes], kind: type[OrlopError]
) -> None:
    wrong = with_blob(IMAGE, 0, spoil(BIG.tar))
    error = await fails(
        store,
        offer(registry, "app", "v1", wrong),
        kind,
        keeps=frozenset({f"layer-{wrong.layers[0].digest}", f"layer-{SMALL.digest}"}),
    )
    assert isinstance(error, DataLoss | ArchiveInvalid)


async def test_a_layer_that_ends_early(store: Store, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    # Each connection brings a piece, and the next one goes on after it.
    registry.fail(Fault(truncate_at=700_000), path=str(BIG.digest), times=None)
    await store.service.pull(reference)
    asked = [one for one in registry.requests if one.path.endswith(str(BIG.digest))]
    assert [one.headers.get("range") for one in asked] == [
        None,
        "bytes=700000-",
        "bytes=1400000-",
    ]


async def test_manifests_beyond_the_limits(store: Store, registry: FakeRegistry) -> None:
    document = json.loads(IMAGE.manifest)
    document["annotations"] = {"large": "x" * (5 << 20)}
    raw = json.dumps(document).encode()
    registry.add_manifest("app", "large", raw, OCI_MANIFEST)
    await fails(store, f"{registry.address}/app:large", LimitExceeded)


async def test_documents_that_do_not_fit(store: Store, registry: FakeRegistry) -> None:
    fewer = build_image(IMAGE.layers, config={"rootfs": {"type": "layers", "diff_ids": []}})
    await fails(store, offer(registry, "app", "v1", fewer), ManifestInvalid)


async def test_a_blob_that_the_registry_does_not_have(store: Store, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    registry.remove(str(SMALL.digest))
    before = await store.traces()
    with pytest.raises(OrlopError, match=r"not found|unknown") as failure:
        await store.service.pull(reference)
    assert str(SMALL.digest) in failure.value.message
    assert (await store.traces()).files == before.files


async def test_a_pull_that_gets_no_bytes(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    registry.fail(Fault(stall_at=500_000), path=str(BIG.digest), times=None)
    patience = Duration.parse("300ms")
    async with running(tmp_path / "root", image_pull_progress_timeout=patience) as store:
        started = time.monotonic()
        error = await fails(store, reference, Stalled, keeps=LAYERS)
        assert time.monotonic() - started < 3
        assert error.message.startswith("no progress for 300ms: 1 of 2 layers, ")
        assert registry.address in error.message
        # What had arrived is not asked for again.
        registry.clear_rules()
        registry.clear_requests()
        await store.service.pull(reference)
        asked = [one for one in registry.requests if one.path.endswith(str(BIG.digest))]
        assert [one.headers.get("range") for one in asked] == ["bytes=500000-"]


def seen(picture: PullProgress, arrived: asyncio.Event) -> None:
    if picture.downloaded > 1_000_000:
        arrived.set()


async def test_a_registry_that_goes_away(store: Store, tmp_path: Path) -> None:
    """The pull ends in bounded time, and the next one goes on where it stopped."""
    layer = build_layer([file("noise", os.urandom(90_000_000))], Compression.NONE)
    with DistributionRegistry(tmp_path / "registry") as registry:
        reference = offer(registry, "app", "v1", build_image([layer]))
        arrived = asyncio.Event()
        async with asyncio.timeout(20):
            pulling = asyncio.create_task(
                store.service.pull(reference, progress=lambda one: seen(one, arrived))
            )
            await arrived.wait()
        os.kill(registry.pid, signal.SIGKILL)
        started = time.monotonic()
        with pytest.raises(RegistryUnavailable):
            await pulling
        assert time.monotonic() - started < 30
        traces = await store.traces()
        assert (traces.rows, traces.files, traces.descriptors) == (frozenset(), frozenset(), ())
        ((_, kept),) = traces.ingests
        assert 1_000_000 < kept < 90_000_000
        registry.stop()
        registry.start()
        pictures: list[PullProgress] = []
        await store.service.pull(reference, progress=pictures.append)
        fetched = [one.downloaded for one in pictures if one.phase == "pulling" and one.downloaded]
        assert all(kept <= downloaded for downloaded in fetched)
    assert (await store.service.check())[0].problems == ()


async def test_a_registry_that_is_started_again(store: Store, tmp_path: Path) -> None:
    """The pull that was under way goes on where it was."""
    layer = build_layer([file("noise", os.urandom(90_000_000))], Compression.NONE)
    with DistributionRegistry(tmp_path / "registry") as registry:
        reference = offer(registry, "app", "v1", build_image([layer]))
        arrived = asyncio.Event()
        pictures: list[PullProgress] = []

        def progress(picture: PullProgress) -> None:
            pictures.append(picture)
            seen(picture, arrived)

        async with asyncio.timeout(30):
            pulling = asyncio.create_task(store.service.pull(reference, progress=progress))
            await arrived.wait()
            os.kill(registry.pid, signal.SIGKILL)
            registry.stop()
            assert not pulling.done()
            await asyncio.to_thread(registry.start)
            await pulling
    downloaded = [one.downloaded for one in pictures]
    assert downloaded == sorted(downloaded)
    assert (await store.service.check())[0].problems == ()


def free_bytes(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


@pytest.mark.row("L03")
async def test_a_full_disk(tmp_path: Path, registry: FakeRegistry) -> None:
    """The pull gives back what it took, and works once there is space."""
    small = offer(registry, "small", "v1", build_image([SMALL]))
    packed = build_layer([file("zeros", bytes(200 << 20))])  # 200 MB that travel light
    heavy = offer(registry, "heavy", "v1", build_image([packed]))
    with loop_ext4(96 << 20, tmp_path) as disk:
        async with running(disk / "root") as store:
            await store.service.pull(small)
            await fails(store, heavy, StoreFull)
            assert (await store.traces()).ingests == frozenset()
            ballast = disk / "ballast"
            ballast.write_bytes(
                bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 900_000)
            )
            reference = offer(registry, "app", "v1", IMAGE)
            # Not even begun: it is known how much there is to fetch.
            registry.clear_requests()
            error = await fails(store, reference, StoreFull)
            assert "2.0 MB" in error.message
            assert not [one for one in registry.requests if str(BIG.digest) in one.path]
            ballast.unlink()
            await store.service.pull(reference)
            assert [one.problems for one in await store.service.check()] == [(), ()]
            assert await store.service.remove(reference)


@pytest.mark.row("L03")
async def test_a_disk_that_fills_up_during_the_download(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    layer = build_layer([file("noise", os.urandom(20 << 20))], Compression.NONE)
    reference = offer(registry, "app", "v1", build_image([layer]))
    with loop_ext4(64 << 20, tmp_path) as disk:
        async with running(disk / "root") as store:
            registry.fail(Fault(delay=0.3), path=str(layer.digest))
            ballast = disk / "ballast"

            async def fill() -> None:
                await asyncio.sleep(0.15)
                ballast.write_bytes(bytes(free_bytes(disk) - (8 << 20)))

            filling = asyncio.create_task(fill())
            await fails(store, reference, StoreFull)
            await filling
            ballast.unlink()
            await store.service.pull(reference)
            assert (await store.service.check())[0].problems == ()


@pytest.mark.row("L09")
async def test_a_damaged_blob_is_fetched_again(store: Store, registry: FakeRegistry) -> None:
    """Another image brings the damage to light, and its pull mends both."""
    await store.service.pull(offer(registry, "app", "v1", IMAGE))
    path = store.blob(BIG.digest.hex)
    path.chmod(0o600)
    with path.open("r+b") as blob:
        blob.seek(700_000)
        blob.write(b"damage")
    assert (await store.service.check())[0].problems != ()
    other = build_image([SMALL, BIG])
    await store.service.pull(offer(registry, "other", "v1", other))
    assert [one.problems for one in await store.service.check()] == [(), ()]


@pytest.mark.row("L09")
@pytest.mark.parametrize("document", [IMAGE.digest, IMAGE.id])
async def test_a_damaged_document_is_written_again(
    store: Store, registry: FakeRegistry, document: Digest
) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    await store.service.pull(reference)
    path = store.blob(document.hex)
    path.chmod(0o600)
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(OrlopError):
        await store.service.detail(reference)
    await store.service.pull(reference)
    await store.service.detail(reference)
    assert (await store.service.check())[0].problems == ()


async def test_errors_of_the_registry(store: Store, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    registry.fail(Fault(status=418), path=str(BIG.digest), times=None)
    with pytest.raises(RegistryError):
        await store.service.pull(reference)
    registry.clear_rules()
    # It cannot continue: once it ignores the range, once it denies it.
    for fault in (Fault(ignore_range=True), Fault(status=416)):
        fresh = build_image([[file("noise", os.urandom(1_000_000))]], compression=Compression.NONE)
        blob = str(fresh.layers[0].digest)
        registry.fail(Fault(reset_at=400_000), path=blob)
        registry.fail(fault, path=blob)
        await store.service.pull(offer(registry, "fresh", "v1", fresh))
        registry.clear_rules()
    assert [one.problems for one in await store.service.check()] == [(), ()]
