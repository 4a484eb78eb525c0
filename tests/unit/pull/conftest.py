"""A registry, a store and all between them, for tests of whole pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.gc.collect import Collector
from orlop.linux.clock import SystemClock
from orlop.metadata.store import MetadataStore
from orlop.pull.barrier import Barrier
from orlop.pull.pipeline import Parts
from orlop.registry.client import RegistryClient
from orlop.registry.retry import RetryPolicy
from orlop.registry.settings import RegistrySettings
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.memory_store import MemoryStore
from tests.unit.pull.rig import Hands, Trees
from tests.unit.pull.whole import Bench, Ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = SystemClock()
    quick = RegistrySettings(retry=RetryPolicy(attempts=2, base=0.001, cap=0.002))
    failures: dict[str, Exception] = {}

    def sync() -> None:
        if "sync" in failures:
            raise failures["sync"]

    with MemoryStore(clock) as store:
        async with (
            FakeRegistry() as registry,
            MetadataStore.open(str(tmp_path / "meta.db"), clock) as metadata,
        ):
            trees, hands, observer = Trees(tmp_path / "trees"), Hands(), Ended()
            client = RegistryClient(quick, clock=clock)
            parts = Parts(
                registry=client,
                store=store,
                metadata=metadata,
                unpacker=hands,
                protector=Collector(
                    metadata, clock, delete_blob=store.delete, delete_directory=lambda *_: None
                ),
                observer=observer,
                clock=clock,
                barrier=Barrier(sync),
                free_bytes=lambda: 1 << 40,
            )
            yield Bench(parts, registry, trees, hands, store, metadata, observer, failures)
            await client.close()
