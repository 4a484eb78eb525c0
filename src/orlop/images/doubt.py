"""Images in doubt: pulled without a barrier before the power failed.

They are marked as damaged, so that nobody sees or trusts them, and checked in the
background: the check takes the marks away from what is whole. A start waits for none of it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from orlop.errors import OrlopError
from orlop.images.settings import NAMESPACE
from orlop.ports.metadata import Damage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from orlop.ports.metadata import Image, Metadata
    from orlop.ports.service import ImageService

_log = logging.getLogger(__name__)


class Run(Protocol):
    """Knows how the last run ended, and remembers this one; see ``orlop.linux.boot``."""

    @property
    def lost_power(self) -> bool:
        """True when what the last run did not sync may be lost."""

    @property
    def marked(self) -> bool:
        """True while there is something that may not be synced."""

    def mark(self) -> None:
        """Something may be written that is not synced."""

    def settle(self) -> None:
        """All that was written is durable, or known not to be."""


@asynccontextmanager
async def trusting(
    service: ImageService,
    metadata: Metadata,
    run: Run,
    sync: Callable[[], Awaitable[None]],
    *,
    syncs: bool,
) -> AsyncIterator[None]:
    """Verify what a power failure may have taken, and note what another one could take.

    Args:
        service: checks images.
        metadata: has their records.
        run: this run.
        sync: makes all that was written durable.
        syncs: pulls do that before they succeed.

    Raises:
        OrlopError: the disk.
    """
    async with AsyncExitStack() as stack:
        if run.lost_power:
            settled = run.settle if syncs else run.mark
            await stack.enter_async_context(_doubting(service, metadata, settled))
        elif not syncs:
            run.mark()
        yield
    if run.marked and not run.lost_power:
        await sync()
        run.settle()


@asynccontextmanager
async def _doubting(
    service: ImageService, metadata: Metadata, settled: Callable[[], None]
) -> AsyncIterator[None]:
    """Hide what was not synced, and verify it while the ``async with`` lasts."""
    unsynced: list[Image] = []
    trees: dict[bool, set[tuple[str, int]]] = {True: set(), False: set()}
    for image in await metadata.images(NAMESPACE):
        record = image.record
        if not record.synced:
            unsynced.append(image)
        if record.chain_id:
            chain = await metadata.chain(NAMESPACE, record.snapshotter, record.chain_id)
            trees[record.synced] |= {(one.snapshotter, one.directory) for one in chain}
    # The barrier of one image has covered what it shares with others.
    doubted = frozenset(trees[False] - trees[True])
    await metadata.note_damage(Damage(trees=doubted), Damage())
    task = asyncio.create_task(_verify(service, unsynced, settled))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _verify(
    service: ImageService, images: Sequence[Image], settled: Callable[[], None]
) -> None:
    _log.warning("the power failed: %d images were not synced, and are verified", len(images))
    try:
        for id_ in dict.fromkeys(str(image.record.id) for image in images):
            for report in await service.check(id_):
                for problem in report.problems:
                    _log.warning("image %s is damaged: %s", id_, problem)
        await asyncio.to_thread(settled)
    except OrlopError as error:
        _log.warning("images in doubt could not be verified, the next start tries: %s", error)
