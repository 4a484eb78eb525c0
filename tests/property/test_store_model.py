"""The blob store against a dictionary: any sequence of operations, restarts between them."""

from __future__ import annotations

import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orlop.errors import DigestMismatch, FailedPrecondition, NotFound, SizeMismatch, Unavailable
from orlop.model.digest import Digest
from orlop.store.blobs import LocalBlobStore
from orlop.testing.manual_clock import ManualClock

if TYPE_CHECKING:
    from orlop.store.ingest import LocalIngest

REFS = st.sampled_from(["a", "b", "c"])
CHUNKS = st.sampled_from([b"", b"x", b"yy", b"z" * 5000])
ALGORITHMS = st.sampled_from(["sha256", "sha512"])


class StoreMachine(RuleBasedStateMachine):
    """What is in ``contents`` and ``partials`` is what must be in the store."""

    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.mkdtemp()
        self.store = LocalBlobStore(self.root, clock=ManualClock())
        self.contents: dict[Digest, bytes] = {}
        self.partials: dict[str, bytes] = {}
        self.open: dict[str, LocalIngest] = {}
        self.verified: dict[str, Digest] = {}

    def teardown(self) -> None:
        for ingest in self.open.values():
            ingest.close()
        self.store.close()
        shutil.rmtree(self.root)

    @rule(ref=REFS)
    def begin(self, ref: str) -> None:
        if ref in self.open:
            with pytest.raises(Unavailable):
                self.store.ingest(ref)
            return
        self.open[ref] = self.store.ingest(ref)
        assert self.open[ref].offset == len(self.partials.setdefault(ref, b""))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), chunk=CHUNKS)
    def write(self, data: st.DataObject, chunk: bytes) -> None:
        ref = data.draw(st.sampled_from(sorted(self.open)))
        self.open[ref].write(chunk)
        self.partials[ref] += chunk
        self.verified.pop(ref, None)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        ref = data.draw(st.sampled_from(sorted(self.open)))
        self.open[ref].truncate()
        self.partials[ref] = b""
        self.verified.pop(ref, None)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), algorithm=ALGORITHMS)
    def verify(self, data: st.DataObject, algorithm: str) -> None:
        ref = data.draw(st.sampled_from(sorted(self.open)))
        content = self.partials[ref]
        digest = Digest.of(content, algorithm)
        with pytest.raises(SizeMismatch):
            self.open[ref].verify(digest, len(content) + 1)
        with pytest.raises(DigestMismatch):
            self.open[ref].verify(Digest.of(content + b"!", algorithm), len(content))
        self.open[ref].verify(digest, len(content))
        self.verified[ref] = digest

    @precondition(lambda self: self.open)
    @rule(data=st.data(), synced=st.booleans())
    def publish(self, data: st.DataObject, *, synced: bool) -> None:
        refs = data.draw(st.lists(st.sampled_from(sorted(self.open)), unique=True))
        ingests = [self.open[ref] for ref in refs]
        if any(ref not in self.verified for ref in refs):
            with pytest.raises(FailedPrecondition):
                self.store.publish(ingests, synced=synced)
            return
        self.store.publish(ingests, synced=synced)
        for ref in refs:
            self.contents[self.verified.pop(ref)] = self.partials.pop(ref)
            del self.open[ref]

    @precondition(lambda self: self.open)
    @rule(data=st.data(), keep=st.booleans())
    def end(self, data: st.DataObject, *, keep: bool) -> None:
        ref = data.draw(st.sampled_from(sorted(self.open)))
        self.verified.pop(ref, None)
        if keep:
            self.open.pop(ref).close()
        else:
            self.open.pop(ref).abort()
            del self.partials[ref]

    @rule(ref=REFS)
    def abort(self, ref: str) -> None:
        if ref in self.open:
            with pytest.raises(Unavailable):
                self.store.abort(ref)
        elif ref in self.partials:
            self.store.abort(ref)
            del self.partials[ref]
        else:
            with pytest.raises(NotFound):
                self.store.abort(ref)

    @precondition(lambda self: self.contents)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(sorted(self.contents)))
        self.store.delete(digest)
        del self.contents[digest]
        with pytest.raises(NotFound):
            self.store.delete(digest)

    @rule()
    def restart(self) -> None:
        for ingest in self.open.values():
            ingest.close()
        self.open.clear()
        self.verified.clear()
        self.store.close()
        self.store = LocalBlobStore(self.root, clock=ManualClock())

    @invariant()
    def agrees(self) -> None:
        assert {blob.digest: blob.size for blob in self.store.walk()} == {
            digest: len(content) for digest, content in self.contents.items()
        }
        assert {one.ref: one.offset for one in self.store.status()} == {
            ref: len(content) for ref, content in self.partials.items()
        }
        for digest, content in self.contents.items():
            assert self.store.read(digest, 1 << 20) == content


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
