"""SIGHUP and Reload, on a daemon with all of orlop behind it."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
import pytest

from orlop._proto import runtime_v1_pb2 as pb
from orlop._proto import runtime_v1_pb2_grpc as rpc
from orlop.control.client import ControlClient
from orlop.errors import InvalidArgument, Unimplemented
from orlop.plugins.host import Reloaded
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image
from orlop.testing.layers import file
from tests.rigs.running import Running, orlop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.testing.images import BuiltImage

pytestmark = pytest.mark.root

IMAGES: Final = 'plugins."io.containerd.cri.v1.images"'


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="reload") as path:
        yield Path(path)


def offer(registry: FakeRegistry, image: BuiltImage) -> str:
    """Put an image into a registry; returns its reference."""
    for blob in image.blobs.values():
        registry.add_blob(blob)
    registry.add_manifest("team/app", "v1", image.manifest, image.media_type)
    return f"{registry.address}/team/app:v1"


def pull(daemon: Running, name: str) -> None:
    """Pull an image."""

    async def work() -> None:
        async with ControlClient(daemon.address) as client:
            await client.pull(name)

    asyncio.run(work())


def reload(daemon: Running) -> Reloaded:
    """Let the daemon read its configuration again."""

    async def work() -> Reloaded:
        async with ControlClient(daemon.address) as client:
            return await client.reload()

    return asyncio.run(work())


def pinned(daemon: Running, name: str) -> tuple[bool, ...]:
    """What ListImages and ImageStatus say of the only image."""
    with grpc.insecure_channel(daemon.address) as channel:
        stub = rpc.ImageServiceStub(channel)  # type: ignore[no-untyped-call]
        (listed,) = stub.ListImages(pb.ListImagesRequest(), timeout=10).images
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=name))
        return listed.pinned, stub.ImageStatus(request, timeout=10).image.pinned


def test_what_can_change_changes_and_the_rest_is_named(home: Path) -> None:
    image = build_image([[file("etc/word", b"word")]])
    with FakeRegistry() as registry, Running(home) as daemon:
        name = offer(registry, image)
        pull(daemon, name)
        assert pinned(daemon, name) == (False, False)

        document = (
            f"[{IMAGES}]\nmax_concurrent_downloads = 1\nsnapshotter = 'native'\n"
            f"[{IMAGES}.pinned_images]\napp = '{name}'\n"
        )
        daemon.write(document)
        daemon.hang_up()
        log = daemon.wait_for("configuration needs a restart")
        shown = IMAGES.replace('"', '\\"')
        for key in ("max_concurrent_downloads", "pinned_images"):
            assert f'msg="configuration applied" key="{shown}.{key}"' in log
        assert f'msg="configuration needs a restart" key="{shown}.snapshotter"' in log
        assert pinned(daemon, name) == (True, True)

        daemon.write(f"{document}[{IMAGES}.runtime_platforms.kata]\nplatform = 5\n")
        daemon.hang_up()
        log = daemon.wait_for("configuration refused")
        assert f"{daemon.config}:8: " in log
        assert pinned(daemon, name) == (True, True)

        daemon.write("")
        applied = (f"{IMAGES}.max_concurrent_downloads", f"{IMAGES}.pinned_images")
        assert reload(daemon) == Reloaded(applied)
        assert pinned(daemon, name) == (False, False)
        assert reload(daemon) == Reloaded()
        assert daemon.stop() == 0


def test_what_the_command_line_says_stays(home: Path) -> None:
    with Running(home) as daemon:
        daemon.write(
            'root = "/elsewhere"\n[plugins."io.containerd.server.v1.grpc"]\n'
            'address = "unix:///elsewhere.sock"\n'
        )
        assert reload(daemon) == Reloaded()
        daemon.write("root = 5\n")
        with pytest.raises(InvalidArgument, match=f"^{daemon.config}:2: "):
            reload(daemon)
        daemon.write(f'[{IMAGES}]\ndrain_timeout = "1s"\nimage_pull_with_sync_fs = false\n')
        assert daemon.run("config", "reload").out == (
            f"applied: {IMAGES}.drain_timeout\nneeds a restart: {IMAGES}.image_pull_with_sync_fs\n"
        )
        assert daemon.stop() == 0
        assert "drain_seconds=1.0" in daemon.wait_for("stopping")


def test_registries_are_asked_in_the_new_way(home: Path) -> None:
    image = build_image([[file("etc/word", b"word")]])
    with FakeRegistry() as registry, Running(home) as daemon:
        name = offer(registry, image)
        pull(daemon, name)
        assert not any("x-team" in request.headers for request in registry.requests)
        registry.clear_requests()
        daemon.write(
            f"[{IMAGES}.registry]\ninsecure_registries = ['{registry.address}']\n"
            f"headers = {{ X-Team = ['blue'] }}\n"
        )
        assert daemon.run("config", "reload").out == (
            f"applied: {IMAGES}.registry.headers\napplied: {IMAGES}.registry.insecure_registries\n"
        )
        pull(daemon, name)
        assert {request.headers.get("x-team") for request in registry.requests} == {"blue"}


def test_a_daemon_without_a_door(home: Path) -> None:
    document = 'disabled_plugins = ["io.containerd.grpc.v1.control"]\n'
    with Running(home, document) as daemon:
        with pytest.raises(Unimplemented):
            reload(daemon)
        with grpc.insecure_channel(daemon.address) as channel:
            stub = rpc.ImageServiceStub(channel)  # type: ignore[no-untyped-call]
            assert list(stub.ListImages(pb.ListImagesRequest(), timeout=10).images) == []
        assert daemon.stop() == 0
    daemon.write('disabled_plugins = ["io.containerd.server.v1.grpc"]\n')
    result = orlop(*daemon.arguments())
    assert result.code != 0
    assert "plugin io.containerd.server.v1.grpc is disabled" in result.err


def test_systemd_is_told_when_it_begins_and_ends(home: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(home / "notify"))
        manager.settimeout(10)
        with Running(home, NOTIFY_SOCKET=str(home / "notify")) as daemon:
            assert manager.recv(200) == b"READY=1"
            before = time.monotonic_ns() // 1000
            daemon.hang_up()
            first, second = manager.recv(200).decode().split("\n")
            assert first == "RELOADING=1"
            name, _, value = second.partition("=")
            assert name == "MONOTONIC_USEC"
            assert before <= int(value) <= time.monotonic_ns() // 1000
            assert manager.recv(200) == b"READY=1"
            daemon.write("not TOML")
            daemon.hang_up()
            assert manager.recv(200).startswith(b"RELOADING=1\n")
            assert manager.recv(200) == b"READY=1"
            assert daemon.stop() == 0
