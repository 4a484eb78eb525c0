"""A place where hostile images are pulled: a service, a registry, and what must stay as it is.

``refuses`` and ``takes`` pull through everything that a pull has: a registry, documents,
download, worker, snapshots and database. Each of them ends with the same questions: is
everything outside as it was, is nothing left behind, and does the same worker pool do its
work for the next image.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from orlop.app import in_stock, opened
from orlop.builtin import UNPACK
from orlop.config.schema import Config
from orlop.errors import LimitExceeded, OrlopError
from orlop.images.service import LocalImageService
from orlop.model.mediatype import Compression
from orlop.testing import layers
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import BuiltImage, BuiltIndex, Layer, build_image, build_layer
from orlop.testing.layers import Entry
from orlop.unpack.pool import WorkerPool
from tests.integration.pull.rig import Store, Traces, offer
from tests.rigs.tree import Node, differences, tree
from tests.unit.unpack.rig import shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from orlop.model.limits import Limits
    from orlop.plugins.registration import Context

OUTSIDE = b"OUTSIDE"
"""Stands for the tripwire's absolute path in paths and links of entries."""

Content = bytes | Layer | list[Entry | bytes]
GOOD = build_image([[layers.directory("d"), layers.file("d/f", b"content")]])


@dataclass(frozen=True, slots=True)
class Case:
    """A hostile layer, and what has to become of it.

    Attributes:
        make: makes its content; large ones are not made before their turn.
        error: what refuses it; None when it is taken.
        limit: of a LimitExceeded.
        lower: an honest layer below it.
        shows: when it is taken: what a container sees, see ``rig.shape``. None: whatever.
    """

    row: str
    make: Callable[[], Content]
    error: type[OrlopError] | None = None
    limit: str = ""
    compression: Compression = Compression.NONE
    lower: tuple[Entry, ...] = ()
    shows: Mapping[str, object] | None = None


def refused(
    row: str,
    name: str,
    content: Content | Callable[[], Content],
    error: type[OrlopError],
    *,
    limit: str = "",
    compression: Compression = Compression.NONE,
    lower: Sequence[Entry] = (),
) -> object:
    """A parameter of a test: a layer that is refused."""
    case = Case(row, _made(content), error, limit, compression, tuple(lower))
    return pytest.param(case, id=f"{row}-{name}", marks=pytest.mark.row(row))


def taken(
    row: str,
    name: str,
    content: Content | Callable[[], Content],
    shows: Mapping[str, object] | None = None,
    *,
    compression: Compression = Compression.NONE,
    lower: Sequence[Entry] = (),
) -> object:
    """A parameter of a test: a layer that is taken, and stays inside of its tree."""
    case = Case(row, _made(content), None, "", compression, tuple(lower), shows)
    return pytest.param(case, id=f"{row}-{name}", marks=pytest.mark.row(row))


def _made(content: Content | Callable[[], Content]) -> Callable[[], Content]:
    return content if callable(content) else lambda: content


