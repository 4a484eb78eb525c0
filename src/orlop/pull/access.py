"""Shows that a caller may have what is in the store already.

A digest is no secret that protects anything: who knows it can name it in a manifest
of his own. A registry must hand over some of the bytes, too, before a blob that came
from elsewhere serves its pull. A request that brings no bytes would show nothing, for
a registry may be the caller's own and say yes to everything.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import TYPE_CHECKING, Final

from orlop.errors import DigestMismatch, RegistryProtocol, RegistryUnavailable
from orlop.model import labels
from orlop.pull.completion import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.reference import Reference
    from orlop.ports.content import BlobStore
    from orlop.ports.metadata import BlobRecord
    from orlop.ports.registry import Remote
    from orlop.pull.download import Terms

_SAMPLE: Final = 64 << 10
"""Bytes that are compared; of a shorter blob, all."""


def is_known(records: Mapping[Digest, BlobRecord], digest: Digest, reference: Reference) -> bool:
    """True when a pull from this repository has brought the blob before."""
    record = records.get(digest)
    if record is None:
        return False
    return reference.path in labels.sources(record.labels, reference.domain)


async def show(remote: Remote, descriptor: Descriptor, store: BlobStore, terms: Terms) -> None:
    """Have a registry send some bytes of a layer that was here before, and compare them.

    Of a layer whose blob was discarded nothing can be compared: the registry is asked
    whether it would send it.

    Args:
        remote: of the pull that wants it.
        descriptor: of the layer.
        store: where its blob is, if that was kept.
        terms: how patient to be.

    Raises:
        DigestMismatch: the registry sends something else.
        StoreCorrupt: what is here is damaged.
        NotFound, AuthFailed, AuthPolicy, RegistryError: as ``Remote.blob``.
    """
    found = await in_thread(lambda: store.stat(descriptor.digest))
    if found is None or not descriptor.size:
        await remote.prove(descriptor)
        return
    length = min(_SAMPLE, descriptor.size)
    offset = secrets.randbelow(descriptor.size - length + 1)
    patience = terms.patience()
    while True:
        try:
            start, sample = await _sample(remote, descriptor, offset, length)
            break
        except RegistryProtocol:
            if not offset:
                raise
            offset = 0  # it has no ranges; nobody can guess the first bytes either
        except RegistryUnavailable:
            pause = patience.pause(moved=False, jitter=terms.jitter())
            if pause is None:
                raise
            await asyncio.sleep(pause)
    here = await in_thread(lambda: _stored(store, descriptor.digest, start, length))
    if sample != here:
        # One of both is wrong: it may be ours, which is then fetched again.
        await in_thread(lambda: store.verify(descriptor.digest))
        raise DigestMismatch(
            f"blob {descriptor.digest}: the registry sends other bytes from {start} on"
        )


async def _sample(
    remote: Remote, descriptor: Descriptor, offset: int, length: int
) -> tuple[int, bytes]:
    """``length`` bytes of a layer as the registry has them, and where they begin."""
    found = bytearray()
    async with remote.blob(descriptor, offset=offset, length=length) as stream:
        while len(found) < length and (data := await stream.read()):
            found += data
        if len(found) == stream.end - stream.start:
            await stream.read()  # the end: the connection can be used again
        return stream.start, bytes(found[:length])


def _stored(store: BlobStore, digest: Digest, start: int, length: int) -> bytes:
    fd = store.open(digest)
    try:
        return os.pread(fd, length, start)
    finally:
        os.close(fd)
