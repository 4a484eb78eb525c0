"""Archives through a daemon: it opens no file, the client's bytes go over the socket."""

from __future__ import annotations

import asyncio
import os
import tempfile
from typing import TYPE_CHECKING

import pytest

from orlop import daemon
from orlop.control.client import ControlClient
from orlop.errors import DigestMismatch, ImageInvalid, NotFound
from orlop.ports.service import ExportOptions, ImportOptions
from orlop.testing.layers import file, tar_bytes
from tests.integration.archives.conftest import APP, OTHER, make_layout, opened
from tests.integration.archives.test_archives import layout, pipe
from tests.rigs.doors import Rig, opening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.archives.conftest import Bench

pytestmark = pytest.mark.root


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[ControlClient]:
    stop, ready = asyncio.Event(), asyncio.Event()
    with tempfile.TemporaryDirectory(prefix="arch") as directory:
        rig = Rig(bench.store.service, f"unix://{directory}/orlop.sock")
        async with asyncio.TaskGroup() as group:
            group.create_task(daemon.serve(opening(rig), stop=stop, on_ready=lambda _: ready.set()))
            await asyncio.wait_for(ready.wait(), 5)
            try:
                async with ControlClient(rig.address) as found:
                    yield found
            finally:
                stop.set()


async def test_there_and_back(bench: Bench, client: ControlClient) -> None:
    path = bench.directory / "in.tar"
    path.write_bytes(layout(OTHER, names={0: "registry.example/other:v1"}))
    phases: set[str] = set()
    with opened(path, os.O_RDONLY) as fd:
        (image,) = await client.import_images(fd, None, lambda seen: phases.add(seen.phase))
    assert image.record.manifest == OTHER.digest
    assert "done" in phases
    local = await bench.give("registry.example/other:v1", to="local")
    remote = bench.directory / "remote"
    with opened(remote, os.O_WRONLY | os.O_CREAT) as fd:
        await client.export(["registry.example/other:v1"], fd)
    assert local.read_bytes() == remote.read_bytes()
    assert bench.store.ingests() == {}


async def test_a_directory_is_packed_on_the_way(bench: Bench, client: ControlClient) -> None:
    place = make_layout(bench.directory / "layout", APP, "app:v1")
    (place / "link").symlink_to("/etc/passwd")
    os.mkfifo(place / "fifo")
    with opened(place, os.O_RDONLY) as fd:
        (image,) = await client.import_images(fd, ImportOptions(name="mine"))
    assert image.record.manifest == APP.digest


async def test_errors(bench: Bench, client: ControlClient) -> None:
    path = bench.directory / "in.tar"
    for wrong in (b"", b"x" * 3_000_000, tar_bytes([file("some", b"file")])):
        path.write_bytes(wrong)
        with opened(path, os.O_RDONLY) as fd, pytest.raises(ImageInvalid):
            await client.import_images(fd)
    damaged = layout(OTHER).replace(b"c" * 100_000, b"d" * 100_000)
    path.write_bytes(damaged)
    with opened(path, os.O_RDONLY) as fd, pytest.raises(DigestMismatch):
        await client.import_images(fd)
    with opened(bench.directory / "out", os.O_WRONLY | os.O_CREAT) as fd, pytest.raises(NotFound):
        await client.export(["no/such:image"], fd, ExportOptions(format="docker"))


async def test_a_client_that_leaves(bench: Bench, client: ControlClient) -> None:
    before = await bench.store.traces()
    with pipe() as (reader, writer):
        os.write(writer, layout(OTHER)[:4000])
        task = asyncio.create_task(client.import_images(reader))
        async with asyncio.timeout(10):
            while not any(bench.store.ingests().values()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            while await bench.store.traces() != before:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)


async def test_a_reader_that_leaves(bench: Bench, client: ControlClient) -> None:
    path = bench.directory / "in.tar"
    path.write_bytes(layout(OTHER))
    (image,) = await bench.take(path)
    with pipe() as (_, writer):
        task = asyncio.create_task(client.export([str(image.record.id)], writer))
        done, _ = await asyncio.wait({task}, timeout=0.5)
        assert not done
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await client.version()
