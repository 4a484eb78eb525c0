"""Images that a verifier refuses: nobody gets them, on no way, and nothing of them is fetched."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from orlop._proto import runtime_v1_pb2 as pb
from orlop._proto import runtime_v1_pb2_grpc as rpc
from orlop.app import opened, with_directories
from orlop.config.load import load
from orlop.errors import SignatureRejected
from orlop.images.service import LocalImageService
from orlop.testing.images import build_image
from orlop.testing.layers import file
from tests.integration.pull.rig import Store, offer
from tests.rigs.running import Running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orlop.testing.fake_registry import FakeRegistry

pytestmark = pytest.mark.root

IMAGE = build_image([[file("a", b"a" * 1000)], [file("b", b"b" * 1000)]])

DOCUMENT = """
version = 3
[plugins."io.containerd.image-verifier.v1.bindir"]
bin_dir = "{directory}"
max_verifiers = {most}
per_verifier_timeout = "{timeout}"
"""


def write(directory: Path, *lines: str, name: str = "policy") -> None:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


@asynccontextmanager
async def verifying(
    place: Path, *, most: int = 10, patience: str = "10s"
) -> AsyncIterator[tuple[Store, Path]]:
    """A service whose document names the directory of verifiers; both are yielded."""
    directory, document = place / "verifiers", place / "config.toml"
    document.write_text(DOCUMENT.format(directory=directory, most=most, timeout=patience))
    root = place / "root"
    config = with_directories(load(str(document)).config, root=str(root), state=f"{root}/state")
    async with opened(config) as app:
        assert isinstance(app.service, LocalImageService)
        yield Store(root, app.service), directory


def asked(registry: FakeRegistry) -> list[tuple[str, str]]:
    """What was asked of the registry about images."""
    return [
        (request.method, request.path.rpartition("/")[2])
        for request in registry.requests
        if "/app/" in request.path
    ]


async def test_a_refused_image_leaves_no_trace(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    async with verifying(tmp_path) as (store, directory):
        write(directory, "echo not signed", "exit 1")
        before = await store.traces()
        with pytest.raises(SignatureRejected, match="'policy' refuses, 'not signed'"):
            await store.service.pull(reference)
        assert asked(registry) == [("HEAD", "v1")]
        assert await store.traces() == before
        assert (len(before.rows), len(before.files), len(before.ingests)) == (0, 0, 0)
        write(directory, "exit 0")
        await store.service.pull(reference)
        assert (await store.service.check())[0].problems == ()


async def test_the_verifier_is_shown_what_is_pulled(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    async with verifying(tmp_path) as (store, directory):
        write(directory, f'echo "$2 $4" >{tmp_path}/seen')
        await store.service.pull(reference)
        assert (tmp_path / "seen").read_text() == f"{reference} {IMAGE.digest}\n"


async def test_an_image_that_is_here_is_verified_again(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    async with verifying(tmp_path) as (store, directory):
        write(directory, "exit 0")
        await store.service.pull(reference)
        write(directory, "exit 1")
        with pytest.raises(SignatureRejected):
            await store.service.pull(reference)
        assert await store.service.find(reference)  # refusing takes nothing away


async def test_each_of_several_pulls_is_verified(tmp_path: Path, registry: FakeRegistry) -> None:
    good = offer(registry, "app", "good", IMAGE)
    bad = offer(registry, "app", "bad", IMAGE)
    async with verifying(tmp_path) as (store, directory):
        write(directory, 'case "$2" in *:bad) exit 1;; esac')
        pulls = [store.service.pull(one) for one in (good, bad, good, bad)]
        found = await asyncio.gather(*pulls, return_exceptions=True)
        assert [isinstance(one, SignatureRejected) for one in found] == [False, True, False, True]
        (image,) = await store.service.images()
        assert not any(one.name.endswith(":bad") for one in image.names)


async def test_a_directory_that_is_configured_must_be_there(
    tmp_path: Path, registry: FakeRegistry
) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    async with verifying(tmp_path) as (store, directory):
        with pytest.raises(SignatureRejected, match=f"{directory} does not exist"):
            await store.service.pull(reference)


async def test_the_limits_are_configured(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    async with verifying(tmp_path, most=1, patience="100ms") as (store, directory):
        write(directory, "sleep 60")
        with pytest.raises(SignatureRejected, match=r"did not answer within 0\.1s"):
            await store.service.pull(reference)
        write(directory, name="second")
        with pytest.raises(SignatureRejected, match="more than max_verifiers = 1"):
            await store.service.pull(reference)


def test_kubelet_and_the_command_line_are_told(tmp_path: Path, registry: FakeRegistry) -> None:
    reference = offer(registry, "app", "v1", IMAGE)
    directory = tmp_path / "verifiers"
    write(directory, "echo not signed", "exit 1")
    document = DOCUMENT.format(directory=directory, most=10, timeout="10s")
    refusal = "image verifier 'policy' refuses, 'not signed'"
    with (
        tempfile.TemporaryDirectory(prefix="verify") as home,
        Running(Path(home), document.replace("version = 3\n", "")) as served,
    ):
        error = cri_error(served.address, reference)
        assert error.code() is grpc.StatusCode.UNKNOWN
        assert (error.details() or "").startswith(f"SignatureValidationFailed: {refusal}")
        result = served.run("pull", reference)
        assert (result.code, result.out) == (5, "")
        assert refusal in result.err
        assert served.run("images", "-o", "json").out == "[]\n"
    assert {method for method, _ in asked(registry)} == {"HEAD"}


def cri_error(address: str, reference: str) -> grpc.RpcError:
    request = pb.PullImageRequest(image=pb.ImageSpec(image=reference))
    with grpc.insecure_channel(address) as channel:
        stub = rpc.ImageServiceStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.RpcError) as caught:
            stub.PullImage(request)
    return caught.value
