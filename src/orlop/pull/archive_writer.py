"""Archives that are written: documents from memory, blobs as they are in the store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orlop.errors import StoreCorrupt
from orlop.model import tarwrite
from orlop.pull.descriptors import Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.model.digest import Digest
    from orlop.ports.archive import ArchiveMember
    from orlop.ports.content import Provider


class TarArchiveWriter:
    """Implements ``orlop.ports.archive.ArchiveWriter``."""

    def __init__(self, store: Provider) -> None:
        self._store = store

    async def write(self, members: Sequence[ArchiveMember], target: int) -> None:
        """See the port."""
        output = Output(target)
        for member in members:
            await output.write(tarwrite.header(member.name, member.size))
            if isinstance(member.content, bytes):
                await output.write(member.content)
            else:
                await self._copy(member.content, member.size, output)
            await output.write(tarwrite.padding(member.size))
        await output.write(tarwrite.END)

    async def _copy(self, digest: Digest, size: int, output: Output) -> None:
        # Opening is quick; in a thread, a cancellation could lose the descriptor.
        fd = self._store.open(digest)
        try:
            found = os.fstat(fd).st_size
            if found != size:
                raise StoreCorrupt(
                    f"blob {digest} has {found} bytes instead of {size}", hint="run `orlop check`"
                )
            await output.copy(fd, size)
        finally:
            os.close(fd)
