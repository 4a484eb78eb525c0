"""A service that goes on through every attack, registries that attack, and what must be left."""

from __future__ import annotations

import os
import re
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from msgspec import structs

from orlop.app import Stock, opened
from orlop.builtin import REGISTRY, builtin
from orlop.config.schema import Config
from orlop.errors import OrlopError
from orlop.linux.clock import SystemClock
from orlop.model.limits import DEFAULTS
from orlop.model.mediatype import Compression
from orlop.plugins.registration import Registration
from orlop.ports.service import PullOptions
from orlop.registry.client import RegistryClient
from orlop.registry.retry import RetryPolicy
from orlop.registry.settings import HostSettings, RegistrySettings
from orlop.testing.certificates import Authority
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.images import build_image
from orlop.testing.layers import file
from tests.integration.pull.rig import Store, offer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from orlop.images.service import LocalImageService
    from orlop.model.digest import Digest
    from orlop.plugins.registration import Context
    from orlop.ports.registry import Credentials
    from orlop.testing.images import BuiltImage

QUICK = RetryPolicy(attempts=3, base=0.001, cap=0.002, longest_wait=1.0)
SOON = 20.0
"""Seconds in which every failure must be known here; most take milliseconds."""
MEMORY = 48 << 20
"""Bytes by which an attack may make this process grow, the attacker's own part included."""


@asynccontextmanager
async def service(root: Path, settings: RegistrySettings, **images: object) -> AsyncIterator[Store]:
    """The whole service on ``root``, with these settings of its registry client."""

    @asynccontextmanager
    async def client(_: Context) -> AsyncIterator[RegistryClient]:
        made = RegistryClient(settings, clock=SystemClock(), limits=DEFAULTS)
        try:
            yield made
        finally:
            await made.close()

    table = [one for one in builtin() if one.type != REGISTRY]
    table.append(Registration(REGISTRY, "distribution", client))
    defaults = Config()
    config = structs.replace(
        defaults,
        root=str(root),
        state=str(root / "state"),
        images=structs.replace(defaults.images, **images),
    )
    async with opened(config, Stock(tuple(table))) as app:
        yield Store(root, cast("LocalImageService", app.service))


@dataclass
class Site:
    """A service and the registries it knows, one over TCP and one over TLS."""

    store: Store
    plain: FakeRegistry
    secure: FakeRegistry
    authority: Authority
    pulled: int = field(default=0)

    def fresh(self, *, size: int = 200_000, layers: int = 1) -> BuiltImage:
        """An image that nobody has seen: a layer of noise, and small ones if there are more."""
        self.pulled += 1
        name = f"file{self.pulled}"
        sizes = [size, *[8] * (layers - 1)]
        return build_image(
            [[file(f"{name}.{at}", os.urandom(size))] for at, size in enumerate(sizes)],
            compression=Compression.NONE,
        )

    def offer(self, registry: FakeRegistry, image: BuiltImage) -> str:
        """Reference of an image in a repository of its own."""
        return offer(registry, f"team/app{self.pulled}", "v1", image)

    async def pull(self, reference: str, credentials: Credentials | None = None) -> None:
        await self.store.service.pull(reference, PullOptions(credentials=credentials))

    async def gets(self, reference: str, credentials: Credentials | None = None) -> None:
        """Pull, and see that the image is whole; it is removed again."""
        await self.pull(reference, credentials)
        assert [one.problems for one in await self.store.service.check(reference)] == [()]
        assert await self.store.service.remove(reference)

    async def refuses(
        self,
        reference: str,
        kind: type[OrlopError],
        *,
        credentials: Credentials | None = None,
        keeps: tuple[Digest, ...] = (),
    ) -> OrlopError:
        """Pull, and see that it fails in this way, soon, in little memory, and leaves nothing.

        ``keeps`` are the layers of which a part may be kept for the next pull.
        """
        before = await self.store.traces()
        begin = time.monotonic()
        with bounded_memory(), pytest.raises(OrlopError) as failure:
            await self.pull(reference, credentials)
        assert time.monotonic() - begin < SOON
        assert isinstance(failure.value, kind), repr(failure.value)
        after = await self.store.traces()
        assert replace(after, ingests=before.ingests) == before
        left = {name for name, _ in after.ingests - before.ingests}
        assert left <= {f"layer-{digest}" for digest in keeps}
        message = failure.value.message
        assert message.isprintable()
        assert len(message) < 1000
        return failure.value

    async def survives(
        self,
        registry: FakeRegistry,
        reference: str,
        kind: type[OrlopError],
        *,
        credentials: Credentials | None = None,
        image: BuiltImage | None = None,
    ) -> OrlopError:
        """``refuses``; and once the registry behaves, so does everything."""
        keeps = tuple(layer.digest for layer in image.layers) if image else ()
        error = await self.refuses(reference, kind, credentials=credentials, keeps=keeps)
        registry.clear_rules()
        await self.gets(reference, credentials)
        return error


@contextmanager
def bounded_memory(limit: int = MEMORY) -> Iterator[None]:
    """See that this process needs no more memory inside than before, but for ``limit``."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now: proc(5)
    before = _memory("VmRSS")
    yield
    assert _memory("VmHWM") - before < limit


def _memory(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) << 10


@asynccontextmanager
async def site(
    directory: Path,
    *,
    settings: RegistrySettings | None = None,
    plain: FakeRegistry | None = None,
    secure: FakeRegistry | None = None,
    host: HostSettings | None = None,
    authority: Authority | None = None,
    **images: object,
) -> AsyncIterator[Site]:
    """A service with its registries.

    Args:
        directory: for the store and the certificates.
        settings: of the client; hosts are added.
        plain, secure: registries that are not to be the usual ones; not yet started.
        host: what the operator says about both, besides the authority of the second.
        authority: that vouches for ``secure``.
        images: keys of the image configuration.
    """
    authority = authority or Authority.make(directory / "authority")
    plain = plain or FakeRegistry()
    secure = secure or FakeRegistry(tls=authority.server("server", "IP:127.0.0.1"))
    base = replace(settings or RegistrySettings(), retry=QUICK)
    known = host or HostSettings()
    async with AsyncExitStack() as stack:
        stack.enter_context(plain)
        stack.enter_context(secure)
        hosts = {
            plain.address: replace(known, realms=(*known.realms, plain.address)),
            secure.address: replace(known, ca_file=str(authority.certificate)),
            **base.hosts,
        }
        store = await stack.enter_async_context(
            service(directory / "root", replace(base, hosts=hosts), **images)
        )
        yield Site(store, plain, secure, authority)
