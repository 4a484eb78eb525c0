"""From a reference to verified documents."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from orlop.errors import (
    DigestMismatch,
    LimitExceeded,
    ManifestInvalid,
    NoMatchingPlatform,
    NotFound,
    OrlopError,
    SignatureRejected,
    SizeMismatch,
)
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULTS
from orlop.model.mediatype import OCI_INDEX, OCI_MANIFEST
from orlop.model.platform import Platform
from orlop.ports.registry import Resolved
from orlop.pull.documents import Document, missing, resolve
from orlop.testing.images import build_image, build_index
from orlop.testing.layers import file
from orlop.testing.manual_clock import ManualClock
from orlop.testing.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

    from orlop.ports.registry import BlobStream

IMAGE = build_image([[file("a")]])
ARM = build_image([[file("a")]], platform="linux/arm64")
INDEX = build_index([ARM, IMAGE])
AMD64 = Platform("linux", "amd64")


@dataclass
class Shelf:
    """A ``Remote`` that has documents."""

    target: Descriptor
    documents: dict[Digest, bytes]
    raw: bytes | None = None
    asked: list[Digest] = field(default_factory=list)

    async def resolve(self) -> Resolved:
        return Resolved(self.target, self.raw)

    async def document(self, descriptor: Descriptor, *, limit: int) -> bytes:
        self.asked.append(descriptor.digest)
        if descriptor.size > limit:
            raise LimitExceeded("too long", limit="manifest_bytes")
        if descriptor.digest not in self.documents:
            raise NotFound(f"no {descriptor.digest}")
        found = self.documents[descriptor.digest]
        if len(found) != descriptor.size:
            raise SizeMismatch("another length")
        if Digest.of(found) != descriptor.digest:
            raise DigestMismatch("other bytes")
        return found

    async def prove(self, descriptor: Descriptor) -> None:
        raise AssertionError("layers come later")

    def blob(
        self, descriptor: Descriptor, *, offset: int = 0, length: int = 0
    ) -> AbstractAsyncContextManager[BlobStream]:
        raise AssertionError("layers come later")


def shelf(*, by_index: bool = True) -> Shelf:
    documents = {IMAGE.digest: IMAGE.manifest, IMAGE.id: IMAGE.config, ARM.digest: ARM.manifest}
    documents |= {ARM.id: ARM.config, INDEX.digest: INDEX.raw}
    target = INDEX.descriptor if by_index else replace(IMAGE.descriptor, platform=None)
    return Shelf(target, documents)


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with MemoryStore(ManualClock()) as found:
        yield found


async def test_an_index(store: MemoryStore) -> None:
    remote = shelf()
    found = await resolve(remote, store, AMD64)
    assert remote.asked == [INDEX.digest, IMAGE.digest, IMAGE.id]
    assert found.target == INDEX.descriptor
    assert [index.digest for index in found.indexes] == [INDEX.digest]
    assert (found.manifest.digest, found.config.digest) == (IMAGE.digest, IMAGE.id)
    assert (await resolve(remote, store, Platform("linux", "arm64"))).config.digest == ARM.id


async def test_a_manifest(store: MemoryStore) -> None:
    found = await resolve(shelf(by_index=False), store, AMD64)
    assert found.indexes == ()
    assert found.manifest.raw == IMAGE.manifest


async def test_what_came_with_the_answer_is_not_asked_for_again(store: MemoryStore) -> None:
    remote = shelf(by_index=False)
    remote.raw = IMAGE.manifest
    await resolve(remote, store, AMD64)
    assert remote.asked == [IMAGE.id]


async def test_what_must_not_be_fetched_is_not(store: MemoryStore) -> None:
    remote, shown = shelf(), []

    async def refuse(target: Descriptor) -> None:
        shown.append(target)
        raise SignatureRejected("no")

    with pytest.raises(SignatureRejected):
        await resolve(remote, store, AMD64, approve=refuse)
    assert (shown, remote.asked) == ([INDEX.descriptor], [])


async def test_what_the_store_has_is_not_asked_for(store: MemoryStore) -> None:
    remote = shelf()
    for raw in (INDEX.raw, IMAGE.manifest, IMAGE.config):
        store.blobs[Digest.of(raw)] = raw
    await resolve(remote, store, AMD64)
    assert remote.asked == []


@pytest.mark.parametrize("damage", [b"", b"x" * len(IMAGE.config), bytes(9 << 20)])
async def test_what_the_store_has_damaged_is_asked_for(store: MemoryStore, damage: bytes) -> None:
    remote = shelf(by_index=False)
    store.blobs[IMAGE.id] = damage
    found = await resolve(remote, store, AMD64)
    assert found.config.raw == IMAGE.config
    assert remote.asked == [IMAGE.digest, IMAGE.id]


async def test_a_descriptor_that_lies_about_the_length(store: MemoryStore) -> None:
    """Also when the store has the right bytes: what is asked for does not exist."""
    store.blobs[IMAGE.digest] = IMAGE.manifest
    remote = shelf(by_index=False)
    remote.target = replace(IMAGE.descriptor, size=len(IMAGE.manifest) - 1)
    with pytest.raises(SizeMismatch):
        await resolve(remote, store, AMD64)


async def test_other_platforms(store: MemoryStore) -> None:
    with pytest.raises(NoMatchingPlatform):
        await resolve(shelf(), store, Platform("linux", "s390x"))
    with pytest.raises(NoMatchingPlatform) as error:
        await resolve(shelf(by_index=False), store, Platform("linux", "arm64"))
    assert error.value.hint == "pull it with --platform linux/amd64"


async def test_an_index_that_lies_about_the_platform(store: MemoryStore) -> None:
    lying = INDEX.raw.replace(b'"arm64"', b'"ppc64le"')
    remote = shelf()
    remote.target = Descriptor(OCI_INDEX, Digest.of(lying), len(lying))
    remote.documents[Digest.of(lying)] = lying
    with pytest.raises(ManifestInvalid):
        await resolve(remote, store, Platform("linux", "ppc64le"))


async def test_indexes_in_indexes(store: MemoryStore) -> None:
    remote = shelf()
    raw = INDEX.raw
    for _ in range(DEFAULTS.index_depth + 1):
        digest = Digest.of(raw)
        remote.documents[digest] = raw
        remote.target = Descriptor(OCI_INDEX, digest, len(raw))
        entry = {"mediaType": OCI_INDEX, "digest": str(digest), "size": len(raw)}
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        raw = json.dumps(document).encode()
    with pytest.raises(LimitExceeded) as error:
        await resolve(remote, store, AMD64)
    assert error.value.limit == "index_depth"


@pytest.mark.parametrize(
    "limits",
    [
        replace(DEFAULTS, manifest_bytes=len(IMAGE.manifest) - 1),
        replace(DEFAULTS, config_bytes=len(IMAGE.config) - 1),
    ],
)
async def test_documents_that_are_too_long(store: MemoryStore, limits: object) -> None:
    with pytest.raises(LimitExceeded):
        await resolve(shelf(by_index=False), store, AMD64, limits)  # type: ignore[arg-type]


async def test_documents_that_are_not_there(store: MemoryStore) -> None:
    for digest in (IMAGE.id, IMAGE.digest, INDEX.digest):
        remote = shelf()
        del remote.documents[digest]
        with pytest.raises(NotFound, match=digest.hex):
            await resolve(remote, store, AMD64)


async def test_a_manifest_that_is_no_image(store: MemoryStore) -> None:
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/x-signature",
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": str(Digest.of(b"{}")),
                "size": 2,
            },
            "layers": [],
        }
    ).encode()
    remote = shelf()
    remote.target = Descriptor(OCI_MANIFEST, Digest.of(raw), len(raw))
    remote.documents |= {Digest.of(raw): raw, Digest.of(b"{}"): b"{}"}
    with pytest.raises(OrlopError):
        await resolve(remote, store, AMD64)


async def test_which_documents_are_missing(store: MemoryStore) -> None:
    documents = await resolve(shelf(), store, AMD64)
    assert set(missing(store, documents)) == {INDEX.digest, IMAGE.digest, IMAGE.id}
    store.blobs |= {INDEX.digest: INDEX.raw, IMAGE.digest: b"damaged", IMAGE.id: IMAGE.config}
    assert missing(store, documents) == {IMAGE.digest: IMAGE.manifest}


async def test_a_document_on_its_way(store: MemoryStore) -> None:
    with store.ingest(f"document-{IMAGE.id}") as left:
        left.write(b"left by a process that was killed")
    document = Document(IMAGE.id, IMAGE.config, store)
    await document.run()
    ingest = document.pending.take()
    assert ingest is not None
    store.publish([ingest])
    document.pending.published()
    await document.release()
    assert store.blobs == {IMAGE.id: IMAGE.config}
    assert store.status() == []


async def test_a_document_that_nobody_publishes(store: MemoryStore) -> None:
    document = Document(IMAGE.id, IMAGE.config, store)
    await document.release()
    document = Document(IMAGE.id, IMAGE.config, store)
    await document.run()
    await document.release()
    assert (store.blobs, store.status()) == ({}, [])


async def test_a_document_that_is_not_what_it_is_called(store: MemoryStore) -> None:
    document = Document(IMAGE.id, b"{}", store)
    with pytest.raises(DigestMismatch):
        await document.run()
    await document.release()
    assert store.status() == []
