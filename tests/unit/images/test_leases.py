"""Leases that clients hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from orlop.errors import AlreadyExists, InvalidArgument, NotFound
from orlop.images.leases import ImageLeases
from orlop.metadata.store import MetadataStore
from orlop.model.digest import Digest
from orlop.ports.metadata import Resource
from orlop.ports.service import LeaseOptions
from orlop.testing.manual_clock import ManualClock
from tests.unit.images.rig import SPACE, record

if TYPE_CHECKING:
    from collections.abc import Collection

    from orlop.ports.metadata import Lease, Metadata
    from tests.unit.images.conftest import Bench

APP = "registry.example/app"
IMAGE = record("abc1", chain_id="chain")
KEPT = (Resource("content", str(IMAGE.manifest)), Resource("snapshots", "plain/chain"))


async def test_an_image_is_kept_by_manifest_and_snapshot(bench: Bench) -> None:
    await bench.add(IMAGE, f"{APP}:v1")
    held = await bench.service.add_lease([f"{APP}:v1", str(IMAGE.id)], LeaseOptions("mine"))
    assert (held.lease.id, held.lease.expires_at, held.lease.labels) == ("mine", 0, {})
    assert held.resources == KEPT
    assert await bench.service.leases() == [held]
    assert await bench.service.leases("other") == []
    await bench.service.remove_lease("mine")
    assert await bench.service.leases() == []
    assert bench.collector.runs == [False], "what nothing keeps any more goes at once"


async def test_blobs_and_snapshots_by_what_they_are_called(bench: Bench) -> None:
    await bench.add(IMAGE, f"{APP}:v1")
    held = await bench.service.add_lease([str(IMAGE.manifest), "chain", "plain/chain"])
    assert held.resources == KEPT
    assert held.lease.id.startswith("lease-")


async def test_the_time_and_flatness(bench: Bench) -> None:
    await bench.add(IMAGE, f"{APP}:v1")
    held = await bench.service.add_lease([f"{APP}:v1"], LeaseOptions(seconds=1.5, flat=True))
    assert held.lease.expires_at - held.lease.created_at == 1_500_000_000
    assert list(held.lease.labels) == ["containerd.io/gc.flat"]


@pytest.mark.parametrize(
    "text", ["absent", f"{APP}:v2", str(Digest.of(b"absent")), "", "other/chain"]
)
async def test_what_is_not_here_is_not_kept(bench: Bench, text: str) -> None:
    await bench.add(IMAGE, f"{APP}:v1")
    with pytest.raises(NotFound, match="nothing here"):
        await bench.service.add_lease([f"{APP}:v1", text])
    assert await bench.service.leases() == []


@pytest.mark.parametrize(
    "options",
    [
        LeaseOptions("a b"),
        LeaseOptions("-a"),
        LeaseOptions("a" * 77),
        LeaseOptions(seconds=-1),
        LeaseOptions(seconds=float("nan")),
        LeaseOptions(seconds=1e12),
    ],
)
async def test_what_makes_no_sense(bench: Bench, options: LeaseOptions) -> None:
    await bench.add(IMAGE, f"{APP}:v1")
    with pytest.raises(InvalidArgument):
        await bench.service.add_lease([f"{APP}:v1"], options)


async def test_an_id_that_is_taken(bench: Bench) -> None:
    await bench.add(IMAGE, f"{APP}:v1")
    await bench.service.add_lease(["chain"], LeaseOptions("mine"))
    with pytest.raises(AlreadyExists):
        await bench.service.add_lease([f"{APP}:v1"], LeaseOptions("mine"))
    (held,) = await bench.service.leases()
    assert held.resources == KEPT[1:]
    with pytest.raises(NotFound):
        await bench.service.remove_lease("yours")


class Swept(MetadataStore):
    """A collection removes what was just looked up, before the lease is there."""

    async def create_lease(
        self, namespace: str, lease: Lease, resources: Collection[Resource] = ()
    ) -> Lease:
        await self.remove_snapshot(namespace, "plain", "chain")
        return await super().create_lease(namespace, lease, resources)


async def test_a_collection_that_was_quicker(bench: Bench) -> None:
    await bench.add(IMAGE, f"{APP}:v1")
    metadata = cast("Metadata", Swept(bench.metadata._database, ManualClock()))
    leases = ImageLeases(metadata, ["plain"], ManualClock())
    with pytest.raises(NotFound, match="just been removed"):
        await leases.add(SPACE, ["chain"], LeaseOptions())
    assert await bench.service.leases() == []
