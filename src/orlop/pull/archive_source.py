"""Archives that are opened: in place where that can be done, else kept for a while.

A file that is not compressed, and a directory, are read where they are. What comes
through a pipe, or is compressed as a whole, is written into one ingest of the store
first, because an archive says at its end what stands at its beginning. The ingest
is removed when the archive is closed, or at the next start.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import LimitExceeded, StoreIO
from orlop.pull.archive_images import OpenArchive
from orlop.pull.archive_members import DirectoryMembers, TarMembers
from orlop.pull.completion import in_thread
from orlop.pull.descriptors import pieces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from orlop.model.limits import Limits
    from orlop.model.mediatype import Compression
    from orlop.ports.archive import Decompression, Decompressor
    from orlop.ports.content import Ingest, Ingester

_MAGIC_BYTES: Final = 4
_NAME_BYTES: Final = 8
_REF: Final = "import-"
"""What references of ingests with archives begin with; nobody continues them."""


class ArchiveOpener:
    """Implements ``orlop.ports.archive.Archives``.

    Args:
        store: keeps what cannot be read in place.
        decompression: of archives as a whole.
        sniff: tells from a layer's first bytes how it is compressed.
    """

    def __init__(
        self,
        store: Ingester,
        *,
        decompression: Decompression,
        sniff: Callable[[bytes], Compression],
        limits: Limits,
    ) -> None:
        self._store = store
        self._decompression = decompression
        self._sniff = sniff
        self._limits = limits

    def recover(self) -> None:
        """Remove what imports of an earlier process have left; call it once, first. Blocks.

        Raises:
            StoreIO: the disk failed.
        """
        for left in self._store.status():
            if left.ref.startswith(_REF):
                self._store.abort(left.ref)

    @asynccontextmanager
    async def opened(self, source: int) -> AsyncIterator[OpenArchive]:
        """See the port."""
        mode = os.fstat(source).st_mode
        if stat.S_ISDIR(mode):
            yield OpenArchive(DirectoryMembers(source), self._limits, self._sniff)
        elif stat.S_ISREG(mode) and not await in_thread(lambda: self._is_compressed(source)):
            yield await self._indexed(source)
        else:
            async with self._kept(source) as kept:
                yield await self._indexed(kept)

    def _is_compressed(self, source: int) -> bool:
        return self._decompression(os.pread(source, _MAGIC_BYTES, 0)) is not None

    async def _indexed(self, fd: int) -> OpenArchive:
        members = await in_thread(lambda: TarMembers.indexed(fd, self._limits))
        return OpenArchive(members, self._limits, self._sniff)

    @asynccontextmanager
    async def _kept(self, source: int) -> AsyncIterator[int]:
        """A file with the uncompressed archive, for as long as the ``async with`` lasts."""
        kept = ExitStack()
        try:
            ingest = await in_thread(lambda: self._ingest(kept))
            await self._keep(source, ingest)
            yield ingest.fileno()
        finally:
            await in_thread(kept.close)

    def _ingest(self, kept: ExitStack) -> Ingest:
        """A new ingest, which ``kept`` removes."""
        ingest = self._store.ingest(f"{_REF}{secrets.token_hex(_NAME_BYTES)}")
        kept.callback(ingest.abort)
        return ingest

    async def _keep(self, source: int, ingest: Ingest) -> None:
        head = b""
        writer: _Writer | None = None
        try:
            async for piece in pieces(source):
                head += piece
                if writer is None and len(head) < _MAGIC_BYTES:
                    continue
                writer = writer or _Writer(ingest, self._decompression(head), self._limits)
                await in_thread(partial(writer.write, head))
                head = b""
        except OSError as error:
            raise StoreIO(f"the archive cannot be read: {error.strerror}") from error
        if writer is not None:
            writer.close()
        elif head:
            ingest.write(head)


class _Writer:
    """Decompresses into an ingest, within limits; blocks."""

    def __init__(self, ingest: Ingest, decompressor: Decompressor | None, limits: Limits) -> None:
        self._ingest = ingest
        self._decompressor = decompressor
        self._limits = limits
        self._taken = 0

    def write(self, data: bytes) -> None:
        """Add ``data``. Raises ArchiveInvalid, LimitExceeded, StoreFull."""
        if self._decompressor is None:
            self._ingest.write(data)
            return
        self._taken += len(data)
        for piece in self._decompressor.feed(data):
            self._ingest.write(piece)
            self._check()

    def close(self) -> None:
        """Say that this was all. Raises ArchiveInvalid."""
        if self._decompressor is not None:
            self._decompressor.close()

    def _check(self) -> None:
        size, limits = self._ingest.offset, self._limits
        if size > max(limits.layer_ratio_floor, limits.layer_ratio * self._taken):
            raise LimitExceeded(
                f"image archive decompresses to more than {limits.layer_ratio} times its length",
                limit="layer_ratio",
            )
