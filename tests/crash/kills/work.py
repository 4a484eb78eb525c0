"""What is done while it is killed, on which store it begins, and what it promises.

The images are small, and have what layers can have: hard links within a layer and into
the one below, deletions, opaque directories, devices, extended attributes. Every
directory is named by its layer, so that all times are the image's.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from orlop.app import Stock, opened, with_directories
from orlop.builtin import UNPACK, builtin
from orlop.config.schema import Config
from orlop.config.schema import ImageConfig as ImageSection
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault
from orlop.testing.images import build_image, build_layer
from orlop.testing.layers import (
    CHAR_DEVICE,
    Entry,
    device,
    directory,
    fifo,
    file,
    hard_link,
    opaque,
    symlink,
    whiteout,
)
from orlop.unpack.pool import WorkerPool
from tests.crash.invariants import NAMESPACE, insight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
    from pathlib import Path

    from orlop.plugins.registration import Context
    from orlop.ports.service import ImageService
    from orlop.testing.images import BuiltImage

FIRST: Final = "first"
SECOND: Final = "second"
_SEED: Final = 7


def images() -> dict[str, BuiltImage]:
    """The images by their repositories; the same bytes every time."""
    data = random.Random(_SEED).randbytes(100_000)
    base = build_layer(
        [
            directory("etc", mode=0o750, uid=3),
            file("etc/a", b"a" * 5000),
            Entry(b"etc/x", data=b"x", xattrs={"user.word": b"value"}),
            hard_link("etc/same", "etc/x"),
            symlink("l", "etc"),
            directory("dev"),
            device("dev/null", CHAR_DEVICE, major=1, minor=3),
            fifo("dev/pipe"),
        ]
    )
    middle = build_layer(
        [
            directory("etc", mode=0o755, uid=3),
            file("etc/b", b"b", mode=0o4755),
            whiteout("etc/a"),
            directory("usr"),
            directory("usr/bin"),
            file("usr/bin/c", data),
        ]
    )
    top = build_layer([directory("etc"), hard_link("etc/linked", "etc/b"), file("l/through", b"t")])
    other = build_layer([directory("etc", uid=9), opaque("etc"), file("etc/only", b"only")])
    return {FIRST: build_image([base, middle, top]), SECOND: build_image([base, other])}


@contextmanager
def registry() -> Iterator[str]:
    """Serve the images from a process of its own; yields its address.

    The repository ``torn-first`` breaks off every layer, and then refuses it.
    """
    ours, theirs = os.pipe()
    server = os.fork()
    if not server:
        try:
            _serve(theirs)
        finally:
            os._exit(1)
    os.close(theirs)
    try:
        with open(ours) as told:
            yield told.readline().strip()
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)


def _serve(told: int) -> None:
    with FakeRegistry() as served:
        for name, image in images().items():
            for blob in image.blobs.values():
                served.add_blob(blob)
            for repository in (name, f"torn-{name}"):
                served.add_manifest(repository, "1", image.manifest, image.media_type)
        layers = {layer.digest for image in images().values() for layer in image.layers}
        for digest in layers:
            path = f"torn-{FIRST}/blobs/{digest}"
            served.fail(Fault(truncate_at=150), path=path)
            served.fail(Fault(status=403), path=path, times=None)
        os.write(told, f"{served.address}\n".encode())
        os.close(told)
        signal.pause()


@asynccontextmanager
async def service(root: Path, program: Sequence[str] = ()) -> AsyncIterator[ImageService]:
    """What a daemon runs, without its doors, on the store at ``root``.

    Args:
        root: of the store.
        program: command of the fork-server; none is the usual one.
    """

    @asynccontextmanager
    async def unpack(context: Context) -> AsyncIterator[WorkerPool]:
        limits = cast("ImageSection", context.config).limits.limits
        async with WorkerPool(limits, program=program) as pool:
            pool.start()
            yield pool

    plugins = tuple(
        replace(one, init=unpack) if program and one.type == UNPACK else one for one in builtin()
    )
    config = with_directories(Config(), root=str(root), state=str(root / "state"))
    async with opened(config, Stock(plugins)) as app:
        yield app.service


@dataclass(frozen=True, slots=True)
class Work:
    """Something that is done to a store.

    Attributes:
        name: of it, and of the store that it begins with.
        run: does it; gets the registry's address.
        prepare: makes the store.
        adds: repositories that are there when ``run`` has returned.
        removes: ditto, that are not.
        has: those that are there before and after.
    """

    name: str
    run: Callable[[ImageService, str], Coroutine[None, None, None]]
    prepare: Callable[[Path, str], Coroutine[None, None, None]]
    adds: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    has: tuple[str, ...] = ()


def name(address: str, repository: str) -> str:
    """The image's name."""
    return f"{address}/{repository}:1"


async def _nothing(_: ImageService, __: str) -> None:
    """Only the start and the end."""


async def _pull_first(store: ImageService, address: str) -> None:
    await store.pull(name(address, FIRST))


async def _pull_second(store: ImageService, address: str) -> None:
    await store.pull(name(address, SECOND))


async def _pull_both(store: ImageService, address: str) -> None:
    both = (_pull_first(store, address), _pull_second(store, address))
    for outcome in await asyncio.gather(*both, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _remove(store: ImageService, address: str) -> None:
    await store.remove(name(address, FIRST))


async def _collect(store: ImageService, _: str) -> None:
    await store.collect()


async def _empty(_: Path, __: str) -> None:
    """A start makes what is needed."""


async def _with_first(root: Path, address: str) -> None:
    async with service(root) as store:
        await _pull_first(store, address)


async def _with_both(root: Path, address: str) -> None:
    async with service(root) as store:
        await _pull_both(store, address)


async def _with_garbage(root: Path, address: str) -> None:
    """The first image's records are gone, and nobody has collected what it had."""
    await _with_both(root, address)
    async with insight(root) as store:
        image = await store.service.find(name(address, FIRST))
        assert image is not None
        await store.metadata.remove_image(NAMESPACE, image.record.id)


async def _with_parts(root: Path, address: str) -> None:
    """A download that broke off has left its ingests."""
    async with service(root) as store:
        try:
            await store.pull(name(address, f"torn-{FIRST}"))
        except Exception:  # noqa: BLE001 - how it fails is the business of other tests
            return
        raise AssertionError("a torn layer was pulled")


WORKS: Final = (
    Work("start", _nothing, _empty),
    Work("pull", _pull_first, _empty, adds=(FIRST,)),
    Work("share", _pull_second, _with_first, adds=(SECOND,), has=(FIRST,)),
    Work("pair", _pull_both, _empty, adds=(FIRST, SECOND)),
    Work("resume", _pull_first, _with_parts, adds=(FIRST,)),
    Work("remove", _remove, _with_both, removes=(FIRST,), has=(SECOND,)),
    Work("collect", _collect, _with_garbage, has=(SECOND,)),
    Work("stop", _nothing, _with_both, has=(FIRST, SECOND)),
)
