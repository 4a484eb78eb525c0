"""The collector, and the task that runs it when it is due.

``orlop.gc.schedule`` decides when. Whoever changes the metadata tells it so
(``changed``); collections that somebody asks for count too. A collection that
fails is logged and tried again later. Only a failed disk ends the task, and
with it whoever has it running.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from orlop.errors import OrlopError, StoreIO
from orlop.gc.ingests import delete_expired
from orlop.gc.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import Self

    from orlop.gc.collect import Collector
    from orlop.gc.ingests import Ingests
    from orlop.gc.schedule import ScheduleSettings
    from orlop.ports.clock import Clock
    from orlop.ports.gc import DiskUsage, Explanation, Protection
    from orlop.ports.service import GCReport

_log = logging.getLogger(__name__)


class Scheduler:
    """Implements ``orlop.ports.gc.GarbageCollector``; collects by itself while ``running``.

    Args:
        collector: does it.
        store: whose ingests expire.
        settings: when to collect.
        clock: tells the time.
        ingest_seconds: how long ingests are kept that nobody continues; 0 for ever.
    """

    def __init__(
        self,
        collector: Collector,
        store: Ingests,
        settings: ScheduleSettings,
        *,
        clock: Clock,
        ingest_seconds: float,
    ) -> None:
        self._collector = collector
        self._store = store
        self._clock = clock
        self._ingest_seconds = ingest_seconds
        self._schedule = Schedule(settings, now=clock.monotonic())
        self._news = asyncio.Event()
        self._stopping = False

    # --- GarbageCollector -----------------------------------------------------------------

    def protect(self, owner: str = "") -> AbstractAsyncContextManager[Protection]:
        """See the port."""
        return self._collector.protect(owner)

    async def make_room(self) -> None:
        """See the port."""
        await self._collector.make_room()

    async def why(self, text: str, namespace: str = "") -> Sequence[Explanation]:
        """See the port."""
        return await self._collector.why(text, namespace)

    async def disk_usage(self, namespace: str) -> DiskUsage:
        """See the port."""
        return await self._collector.disk_usage(namespace)

    async def collect(self, *, dry_run: bool = False) -> GCReport:
        """See the port."""
        if dry_run:
            return await self._collector.collect(dry_run=True)
        begun = self._clock.monotonic()
        self._schedule.begun()
        try:
            report = await self._collector.collect()
        except BaseException:
            self._schedule.failed(begun=begun, now=self._clock.monotonic())
            raise
        else:
            self._schedule.ended(begun=begun, now=self._clock.monotonic())
            return report
        finally:
            self._news.set()

    # --- by itself ------------------------------------------------------------------------

    def changed(self, *, deletion: bool) -> None:
        """Something was stored or removed; called on the event loop."""
        self._schedule.changed(deletion=deletion, now=self._clock.monotonic())
        self._news.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Collect when it is due, until the ``async with`` is left.

        A collection that runs at its end is waited for. When the disk fails, whoever
        is inside is cancelled.

        Raises:
            StoreIO: the disk failed; nothing may be written any more.
        """
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._run())
                try:
                    yield self
                except Exception as error:  # noqa: BLE001 (raised below; the group would wrap it)
                    failure = error
                finally:
                    self._stopping = True
                    self._news.set()
        except BaseExceptionGroup as errors:
            failure = errors.exceptions[0]
        if failure is not None:
            raise failure

    async def _run(self) -> None:
        while not self._stopping:
            left = self._schedule.due - self._clock.monotonic()
            if left <= 0:
                await self._once()
                continue
            self._news.clear()
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _once(self) -> None:
        work = asyncio.ensure_future(self._collect_and_expire())
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait({work})  # its threads cannot be stopped
            raise

    async def _collect_and_expire(self) -> None:
        try:
            report = await self.collect()
            deleted = await self._delete_expired()
        except StoreIO:
            raise
        except OrlopError as error:
            _log.warning("garbage collection failed, and is tried again: %s", error)
        except Exception:  # noqa: BLE001 (logged; a defect here must not end the daemon)
            _log.exception("garbage collection failed by a defect, and is tried again")
        else:
            _log.debug("garbage was collected: %s, and %d ingests", report, deleted)

    async def _delete_expired(self) -> int:
        now = self._clock.now()
        return await asyncio.to_thread(
            delete_expired, self._store, now=now, seconds=self._ingest_seconds
        )
