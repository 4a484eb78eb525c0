"""Who names what another repository has brought gets it only if its registry has it, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.errors import AuthFailed, DigestMismatch, NotFound, OrlopError
from orlop.model import labels
from orlop.model.mediatype import Compression
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault
from orlop.testing.images import Json, build_image, build_layer
from orlop.testing.layers import file
from tests.integration.pull.rig import Store, offer, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.testing.images import BuiltImage

pytestmark = pytest.mark.root

PRIVATE = build_image(
    [
        build_layer([file("secret", bytes(range(256)) * 800)], Compression.NONE),
        build_layer([file("small", b"s")], Compression.NONE),
    ]
)


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    """Another registry, of somebody who has seen the manifest."""
    with FakeRegistry() as found:
        yield found


def named(registry: FakeRegistry, image: BuiltImage, *, documents: bool = True) -> str:
    """Offer the manifest without the layers."""
    if documents:
        registry.add_blob(image.config)
    registry.add_manifest("mine", "v1", image.manifest, image.media_type)
    return f"{registry.address}/mine:v1"


async def refused(store: Store, reference: str) -> OrlopError:
    before = await store.traces()
    with pytest.raises(OrlopError) as failure:
        await store.service.pull(reference)
    assert await store.traces() == before
    return failure.value


async def test_layers_that_the_registry_does_not_have(
    store: Store, registry: FakeRegistry, other: FakeRegistry
) -> None:
    await store.service.pull(offer(registry, "private", "v1", PRIVATE))
    error = await refused(store, named(other, PRIVATE))
    assert isinstance(error, NotFound)
    assert any(str(layer.digest) in error.message for layer in PRIVATE.layers)


async def test_documents_that_the_registry_does_not_have(
    store: Store, registry: FakeRegistry, other: FakeRegistry
) -> None:
    await store.service.pull(offer(registry, "private", "v1", PRIVATE))
    reference = named(other, PRIVATE, documents=False)
    for layer in PRIVATE.layers:
        other.add_blob(layer.blob)
    error = await refused(store, reference)
    assert isinstance(error, NotFound)
    assert str(PRIVATE.id) in error.message


async def test_a_registry_that_says_yes_to_everything(
    store: Store, registry: FakeRegistry, other: FakeRegistry
) -> None:
    await store.service.pull(offer(registry, "private", "v1", PRIVATE))
    reference = named(other, PRIVATE)
    for layer in PRIVATE.layers:
        offered = bytes(len(layer.blob))
        other._answers.blobs[str(layer.digest)] = offered
    assert isinstance(await refused(store, reference), DigestMismatch)


async def test_a_repository_that_the_caller_may_not_read(
    store: Store, registry: FakeRegistry
) -> None:
    await store.service.pull(offer(registry, "private", "v1", PRIVATE))
    registry.fail(Fault(status=403), path="mine/blobs/", times=None)
    assert isinstance(await refused(store, named(registry, PRIVATE)), AuthFailed)


@pytest.mark.parametrize(
    "fault", [Fault(), Fault(ignore_range=True), Fault(status=416), Fault(status=503)]
)
async def test_it_is_shown_once(
    store: Store, registry: FakeRegistry, other: FakeRegistry, fault: Fault
) -> None:
    await store.service.pull(offer(registry, "private", "v1", PRIVATE))
    reference = offer(other, "mine", "v1", PRIVATE)
    other.fail(fault, path=str(PRIVATE.layers[0].digest), method="GET")
    await store.service.pull(reference)
    sent = sum(end - start for start, end in other.fetched(str(PRIVATE.layers[0].digest)))
    assert sent >= 64 << 10
    assert [one.problems for one in await store.service.check()] == [()]
    record = await store.service._metadata.blob("k8s.io", PRIVATE.layers[0].digest)
    assert record is not None
    assert labels.sources(record.labels, registry.address) == ("private",)
    assert labels.sources(record.labels, other.address) == ("mine",)
    # From then on it is at home there, under every tag, and so it is still here.
    other.clear_requests()
    registry.clear_requests()
    for mine in (other, registry):
        name = "mine" if mine is other else "private"
        await store.service.pull(f"{mine.address}/{name}:v1")
        await store.service.pull(offer(mine, name, "v2", PRIVATE))
        assert [one.method for one in mine.requests] == ["HEAD", "HEAD"]


async def test_what_is_here_is_damaged(
    store: Store, registry: FakeRegistry, other: FakeRegistry
) -> None:
    """The registry is right, and mends it."""
    await store.service.pull(offer(registry, "private", "v1", PRIVATE))
    path = store.blob(PRIVATE.layers[0].digest.hex)
    path.chmod(0o600)
    path.write_bytes(bytes(len(PRIVATE.layers[0].blob)))
    await store.service.pull(offer(other, "mine", "v1", PRIVATE))
    assert [one.problems for one in await store.service.check()] == [()]


async def test_diff_ids_of_others(
    store: Store, registry: FakeRegistry, other: FakeRegistry
) -> None:
    """A config that names a private tree's diffIDs, with layers that are something else."""
    await store.service.pull(offer(registry, "private", "v1", PRIVATE))
    mine = [build_layer([file("mine", bytes([at]))], Compression.NONE) for at in range(2)]
    diff_ids: list[Json] = [str(layer.diff_id) for layer in PRIVATE.layers]
    forged = build_image(mine, config={"rootfs": {"type": "layers", "diff_ids": diff_ids}})
    reference = offer(other, "mine", "v1", forged)
    before = await store.traces()
    with pytest.raises(DigestMismatch):
        await store.service.pull(reference)
    after = await store.traces()
    assert (after.rows, after.files) == (before.rows, before.files)


async def test_the_same_tree_in_another_form(
    store: Store, registry: FakeRegistry, other: FakeRegistry
) -> None:
    """Its diffIDs are looked at, and the snapshots that are here serve both."""
    await store.service.pull(offer(registry, "private", "v1", PRIVATE))
    packed = build_image(
        [
            build_layer([file("secret", bytes(range(256)) * 800)], Compression.GZIP),
            build_layer([file("small", b"s")], Compression.GZIP),
        ]
    )
    assert packed.chain == PRIVATE.chain
    before = {row for row in (await store.traces()).rows if row.startswith("snapshot")}
    await store.service.pull(offer(other, "packed", "v1", packed))
    traces = await store.traces()
    assert {row for row in traces.rows if row.startswith("snapshot")} == before
    assert not [path for path in traces.files if "/staging/" in path]
    assert [one.problems for one in await store.service.check()] == [()]


async def test_require_layer_access(
    tmp_path: Path, registry: FakeRegistry, other: FakeRegistry
) -> None:
    async with running(tmp_path / "root", require_layer_access=False) as store:
        await store.service.pull(offer(registry, "private", "v1", PRIVATE))
        await store.service.pull(named(other, PRIVATE, documents=False))
        assert {one.path.split("/")[3] for one in other.requests} == {"manifests"}
