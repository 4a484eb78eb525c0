"""Images as runtime handlers see them: the CRI on a real store, fed by a real registry."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from orlop import daemon
from orlop._proto import runtime_v1_pb2 as pb
from orlop._proto import runtime_v1_pb2_grpc as rpc
from orlop.config.schema import RuntimePlatform
from orlop.testing.distribution import DistributionRegistry
from orlop.testing.images import build_image, build_index
from orlop.testing.layers import file
from tests.integration.pull.rig import NAMESPACE, Store, offer, running, unmount_all
from tests.rigs.doors import Rig, opening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

ANNOTATION = "io.containerd.cri.runtime-handler"
OURS = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout.strip()
OURS = {"x86_64": "amd64", "aarch64": "arm64"}.get(OURS, OURS)
OTHER = "s390x" if OURS != "s390x" else "amd64"

SHARED = [file("same", b"s" * 5000)]
NATIVE = build_image([SHARED, [file("machine", b"ours")]], platform=f"linux/{OURS}")
FOREIGN = build_image([SHARED, [file("machine", b"other")]], platform=f"linux/{OTHER}")
INDEX = build_index([NATIVE, FOREIGN])

HANDLERS = {
    "copies": RuntimePlatform(snapshotter="native"),
    "emulated": RuntimePlatform(platform=f"linux/{OTHER}"),
    "runc": RuntimePlatform(),
}


@dataclass(frozen=True)
class Node:
    """A store, and a client of its CRI door."""

    store: Store
    images: rpc.ImageServiceStub

    async def pull(self, text: str, handler: str = "", **sandbox: str) -> str:
        """Pull for a handler; returns the image's id."""
        request = pb.PullImageRequest(image=pb.ImageSpec(image=text, runtime_handler=handler))
        if sandbox:
            request.sandbox_config.annotations[ANNOTATION] = sandbox["annotation"]
        return str((await self.images.PullImage(request, timeout=30)).image_ref)

    async def status(self, text: str, handler: str = "") -> pb.Image | None:
        """What ImageStatus answers; None when there is no such image."""
        spec = pb.ImageSpec(image=text, runtime_handler=handler)
        answer = await self.images.ImageStatus(pb.ImageStatusRequest(image=spec), timeout=5)
        return answer.image if answer.HasField("image") else None

    async def listed(self) -> set[tuple[str, str]]:
        """Id and handler of every item."""
        answer = await self.images.ListImages(pb.ListImagesRequest(), timeout=5)
        items = [(item.id, item.spec.runtime_handler) for item in answer.images]
        assert len(items) == len(set(items))
        return set(items)

    async def remove(self, text: str, handler: str = "") -> None:
        spec = pb.ImageSpec(image=text, runtime_handler=handler)
        await self.images.RemoveImage(pb.RemoveImageRequest(image=spec), timeout=10)

    async def problems(self) -> list[str]:
        """What a check of every image finds."""
        return [one for report in await self.store.service.check() for one in report.problems]


@asynccontextmanager
async def node(directory: Path, root: Path, **images: object) -> AsyncIterator[Node]:
    """A daemon on ``root`` with these keys of the image service."""
    address = f"unix://{directory}/orlop.sock"
    stop, ready = asyncio.Event(), asyncio.Event()
    async with running(root, **images) as store:
        rig = Rig(store.service, address)
        serving = asyncio.create_task(
            daemon.serve(opening(rig), stop=stop, on_ready=lambda _: ready.set())
        )
        try:
            await asyncio.wait_for(ready.wait(), 10)
            async with grpc.aio.insecure_channel(address) as channel:
                stub = rpc.ImageServiceStub(channel)  # type: ignore[no-untyped-call]
                yield Node(store, stub)
        finally:
            stop.set()
            await asyncio.wait_for(serving, 20)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionRegistry]:
    with DistributionRegistry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
async def handlers(directory: Path, tmp_path: Path) -> AsyncIterator[Node]:
    """A node with ``HANDLERS``."""
    async with node(directory, tmp_path / "root", runtime_platforms=HANDLERS) as found:
        yield found
        unmount_all(found.store.root)


async def test_one_reference_for_two_snapshotters(
    handlers: Node, registry: DistributionRegistry
) -> None:
    """runtime_platforms.H.snapshotter, without a sandbox: each handler's image is its own."""
    text = offer(registry, "snapshotters/app", "v1", INDEX)
    id_ = await handlers.pull(text)
    assert await handlers.status(text, "copies") is None
    assert await handlers.pull(text, "copies") == id_
    assert await handlers.listed() == {(id_, ""), (id_, "copies")}
    kept = await handlers.store.service._metadata.snapshots(NAMESPACE)
    assert {one.snapshotter for one in kept} == {"overlayfs", "native"}
    for handler, said in (("", ""), ("runc", "runc"), ("copies", "copies")):
        found = await handlers.status(text, handler)
        assert found is not None
        assert (found.id, found.spec.runtime_handler) == (id_, said)
    assert await handlers.problems() == []
    # A pull of what is there touches nothing, whichever came last.
    before = await handlers.store.traces()
    assert await handlers.pull(text) == id_
    assert await handlers.pull(text, "copies") == id_
    assert await handlers.store.traces() == before


