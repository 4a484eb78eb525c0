"""Scrubbing: all images are checked now and then, slowly, while nobody asks for it.

What is found is remembered by the check and told to the operator; repairing is left to
the next pull, or to ``orlop check --repair``.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from orlop.errors import OrlopError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orlop.ports.service import ImageService

_log = logging.getLogger(__name__)


@asynccontextmanager
async def scrubbing(service: ImageService, *, seconds: float, rate: int) -> AsyncIterator[None]:
    """Check all images every so many seconds for as long as the ``async with`` lasts.

    Args:
        service: has the images.
        seconds: from the end of one scrub, and from the start, to the next; 0 is never.
        rate: bytes per second to read at most; 0 is no limit.
    """
    if not seconds:
        yield
        return
    task = asyncio.create_task(_scrub(service, seconds, rate))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _scrub(service: ImageService, seconds: float, rate: int) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            reports = await service.check(max_rate=rate)
        except OrlopError as error:
            _log.warning("scrubbing failed, and is tried again: %s", error)
            continue
        for report in reports:
            for problem in report.problems:
                _log.warning("image %s is damaged: %s", report.image_id, problem)
        _log.info("scrubbed %d images", len(reports))
