"""A network whose link goes down for some seconds: the pull waits, and then goes on."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from orlop.config.schema import RegistryConfig
from orlop.model.mediatype import Compression
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import file
from tests.integration.pull.rig import offer, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.ports.observe import PullProgress

pytestmark = pytest.mark.root

NEAR, FAR = "198.18.77.1", "198.18.77.2"
CLONE_NEWNET = 0x40000000
DOWN_SECONDS = 20.0
RATE = 20_000_000


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


@pytest.fixture
def far_side() -> Iterator[str]:
    """A network namespace at the other end of a cable."""
    name = f"orlop{os.getpid()}"
    near, far = f"on{os.getpid()}", f"of{os.getpid()}"
    ip("netns", "add", name)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        ip("address", "add", f"{NEAR}/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", name, "address", "add", f"{FAR}/30", "dev", far)
        ip("-n", name, "link", "set", far, "up")
        yield name
    finally:
        ip("netns", "delete", name)  # takes the cable along


def listen_in(namespace: str) -> socket.socket:
    """A socket that listens in a network namespace; it stays there, whoever uses it."""
    made: list[socket.socket] = []

    def work() -> None:
        # A thread of its own: setns(2) changes the calling thread for good.
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{namespace}") as file_:
            assert libc.setns(file_.fileno(), CLONE_NEWNET) == 0, ctypes.get_errno()
        made.append(socket.create_server((FAR, 0)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return made[0]


@contextlib.contextmanager
def relay(listener: socket.socket, port: int) -> Iterator[list[socket.socket]]:
    """Pass connections on to a port of this host; gives the connections."""
    taken: list[socket.socket] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                outer, _ = listener.accept()
                inner = socket.create_connection(("127.0.0.1", port))
                taken.extend((outer, inner))
                for pair in ((outer, inner), (inner, outer)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for one in taken:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


async def test_a_link_that_is_down_for_some_seconds(tmp_path: Path, far_side: str) -> None:
    layers = [build_layer([file(name, os.urandom(40_000_000))], Compression.NONE) for name in "ab"]
    listener = listen_in(far_side)
    address = f"{FAR}:{listener.getsockname()[1]}"
    cable = f"of{os.getpid()}"
    insecure = RegistryConfig(insecure_registries=(address,))
    arrived = asyncio.Event()

    def progress(picture: PullProgress) -> None:
        if picture.downloaded > 10_000_000:
            arrived.set()

    with FakeRegistry() as registry, relay(listener, registry.port):
        offer(registry, "app", "v1", build_image(layers))
        async with (
            running(tmp_path / "root", max_download_rate=RATE, registry=insecure) as store,
            asyncio.timeout(90),
        ):
            pulling = asyncio.create_task(
                store.service.pull(f"{address}/app:v1", progress=progress)
            )
            await arrived.wait()
            ip("-n", far_side, "link", "set", cable, "down")
            done, _ = await asyncio.wait({pulling}, timeout=DOWN_SECONDS)
            assert not done
            ip("-n", far_side, "link", "set", cable, "up")
            await pulling
            assert (await store.service.check())[0].problems == ()