async def test_one_index_for_two_platforms(handlers: Node, registry: DistributionRegistry) -> None:
    """runtime_platforms.H.platform: both are complete, and both have the reference's names."""
    text = offer(registry, "platforms/app", "v1", INDEX)
    ours = await handlers.pull(text)
    other = await handlers.pull(text, "emulated")
    assert (ours, other) == (str(NATIVE.id), str(FOREIGN.id))
    assert await handlers.listed() == {(ours, ""), (other, "emulated")}
    for handler, id_ in (("", ours), ("emulated", other)):
        found = await handlers.status(text, handler)
        assert found is not None
        assert found.id == id_
        assert list(found.repo_tags) == [text]
        assert found.repo_digests[0].endswith(f"@{INDEX.digest}")
    assert await handlers.status(str(FOREIGN.id), "runc") is None
    found = await handlers.status(str(FOREIGN.id))
    assert found is not None  # what is listed can be inspected
    assert await handlers.problems() == []


async def test_an_image_of_a_handler_alone(handlers: Node, registry: DistributionRegistry) -> None:
    """kubelet must not take it for an image that its default runtime can use."""
    text = offer(registry, "alone/app", "v1", INDEX)
    id_ = await handlers.pull(text, "emulated")
    assert await handlers.listed() == {(id_, "emulated")}
    assert await handlers.status(text) is None
    assert await handlers.status(text, "emulated") is not None


async def test_removing_for_one_handler_frees_its_own(
    handlers: Node, registry: DistributionRegistry
) -> None:
    text = offer(registry, "remove/app", "v1", INDEX)
    id_ = await handlers.pull(text)
    alone = await handlers.store.traces()
    await handlers.pull(text, "copies")
    other = await handlers.pull(text, "emulated")
    await handlers.remove(id_, "copies")
    assert await handlers.listed() == {(id_, ""), (other, "emulated")}
    await handlers.remove(other, "emulated")
    assert await handlers.listed() == {(id_, "")}
    assert await handlers.store.traces() == alone
    assert await handlers.problems() == []
    found = await handlers.status(text)
    assert found is not None
    assert found.id == id_


@pytest.mark.parametrize("by", ["name", "ids"])
async def test_removing_for_none_frees_all(
    handlers: Node, registry: DistributionRegistry, by: str
) -> None:
    text = offer(registry, "all/app", "v1", INDEX)
    for handler in ("", "copies", "emulated"):
        await handlers.pull(text, handler)
    for one in [text] if by == "name" else [str(NATIVE.id), str(FOREIGN.id)]:
        await handlers.remove(one)
    assert await handlers.listed() == set()
    left = await handlers.store.traces()
    assert (left.rows, left.files) == (frozenset(), frozenset())


async def test_pulls_for_all_handlers_at_once(
    handlers: Node, registry: DistributionRegistry
) -> None:
    text = offer(registry, "once/app", "v1", INDEX)
    names = ["", "copies", "emulated", "runc"]
    ids = await asyncio.gather(*(handlers.pull(text, name) for name in names))
    assert ids == [str(NATIVE.id), str(NATIVE.id), str(FOREIGN.id), str(NATIVE.id)]
    assert len(await handlers.listed()) == 3
    assert await handlers.problems() == []


async def test_the_deprecated_annotation(handlers: Node, registry: DistributionRegistry) -> None:
    text = offer(registry, "annotation/app", "v1", INDEX)
    assert await handlers.pull(text, annotation="emulated") == str(FOREIGN.id)
    request = pb.PullImageRequest(image=pb.ImageSpec(image=text, annotations={ANNOTATION: "runc"}))
    answer = await handlers.images.PullImage(request, timeout=30)
    assert answer.image_ref == str(NATIVE.id)
    spec = pb.ImageSpec(image=text, annotations={ANNOTATION: "emulated"})
    found = await handlers.images.ImageStatus(pb.ImageStatusRequest(image=spec), timeout=5)
    assert found.image.id == str(FOREIGN.id)


@pytest.mark.parametrize("method", ["PullImage", "ImageStatus", "RemoveImage"])
async def test_an_unknown_handler_is_refused(handlers: Node, method: str) -> None:
    spec = pb.ImageSpec(image="registry.example/app", runtime_handler="typo")
    request = getattr(pb, f"{method}Request")(image=spec)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(handlers.images, method)(request, timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "typo" in str(caught.value.details())