class Tripwire:
    """A directory beside the store that nothing may change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "dir").mkdir(parents=True, mode=0o751)
        for name in ("file", "dir/file"):
            (path / name).write_bytes(b"secret")
            (path / name).chmod(0o604)
        (path / "link").symlink_to("dir")
        os.mkfifo(path / "fifo")
        self._before = self._look()

    def check(self) -> None:
        """Raises AssertionError: something outside has changed."""
        assert differences(self._before, self._look()) == []
        assert all(node.stat().st_nlink == 1 for node in (self.path / "file", self.path / "fifo"))

    def _look(self) -> dict[bytes, Node]:
        return tree(self.path)


@dataclass
class Site:
    """A service under attack; made by ``attacked``."""

    store: Store
    registry: FakeRegistry
    outside: Tripwire
    pool: WorkerPool
    home: Path
    _count: int = field(default=0)

    async def pulls(self, case: Case) -> None:
        """Pull an image with the case's layer, and see that it ends as it must."""
        image = self.image(case)
        if case.error is not None:
            error = await self.refuses(image, case.error)
            if isinstance(error, LimitExceeded):
                assert error.limit == case.limit, error
        else:
            found = await self.takes(image)
            assert case.shows is None or found == dict(case.shows)

    def image(self, case: Case) -> BuiltImage:
        """The image with the case's layer on top."""
        content = case.make()
        if isinstance(content, list):
            content = [self._placed(item) for item in content]
        if not isinstance(content, Layer):
            content = build_layer(content, case.compression)
        lower = [build_layer([self._placed(one) for one in case.lower])] if case.lower else []
        return build_image([*lower, content])

    def offer(self, image: BuiltImage | BuiltIndex) -> str:
        """A reference of its own for an image."""
        self._count += 1
        return offer(self.registry, f"hostile/image{self._count}", "v1", image)

    async def refuses(
        self, image: BuiltImage | BuiltIndex | str, kind: type[OrlopError]
    ) -> OrlopError:
        """Pull what is to be refused; nothing may be left of it."""
        reference = image if isinstance(image, str) else self.offer(image)
        before = await self._traces()
        server = self.pool.pid
        with pytest.raises(OrlopError) as failure:
            await self.store.service.pull(reference)
        error = failure.value
        assert type(error) is kind, error
        assert str(self.home) not in str(error)
        assert self.pool.pid == server
        assert await self._traces() == before
        self.outside.check()
        return error

    async def takes(self, image: BuiltImage | BuiltIndex | str) -> dict[str, object]:
        """Pull and mount what is to be taken; what a container sees of it."""
        reference = image if isinstance(image, str) else self.offer(image)
        before = await self._traces()
        await self.store.service.pull(reference)
        self.outside.check()
        with self._mounted() as target:
            await self.store.service.mount(reference, str(target))
            try:
                found = shape(target)
            finally:
                await self.store.service.unmount(str(target))
        await self.store.service.remove(reference)
        assert await self._traces() == before
        self.outside.check()
        return found

    async def is_well(self) -> None:
        """A good image is pulled as if nothing had been."""
        assert await self.takes(GOOD) == {"d": "dir", "d/f": b"content"}

    def _mounted(self) -> _Directory:
        return _Directory(self.home / "mnt")

    def _placed(self, item: Entry | bytes) -> Entry | bytes:
        if isinstance(item, bytes):
            return item
        place = os.fsencode(self.outside.path)
        path = item.path.replace(OUTSIDE, place)
        return replace(item, path=path, link=item.link.replace(OUTSIDE, place))

    async def _traces(self) -> Traces:
        # What was fetched of a layer may stay for the next try.
        return replace(await self.store.traces(), ingests=frozenset())


class _Directory:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        self._path.mkdir()
        return self._path

    def __exit__(self, *_: object) -> None:
        with suppress(FileNotFoundError):
            self._path.rmdir()


@asynccontextmanager
async def attacked(home: Path, limits: Limits, **images: object) -> AsyncIterator[Site]:
    """The whole service on a root below ``home``, with workers that have ``limits``.

    Args:
        home: an empty directory.
        limits: of layers.
        images: keys of ``[plugins."io.containerd.cri.v1.images"]``.
    """
    defaults = Config()
    keys = {"image_pull_with_sync_fs": False, **images}
    config = structs.replace(
        defaults,
        root=str(home / "root"),
        state=str(home / "state"),
        images=structs.replace(defaults.images, **keys),
    )
    pools: list[WorkerPool] = []

    @asynccontextmanager
    async def workers(_: Context) -> AsyncIterator[WorkerPool]:
        async with WorkerPool(limits, strict=True) as pool:
            pool.start()
            pools.append(pool)
            yield pool

    stock = in_stock()
    stock = replace(
        stock,
        registrations=tuple(
            replace(one, init=workers) if one.type == UNPACK else one for one in stock.registrations
        ),
    )
    async with FakeRegistry() as registry, opened(config, stock) as app:
        assert isinstance(app.service, LocalImageService)
        store = Store(home / "root", app.service)
        site = Site(store, registry, Tripwire(home / "outside"), pools[0], home)
        await site.is_well()
        yield site
        await site.is_well()
