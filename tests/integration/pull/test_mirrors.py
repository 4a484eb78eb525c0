"""A mirror that falls silent: its pulls go on at the next host, before their time is over."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from orlop.config.durations import Duration
from orlop.config.schema import RegistryConfig
from orlop.errors import Stalled
from orlop.model.mediatype import Compression
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Act, Event, Fault, redirect
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import file
from tests.integration.pull.rig import Store, offer, running
from tests.integration.registry.rig import Certs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

IMAGE = build_image(
    [build_layer([file(name, os.urandom(2_000_000))], Compression.NONE) for name in "ab"]
)
DIGESTS = [str(layer.digest) for layer in IMAGE.layers]
SIZE = len(IMAGE.layers[0].blob)
TIMEOUT = 1.0


@pytest.fixture
def mirror() -> Iterator[FakeRegistry]:
    with FakeRegistry() as found:
        offer(found, "app", "v1", IMAGE)
        yield found


@asynccontextmanager
async def mirrored(
    directory: Path, registry: FakeRegistry, mirror: FakeRegistry, **images: object
) -> AsyncIterator[Store]:
    certs = Certs(directory / "certs")
    certs.put(registry.address, f'[host."{mirror.url}"]\n')
    async with running(
        directory / "root",
        registry=RegistryConfig(config_path=str(certs.path)),
        image_pull_progress_timeout=Duration.parse(f"{TIMEOUT:g}s"),
        **images,
    ) as store:
        yield store


@pytest.mark.parametrize("buffer", [0, 300_000])
async def test_a_body_that_stalls_goes_on_elsewhere(
    tmp_path: Path, registry: FakeRegistry, mirror: FakeRegistry, buffer: int
) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    for digest in DIGESTS:
        mirror.fail(Fault(stall_at=200_000), path=digest, times=None)
    async with mirrored(tmp_path, registry, mirror, concurrent_layer_fetch_buffer=buffer) as store:
        begin = time.monotonic()
        await store.service.pull(reference)
        assert TIMEOUT / 2 <= time.monotonic() - begin < 3 * TIMEOUT
        assert [one.problems for one in await store.service.check()] == [()]
    if not buffer:
        # Each byte came once, and from then on the mirror was left alone.
        for digest in DIGESTS:
            assert mirror.fetched(digest) == [(0, 200_000)]
            assert registry.fetched(digest) == [(200_000, SIZE)]


@pytest.mark.parametrize("part", ["head", "body"])
@pytest.mark.parametrize("path", ["/manifests/", str(IMAGE.id)])
async def test_documents_that_stall(
    tmp_path: Path, registry: FakeRegistry, mirror: FakeRegistry, part: str, path: str
) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    events = (Event(Act.STALL, 5, "head" if part == "head" else "body"),)
    mirror.fail(Fault(events=events), path=path, times=None)
    async with mirrored(tmp_path, registry, mirror) as store:
        begin = time.monotonic()
        await store.service.pull(reference)
        assert time.monotonic() - begin < 2 * TIMEOUT
        asked = [one for one in mirror.requests if path in one.path and one.method == "GET"]
        assert len(asked) <= 1


async def test_a_storage_that_stalls_behind_a_mirror(
    tmp_path: Path, registry: FakeRegistry, mirror: FakeRegistry
) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    with FakeRegistry() as storage:
        offer(storage, "app", "v1", IMAGE)
        storage.fail(Fault(stall_at=1000), path="/blobs/", times=None)
        for digest in DIGESTS:
            target = f"{storage.url}/v2/app/blobs/{digest}"
            mirror.fail(redirect(target), path=digest, times=None)
        async with mirrored(tmp_path, registry, mirror) as store:
            begin = time.monotonic()
            await store.service.pull(reference)
            assert time.monotonic() - begin < 3 * TIMEOUT
        assert [storage.fetched(digest) for digest in DIGESTS] == [[(0, 1000)]] * 2


async def test_all_hosts_stall(
    tmp_path: Path, registry: FakeRegistry, mirror: FakeRegistry
) -> None:
    """The pull has its whole time at the last one, as if that were the only one."""
    reference = offer(registry, "app", "v1", IMAGE)
    for one, at in ((mirror, 200_000), (registry, 100_000)):
        for digest in DIGESTS:
            one.fail(Fault(stall_at=at), path=digest, times=None)
    async with mirrored(tmp_path, registry, mirror) as store:
        begin = time.monotonic()
        with pytest.raises(Stalled, match="no progress for 1s") as failure:
            await store.service.pull(reference)
        assert 1.5 * TIMEOUT <= time.monotonic() - begin < 4 * TIMEOUT
        assert registry.address in failure.value.message
        assert dict(store.ingests()) == {f"layer-{digest}": 300_000 for digest in DIGESTS}


async def test_a_layer_that_only_a_mirror_has_and_does_not_give_at_once(
    tmp_path: Path, registry: FakeRegistry, mirror: FakeRegistry
) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    registry.remove(DIGESTS[0])
    mirror.fail(Fault(status=503), path=DIGESTS[0], times=2)
    async with mirrored(tmp_path, registry, mirror) as store:
        await store.service.pull(reference)
        assert [one.problems for one in await store.service.check()] == [()]
