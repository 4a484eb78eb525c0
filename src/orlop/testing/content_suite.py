"""What every blob store must do, as a test class over a fixture.

Subclass it and give the fixture ``store``::

    class TestMyStore(ContentSuite):
        @pytest.fixture
        def store(self) -> Iterator[BlobStore]:
            with MyStore() as store:
                yield store
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    DigestMismatch,
    FailedPrecondition,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    SizeMismatch,
    Unavailable,
)
from orlop.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.ports.content import BlobStore

_DATA = bytes(range(256)) * 40
_DIGEST = Digest.of(_DATA)


def put(store: BlobStore, data: bytes, *, algorithm: str = "sha256") -> Digest:
    """Store ``data`` the long way; returns its digest."""
    digest = Digest.of(data, algorithm)
    with store.ingest(f"put-{digest}") as ingest:
        ingest.truncate()
        ingest.write(data)
        ingest.verify(digest, len(data))
        store.publish([ingest])
    return digest


class ContentSuite:
    """Conformance of a ``orlop.ports.content.BlobStore``."""

    @pytest.fixture
    def store(self) -> Iterator[BlobStore]:
        """An empty store; a subclass makes it and cleans up."""
        raise AssertionError("a subclass of ContentSuite provides the fixture `store`")

    # --- blobs ----------------------------------------------------------------------------

    def test_a_published_blob_can_be_read(self, store: BlobStore) -> None:
        """All ways of reading agree."""
        digest = put(store, _DATA)
        found = store.stat(digest)
        assert found is not None
        assert (found.digest, found.size) == (digest, len(_DATA))
        assert found.disk_bytes > 0
        assert store.read(digest, len(_DATA)) == _DATA
        store.verify(digest)
        assert [blob.digest for blob in store.walk()] == [digest]

    def test_open_gives_a_descriptor_of_the_whole_blob(self, store: BlobStore) -> None:
        """It is the caller's, at offset 0, and cannot be written."""
        fd = store.open(put(store, _DATA))
        try:
            assert os.read(fd, len(_DATA) + 1) == _DATA
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.write(fd, b"x")
        finally:
            os.close(fd)

    def test_an_empty_blob_is_a_blob(self, store: BlobStore) -> None:
        """Nothing in it is special."""
        digest = put(store, b"")
        assert store.read(digest, 0) == b""

    def test_other_algorithms(self, store: BlobStore) -> None:
        """A blob named by sha512 is another blob than the same bytes by sha256."""
        digest = put(store, _DATA, algorithm="sha512")
        assert store.read(digest, len(_DATA)) == _DATA
        assert store.stat(_DIGEST) is None

    def test_what_is_not_there(self, store: BlobStore) -> None:
        """Every way of reading or deleting says so."""
        assert store.stat(_DIGEST) is None
        for use in (store.open, store.verify, store.delete, lambda digest: store.read(digest, 9)):
            with pytest.raises(NotFound, match=_DIGEST.hex):
                use(_DIGEST)

    def test_read_has_a_limit(self, store: BlobStore) -> None:
        """The limit itself is allowed."""
        digest = put(store, _DATA)
        with pytest.raises(LimitExceeded, match=str(len(_DATA) - 1)):
            store.read(digest, len(_DATA) - 1)

    def test_a_deleted_blob_is_gone(self, store: BlobStore) -> None:
        """And can be written again."""
        digest = put(store, _DATA)
        store.delete(digest)
        assert store.stat(digest) is None
        assert not list(store.walk())
        assert put(store, _DATA) == digest

    # --- ingests --------------------------------------------------------------------------

    def test_an_ingest_is_no_blob(self, store: BlobStore) -> None:
        """Whatever is in it, before it is published."""
        with store.ingest("layer") as ingest:
            ingest.write(_DATA)
            ingest.verify(_DIGEST, len(_DATA))
            assert store.stat(_DIGEST) is None
            assert not list(store.walk())

    def test_an_ingest_continues_where_it_stopped(self, store: BlobStore) -> None:
        """Its bytes count when they are verified."""
        with store.ingest("layer", total=len(_DATA)) as ingest:
            ingest.write(_DATA[:1000])
        with store.ingest("layer") as ingest:
            assert (ingest.ref, ingest.offset) == ("layer", 1000)
            ingest.write(memoryview(_DATA)[1000:])
            ingest.verify(_DIGEST, len(_DATA))
            store.publish([ingest])
        assert store.read(_DIGEST, len(_DATA)) == _DATA
        assert not store.status()

    def test_an_ingest_can_be_followed_while_it_grows(self, store: BlobStore) -> None:
        """By a duplicate of its descriptor, without moving anybody's offset."""
        with store.ingest("layer") as ingest:
            follower = os.dup(ingest.fileno())
            try:
                ingest.write(bytearray(b"first"))
                assert os.pread(follower, 100, 0) == b"first"
                os.lseek(follower, 0, os.SEEK_SET)
                ingest.write(b" second")
                assert os.pread(follower, 100, 5) == b" second"
                assert ingest.offset == 12
            finally:
                os.close(follower)

    def test_truncate_starts_over(self, store: BlobStore) -> None:
        """The hash starts over too."""
        with store.ingest("layer") as ingest:
            ingest.write(b"something else")
            ingest.truncate()
            assert ingest.offset == 0
            ingest.write(_DATA)
            ingest.verify(_DIGEST, len(_DATA))

    def test_verify_compares_size_and_digest(self, store: BlobStore) -> None:
        """Size first; what was written stays."""
        with store.ingest("layer") as ingest:
            ingest.write(_DATA)
            for size in (len(_DATA) - 1, len(_DATA) + 1):
                with pytest.raises(SizeMismatch, match=str(size)):
                    ingest.verify(_DIGEST, size)
            with pytest.raises(DigestMismatch):
                ingest.verify(Digest.of(b"other"), len(_DATA))
            assert ingest.offset == len(_DATA)
            ingest.verify(_DIGEST, len(_DATA))

    def test_only_verified_ingests_are_published(self, store: BlobStore) -> None:
        """One that is not makes all of them stay; a write after ``verify`` undoes it."""
        with store.ingest("good") as good, store.ingest("bad") as bad:
            good.write(_DATA)
            good.verify(_DIGEST, len(_DATA))
            bad.write(b"x")
            bad.verify(Digest.of(b"x"), 1)
            bad.write(b"y")
            with pytest.raises(FailedPrecondition, match="bad"):
                store.publish([good, bad])
            assert not list(store.walk())

    def test_publishing_many_at_once(self, store: BlobStore) -> None:
        """The same bytes twice make one blob; the ingests are gone."""
        contents = [b"one", b"two", b"one"]
        ingests = []
        for number, data in enumerate(contents):
            ingest = store.ingest(f"layer-{number}")
            ingest.write(data)
            ingest.verify(Digest.of(data), len(data))
            ingests.append(ingest)
        store.publish(ingests, synced=True)
        assert {blob.digest for blob in store.walk()} == {Digest.of(data) for data in contents}
        assert store.digests() == {str(Digest.of(data)) for data in contents}
        assert not store.status()
        for ingest in ingests:
            with pytest.raises(FailedPrecondition):
                ingest.write(b"more")

    def test_publishing_what_is_there(self, store: BlobStore) -> None:
        """The blob stays, the ingest is dropped."""
        put(store, _DATA)
        put(store, _DATA)
        assert store.read(_DIGEST, len(_DATA)) == _DATA
        assert not store.status()

    def test_publishing_nothing(self, store: BlobStore) -> None:
        """Is allowed."""
        store.publish([])
        assert not list(store.walk())

    def test_an_ingest_has_one_owner(self, store: BlobStore) -> None:
        """Until it is closed."""
        with store.ingest("layer") as ingest:
            with pytest.raises(Unavailable, match="layer"):
                store.ingest("layer")
            with pytest.raises(Unavailable, match="layer"):
                store.abort("layer")
            ingest.close()
            ingest.close()
            store.ingest("layer").close()

    def test_an_aborted_ingest_is_gone(self, store: BlobStore) -> None:
        """By its owner, or by its reference when it is closed."""
        with store.ingest("mine") as ingest:
            ingest.write(b"x")
            ingest.abort()
        store.ingest("nobodys").close()
        store.abort("nobodys")
        assert not store.status()
        with pytest.raises(NotFound, match="nobodys"):
            store.abort("nobodys")
        with store.ingest("mine") as ingest:
            assert ingest.offset == 0

    def test_status_lists_open_and_closed_ingests(self, store: BlobStore) -> None:
        """With what is in them."""
        with store.ingest("open", total=10) as ingest:
            ingest.write(b"abc")
            store.ingest("closed").close()
            found = {one.ref: one for one in store.status()}
        assert set(found) == {"open", "closed"}
        assert (found["open"].offset, found["open"].total) == (3, 10)
        assert (found["closed"].offset, found["closed"].total) == (0, 0)
        assert found["open"].started_at > 0

    @pytest.mark.parametrize("ref", ["", "x" * 1025])
    def test_references_have_bounds(self, store: BlobStore, ref: str) -> None:
        """Between 1 and 1024 characters of any kind."""
        with pytest.raises(InvalidArgument, match="1024"):
            store.ingest(ref)
        with store.ingest("\N{HORSE}/../" * 204) as ingest:
            assert ingest.ref in [one.ref for one in store.status()]

    def test_many_threads(self, store: BlobStore) -> None:
        """The store is for many threads, an ingest for one."""
        contents = [bytes([number]) * 10_000 for number in range(20)]
        with ThreadPoolExecutor(8) as threads:
            digests = list(threads.map(lambda data: put(store, data), contents))
        assert {blob.digest for blob in store.walk()} == set(digests)
        for digest in digests:
            store.verify(digest)
