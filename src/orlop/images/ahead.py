"""The list of all images, read ahead: the first one who asks need not wait for all of it.

A start does not wait for it either. Later lists read only what has changed.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from orlop.errors import OrlopError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orlop.ports.metadata import ImageRecords

_log = logging.getLogger(__name__)


@asynccontextmanager
async def reading_ahead(records: ImageRecords, namespace: str) -> AsyncIterator[None]:
    """Begin to read the list of a namespace; what is left when the block ends is not read."""
    task = asyncio.create_task(_read(records, namespace))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _read(records: ImageRecords, namespace: str) -> None:
    try:
        await records.listing(namespace)
    except OrlopError as error:
        _log.warning("the list of images cannot be read: %s", error)
