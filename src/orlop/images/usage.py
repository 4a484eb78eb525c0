"""What the store occupies, by file system: snapshots may be elsewhere than the rest."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orlop.ports.metadata import Usage
from orlop.ports.service import FsUsage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orlop.ports.clock import Clock
    from orlop.ports.metadata import Metadata
    from orlop.ports.snapshots import Snapshotter

_CONTENT: Final = ""
"""In the place of a snapshotter's name: blobs, and whatever is no snapshot of a loaded one."""


class StoreUsage:
    """Reports usage, and reports it again for some time.

    Args:
        content: directory of the blobs.
        clock: says when a report is old.
        seconds: how long a report holds.
    """

    def __init__(
        self,
        metadata: Metadata,
        snapshotters: Mapping[str, Snapshotter],
        clock: Clock,
        *,
        content: str,
        seconds: float = 0.0,
    ) -> None:
        self._metadata = metadata
        self._snapshotters = snapshotters
        self._clock = clock
        self._content = content
        self._seconds = seconds
        self._reported: tuple[float, str, list[FsUsage]] | None = None

    def forget(self) -> None:
        """Whoever has just pulled or removed something sees what it did."""
        self._reported = None

    async def report(self, default: str) -> list[FsUsage]:
        """Usage by file system.

        Args:
            default: name of the snapshotter whose file system comes first.

        Raises:
            StoreCorrupt, StoreIO: the database.
        """
        now = self._clock.monotonic()
        if self._reported is not None:
            since, first, found = self._reported
            if first == default and now - since < self._seconds:
                return list(found)
        found = await self._read(default)
        self._reported = (now, default, found)
        return list(found)

    async def _read(self, default: str) -> list[FsUsage]:
        """One entry for each file system, called by its first directory."""
        places = {default: self._snapshotters[default].root, _CONTENT: self._content}
        places |= {name: one.root for name, one in self._snapshotters.items() if name != default}
        devices = await asyncio.to_thread(_devices, {name: at for name, at in places.items() if at})
        total, now = await self._metadata.usage(), self._clock.now()
        if len(set(devices.values())) == 1:
            return [FsUsage(places[default], now, total)]
        trees = await self._metadata.usage_of_snapshotters()
        usage = {name: trees.get(name, Usage(0, 0)) for name in self._snapshotters}
        usage[_CONTENT] = _sum(total, *usage.values(), sign=-1)
        found: dict[int, FsUsage] = {}
        for name, device in devices.items():
            before = found.get(device, FsUsage(places[name], now, Usage(0, 0)))
            found[device] = replace(before, usage=_sum(before.usage, usage[name]))
        return list(found.values())


def _devices(places: Mapping[str, str]) -> dict[str, int]:
    """The file system of each place, in their order."""
    return {name: os.stat(path).st_dev for name, path in places.items()}


def _sum(first: Usage, *others: Usage, sign: int = 1) -> Usage:
    """``first`` and all others, or without all others."""
    return Usage(
        bytes=first.bytes + sign * sum(one.bytes for one in others),
        inodes=first.inodes + sign * sum(one.inodes for one in others),
    )
