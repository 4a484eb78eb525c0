"""The metadata against dictionaries: any sequence of changes, in two namespaces."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orlop.errors import AlreadyExists, NotFound, SnapshotInUse
from orlop.metadata.store import MetadataStore
from orlop.model.digest import Digest
from orlop.ports.metadata import (
    BlobRecord,
    Garbage,
    ImageName,
    ImageRecord,
    Publication,
    SnapshotRecord,
    Target,
    Usage,
)
from orlop.testing.manual_clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

NAMESPACES = st.sampled_from(["one", "two"])
WORDS = st.sampled_from(["a", "b", "c"])
NAMES = st.sampled_from(["x:1", "x:2", "y:1"])
FS = "overlayfs"
SNAPSHOTTERS = st.sampled_from([FS, "native"])
TARGETS = {"a": "index", "b": "index", "c": "c"}
SIZES = {"a": 10, "b": 200, "c": 3000}


def digest(word: str) -> Digest:
    return Digest.of(word.encode())


class MetadataMachine(RuleBasedStateMachine):
    """Dictionaries by namespace; the database must tell the same."""

    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.mkdtemp()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.store = self.run(self.open())
        self.blobs: dict[tuple[str, str], dict[str, str]] = {}
        self.snapshots: dict[tuple[str, str], SnapshotRecord] = {}
        self.records: dict[tuple[str, str], set[str]] = {}
        self.names: dict[tuple[str, str], tuple[str, set[str]]] = {}
        self.directory = 0

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self.runner.run(work)

    async def open(self) -> MetadataStore:
        opening = MetadataStore.open(f"{self.root}/db/meta.db", ManualClock())
        return await self.stack.enter_async_context(opening)

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.root)

    def next_directory(self) -> int:
        self.directory += 1
        return self.directory

    # --- blobs ----------------------------------------------------------------------------

    @rule(namespace=NAMESPACES, word=WORDS, key=st.sampled_from(["k", "l"]), value=NAMES)
    def put_blob(self, namespace: str, word: str, key: str, value: str) -> None:
        record = BlobRecord(digest(word), SIZES[word], {key: value})
        self.run(self.store.put_blob(namespace, record))
        self.blobs.setdefault((namespace, word), {})[key] = value

    @rule(namespace=NAMESPACES, word=WORDS)
    def remove_blob(self, namespace: str, word: str) -> None:
        self.blobs.pop((namespace, word), None)
        last = word not in {known for _, known in self.blobs}
        assert self.run(self.store.remove_blob(namespace, digest(word))) is last

    # --- snapshots ------------------------------------------------------------------------

    @rule(namespace=NAMESPACES, key=WORDS, parent=st.one_of(st.just(""), WORDS))
    def add_snapshot(self, namespace: str, key: str, parent: str) -> None:
        number = self.next_directory()
        record = SnapshotRecord(FS, key, number, "active", parent, bytes=number, inodes=1)
        adding = self.store.add_snapshot(namespace, record)
        if (namespace, key) in self.snapshots:
            with pytest.raises(AlreadyExists):
                self.run(adding)
        elif parent and (namespace, parent) not in self.snapshots:
            with pytest.raises(NotFound):
                self.run(adding)
        else:
            self.run(adding)
            self.snapshots[namespace, key] = record

    @rule(namespace=NAMESPACES, key=WORDS, new=WORDS)
    def commit_snapshot(self, namespace: str, key: str, new: str) -> None:
        active = self.snapshots.get((namespace, key))
        if active is None or self.has_children(namespace, key):
            return
        record = replace(active, key=new, kind="committed", bytes=active.bytes + 7)
        committing = self.store.commit_snapshot(namespace, FS, key, record)
        if active.kind != "active":
            with pytest.raises(NotFound):
                self.run(committing)
        elif (namespace, new) in self.snapshots:
            with pytest.raises(AlreadyExists):
                self.run(committing)
        else:
            self.run(committing)
            del self.snapshots[namespace, key]
            self.snapshots[namespace, new] = record

    @rule(namespace=NAMESPACES, key=WORDS)
    def remove_snapshot(self, namespace: str, key: str) -> None:
        removing = self.store.remove_snapshot(namespace, FS, key)
        if (namespace, key) not in self.snapshots:
            with pytest.raises(NotFound):
                self.run(removing)
        elif self.has_children(namespace, key):
            with pytest.raises(SnapshotInUse):
                self.run(removing)
        else:
            self.run(removing)
            del self.snapshots[namespace, key]

    def has_children(self, namespace: str, key: str) -> bool:
        return any(
            where == namespace and record.parent == key
            for (where, _), record in self.snapshots.items()
        )

    # --- images ---------------------------------------------------------------------------

    @rule(
        namespace=NAMESPACES,
        word=WORDS,
        snapshotter=SNAPSHOTTERS,
        names=st.lists(NAMES, unique=True),
    )
    def publish(self, namespace: str, word: str, snapshotter: str, names: list[str]) -> None:
        record = ImageRecord(
            digest(word), digest(word), "linux/amd64", snapshotter, "", "", 1, 1, synced=True
        )
        publication = Publication(
            blobs=[BlobRecord(digest(word), SIZES[word])],
            snapshots=[],
            record=record,
            names=[self.image_name(name, word) for name in names],
        )
        self.run(self.store.publish(namespace, publication))
        self.blobs.setdefault((namespace, word), {})
        self.records.setdefault((namespace, word), set()).add(snapshotter)
        for name in names:
            self.move(namespace, name, word)

    @rule(namespace=NAMESPACES, word=WORDS, name=NAMES)
    def put_name(self, namespace: str, word: str, name: str) -> None:
        putting = self.store.put_name(namespace, self.image_name(name, word))
        if (namespace, word) in self.records:
            self.run(putting)
            self.move(namespace, name, word)
        else:
            with pytest.raises(NotFound):
                self.run(putting)

    @rule(namespace=NAMESPACES, name=NAMES)
    def remove_name(self, namespace: str, name: str) -> None:
        _, owners = self.names.pop((namespace, name), ("", set()))
        assert self.run(self.store.remove_name(namespace, name)) is bool(owners)
        for word in owners:
            if not self.names_of(namespace, word):
                del self.records[namespace, word]

    @rule(namespace=NAMESPACES, word=WORDS, snapshotter=st.one_of(st.just(""), SNAPSHOTTERS))
    def remove_image(self, namespace: str, word: str, snapshotter: str) -> None:
        known = self.records.get((namespace, word), set())
        gone = known & {snapshotter} if snapshotter else set(known)
        removing = self.store.remove_image(namespace, digest(word), snapshotter)
        assert self.run(removing) is bool(gone)
        known -= gone
        if not known:
            self.records.pop((namespace, word), None)
            for name in self.names_of(namespace, word):
                self.names[namespace, name][1].discard(word)

    def image_name(self, name: str, word: str) -> ImageName:
        return ImageName(name, Target("index", digest(TARGETS[word]), 1), digest(word))

    def move(self, namespace: str, name: str, word: str) -> None:
        target, words = self.names.get((namespace, name), ("", set()))
        kept = words if target == TARGETS[word] else set()
        self.names[namespace, name] = TARGETS[word], kept | {word}

    def names_of(self, namespace: str, word: str) -> set[str]:
        return {
            name
            for (where, name), (_, words) in self.names.items()
            if where == namespace and word in words
        }

    # --- all ------------------------------------------------------------------------------

    @rule(namespace=NAMESPACES, words=st.sets(WORDS))
    def sweep_blobs(self, namespace: str, words: set[str]) -> None:
        revision = self.run(self.store.inventory(namespace)).revision
        garbage = Garbage([], [digest(word) for word in words], [], [], revision=revision)
        swept = self.run(self.store.sweep(namespace, garbage))
        removed = {word for word in words if self.blobs.pop((namespace, word), None) is not None}
        left = {word for _, word in self.blobs}
        assert set(swept.blobs) == {digest(word) for word in removed - left}

    @rule()
    def reopen(self) -> None:
        self.run(self.stack.aclose())
        self.store = self.run(self.open())

    @invariant()
    def agrees(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        for namespace in ("one", "two"):
            blobs = {blob.digest: dict(blob.labels) for blob in await self.store.blobs(namespace)}
            assert blobs == {
                digest(word): labels
                for (where, word), labels in self.blobs.items()
                if where == namespace
            }
            snapshots = await self.store.snapshots(namespace)
            assert {one.key: (one.kind, one.parent, one.directory) for one in snapshots} == {
                key: (one.kind, one.parent, one.directory)
                for (where, key), one in self.snapshots.items()
                if where == namespace
            }
            images = await self.store.images(namespace)
            assert {
                (one.record.id, one.record.snapshotter): {name.name for name in one.names}
                for one in images
            } == {
                (digest(word), snapshotter): names
                for (where, word), snapshotters in self.records.items()
                for snapshotter in snapshotters
                if where == namespace and (names := self.names_of(namespace, word))
            }
            for image in images:
                assert image in await self.store.images_by_id(namespace, image.record.id)
                for name in image.names:
                    assert image in await self.store.images_by_name(namespace, name.name)
        words = {word for _, word in self.blobs}
        assert await self.store.usage() == Usage(
            bytes=sum(SIZES[word] for word in words)
            + sum(one.bytes for one in self.snapshots.values()),
            inodes=len(words) + len(self.snapshots),
        )


TestMetadataMachine = MetadataMachine.TestCase
TestMetadataMachine.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
