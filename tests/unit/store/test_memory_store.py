"""The store in memory behaves as every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.errors import StoreCorrupt
from orlop.model.digest import Digest
from orlop.testing.content_suite import ContentSuite, put
from orlop.testing.manual_clock import ManualClock
from orlop.testing.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator


class TestMemoryStore(ContentSuite):
    @pytest.fixture
    def store(self) -> Iterator[MemoryStore]:
        with MemoryStore(ManualClock()) as store:
            yield store


def test_a_blob_can_be_damaged() -> None:
    with MemoryStore(ManualClock()) as store:
        digest = put(store, b"right")
        store.blobs[digest] = b"wrong"
        with pytest.raises(StoreCorrupt, match=digest.hex):
            store.read(digest, 100)


def test_times_come_from_the_clock() -> None:
    clock = ManualClock(now=5)
    with MemoryStore(clock) as store:
        put(store, b"x")
        clock.advance(1)
        store.ingest("later").close()
        found = store.stat(Digest.of(b"x"))
        assert found is not None
        assert found.created_at == 5
        assert store.status()[0].started_at == 1_000_000_005
