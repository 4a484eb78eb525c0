"""The conformance suite against the snapshotters that are in the box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orlop.linux.clock import SystemClock
from orlop.metadata.store import MetadataStore
from orlop.snapshots.native import Native
from orlop.snapshots.overlay import Overlay
from orlop.snapshots.service import SnapshotService
from orlop.testing.snapshot_suite import SnapshotterSuite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orlop.ports.metadata import SnapshotRecords
    from orlop.ports.snapshots import Snapshotter


@pytest.mark.root
class TestOverlay(SnapshotterSuite):
    deepest = 500

    def make(self, root: str, records: SnapshotRecords) -> Snapshotter:
        return SnapshotService(Overlay(root), records, SystemClock())


@pytest.mark.root
class TestOverlayWithDatabase(SnapshotterSuite):
    """With the records that a service has."""

    @pytest.fixture
    async def records(self, tmp_path: Path) -> AsyncIterator[SnapshotRecords]:
        async with MetadataStore.open(str(tmp_path / "db" / "meta.db"), SystemClock()) as store:
            yield store

    def make(self, root: str, records: SnapshotRecords) -> Snapshotter:
        return SnapshotService(Overlay(root), records, SystemClock())


@pytest.mark.root
class TestNative(SnapshotterSuite):
    deepest = 30

    def make(self, root: str, records: SnapshotRecords) -> Snapshotter:
        return SnapshotService(Native(root), records, SystemClock())
