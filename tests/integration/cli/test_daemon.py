"""``orlop daemon`` and ``--root``, with all of orlop behind them."""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import file

pytestmark = pytest.mark.root

LIMIT = 20.0


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: sockets have room for 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="cli") as path:
        yield Path(path)


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orlop",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(*arguments: str) -> tuple[int | None, str, str]:
    async with started(*arguments) as process:
        out, err = await asyncio.wait_for(process.communicate(), LIMIT)
        return process.returncode, out.decode(), err.decode()


def daemon_options(directory: Path) -> list[str]:
    address = f"unix://{directory}/s.sock"
    return ["--root", f"{directory}/root", "--state", f"{directory}/state", "--address", address]


async def test_the_life_of_a_daemon(directory: Path) -> None:
    options = daemon_options(directory)
    async with started("daemon", *options) as daemon:
        assert daemon.stderr is not None
        ready = await asyncio.wait_for(daemon.stderr.readline(), LIMIT)
        assert ready.decode() == f"orlop: ready on {options[-1]}\n"
        code, out, _ = await run("images", "-o", "json", "--address", options[-1])
        assert (code, json.loads(out)) == (0, [])
        code, out, err = await run("daemon", *options)
        assert (code, out) == (1, "")
        assert err.startswith("orlop: ")
        assert (await run("images", "--root", f"{directory}/root"))[0] == 1
        daemon.send_signal(signal.SIGTERM)
        await asyncio.wait_for(daemon.communicate(), LIMIT)
        assert daemon.returncode == 0
    assert (await run("images", "--address", options[-1]))[0] == 75


@pytest.mark.parametrize("where", ["daemon", "root"])
async def test_where_the_time_of_a_pull_went(directory: Path, where: str) -> None:
    image = build_image([build_layer([file(name, b"x" * 200_000)]) for name in "ab"])
    path = directory / "pull.json"
    async with FakeRegistry() as registry, AsyncExitStack() as stack:
        for blob in image.blobs.values():
            registry.add_blob(blob)
        registry.add_manifest("app", "v1", image.manifest, image.media_type)
        options = ["--root", f"{directory}/root"]
        if where == "daemon":
            daemon = await stack.enter_async_context(started("daemon", *daemon_options(directory)))
            assert daemon.stderr is not None
            await asyncio.wait_for(daemon.stderr.readline(), LIMIT)
            options = daemon_options(directory)[-2:]
        name = f"{registry.address}/app:v1"
        code, _, err = await run("pull", name, "--timeline", str(path), *options)
    assert code == 0, err
    pulled, took, waited = err.splitlines()[-3:]
    assert pulled.startswith(f"orlop: pulled {name}: ")
    assert took.startswith("orlop: took ")
    assert waited.startswith("orlop: waited for ")
    spans = json.loads(path.read_text())["spans"]
    layers = {str(layer.digest) for layer in image.layers}
    assert {one["layer"] for one in spans if one["activity"] == "downloading"} == layers
    assert {one["layer"] for one in spans if one["activity"] == "unpacking"} == layers
    assert {"resolving", "syncing", "publishing"} <= {one["activity"] for one in spans}


async def test_a_wrong_configuration_is_told(directory: Path) -> None:
    path = directory / "config.toml"
    path.write_text('version = 4\nroot = "relative"\nroot = "twice"\n')
    code, out, err = await run("daemon", "--config", str(path), *daemon_options(directory))
    assert (code, out) == (1, "")
    assert err.startswith(f"orlop: {path}:3")


async def test_a_store_without_a_daemon(directory: Path) -> None:
    root = ["--root", f"{directory}/root"]
    assert (await run("images", "-o", "json", *root))[:2] == (0, "[]\n")
    code, out, _ = await run("fs", "-o", "json", *root)
    assert code == 0
    assert all(one["mountpoint"].startswith(f"{directory}/") for one in json.loads(out))
    assert (await run("gc", *root))[0] == 0
    assert (await run("check", *root))[0] == 0
    assert (await run("rm", "nothing", *root))[0] == 3
