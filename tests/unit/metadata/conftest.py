"""Fixtures of the metadata's tests: a real database, and records to put into it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orlop.metadata.store import MetadataStore
from orlop.model import labels
from orlop.model.digest import Digest
from orlop.ports.metadata import (
    BlobRecord,
    ImageName,
    ImageRecord,
    Publication,
    SnapshotRecord,
    Target,
)
from orlop.testing.file_events import FileEvents
from orlop.testing.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Samples:
    """Records of made-up images, each named by a word."""

    def digest(self, word: str) -> Digest:
        return Digest.of(word.encode())

    def blob(self, word: str, *, size: int = 100, **labels: str) -> BlobRecord:
        return BlobRecord(self.digest(word), size, labels)

    def snapshot(
        self, key: str, directory: int, *, parent: str = "", kind: str = "committed"
    ) -> SnapshotRecord:
        assert kind in ("active", "view", "committed")
        return SnapshotRecord(
            snapshotter="overlayfs",
            key=key,
            directory=directory,
            kind=kind,  # type: ignore[arg-type]  # checked above
            parent=parent,
            bytes=1000 * directory,
            inodes=directory,
        )

    def name(self, name: str, word: str) -> ImageName:
        return ImageName(name, Target("index", self.digest(f"{word}.index"), 3), self.digest(word))

    def publication(self, word: str, *names: str, directory: int = 1) -> Publication:
        """An image with config ``word``, one layer and one snapshot."""
        return Publication(
            blobs=[self.blob(word), self.blob(f"{word}.manifest"), self.blob(f"{word}.layer")],
            snapshots=[self.snapshot(f"{word}.chain", directory)],
            record=ImageRecord(
                id=self.digest(word),
                manifest=self.digest(f"{word}.manifest"),
                platform="linux/amd64",
                snapshotter="overlayfs",
                chain_id=f"{word}.chain",
                user="nobody",
                content_bytes=300,
                unpacked_bytes=1000 * directory,
                synced=True,
            ),
            names=[self.name(name, word) for name in names],
        )

    @property
    def index(self) -> Target:
        """Something that several images are in."""
        return Target("index", self.digest("index"), 3)

    def elsewhere(self, word: str, *names: str) -> Publication:
        """The image ``word`` in another snapshotter; its config refers to both snapshots."""
        whole = self.publication(word, *names)
        refers = {labels.gc_ref_snapshot(name): f"{word}.chain" for name in ("overlayfs", "native")}
        return replace(
            whole,
            blobs=[replace(whole.blobs[0], labels=refers), *whole.blobs[1:]],
            snapshots=[replace(one, snapshotter="native") for one in whole.snapshots],
            record=replace(whole.record, snapshotter="native"),
        )


@pytest.fixture(scope="session")
def file_events() -> FileEvents:
    return FileEvents()


@pytest.fixture
def samples() -> Samples:
    return Samples()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now=1000)


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[MetadataStore]:
    async with MetadataStore.open(str(tmp_path / "db" / "meta.db"), clock) as store:
        yield store
