"""Checking several images, and repairing those that are damaged.

A repair is a pull that trusts nothing that is marked as damaged. It asks no registry
while the store has what it needs, makes new files beside the old ones, and swaps them in
the transaction that publishes an image; running containers keep what they have mounted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.errors import OrlopError, StoreIO
from orlop.model.platform import Platform
from orlop.model.reference import from_user
from orlop.ports.pull import PullRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orlop.images.check import Checking, CheckOptions, ImageCheck
    from orlop.model.pins import Pins
    from orlop.ports.metadata import Image, ImageName, Metadata
    from orlop.ports.pull import Puller
    from orlop.ports.service import CheckReport
    from orlop.ports.snapshots import Snapshotter


class ImageRepair:
    """Checks images one after the other, and repairs them when that is asked for."""

    def __init__(
        self,
        *,
        checker: ImageCheck,
        puller: Puller,
        metadata: Metadata,
        snapshotters: Mapping[str, Snapshotter],
    ) -> None:
        self._checker = checker
        self._puller = puller
        self._metadata = metadata
        self._snapshotters = snapshotters

    async def check(
        self,
        namespace: str,
        images: Sequence[Image],
        options: CheckOptions,
        *,
        pins: Pins | None = None,
    ) -> list[CheckReport]:
        """A report for each image that is still here; ``pins`` are those of pulls.

        Raises:
            StoreIO: the disk cannot be read.
        """
        checking = self._checker.begin(options)
        reports = []
        for image in images:
            report = await self._check(namespace, image, checking)
            if report is not None and report.problems and options.repair:
                report = await self._repair(namespace, image, report, options, pins)
            if report is not None:
                reports.append(report)
        return reports

    async def _check(self, namespace: str, image: Image, checking: Checking) -> CheckReport | None:
        """What is wrong with an image; None when it has been removed meanwhile."""
        report = await checking.check(namespace, image)
        if not report.problems:
            return report
        left = await self._metadata.images_by_id(namespace, image.record.id)
        here = image.record.snapshotter in {one.record.snapshotter for one in left}
        return report if here else None

    async def _repair(
        self,
        namespace: str,
        image: Image,
        report: CheckReport,
        options: CheckOptions,
        pins: Pins | None,
    ) -> CheckReport:
        """Repair an image and look at it again."""
        try:
            await self._pull_again(namespace, image, pins)
        except StoreIO:
            raise
        except OrlopError as error:
            return replace(report, unrepaired=error.message)
        again = await self._checker.begin(options).check(namespace, image)
        if again.problems:
            return replace(report, unrepaired=again.problems[0])
        return replace(report, repaired=True)

    async def _pull_again(self, namespace: str, image: Image, pins: Pins | None) -> None:
        record = image.record
        name = _source(image)
        request = PullRequest(
            from_user(name.name),
            Platform.parse(record.platform),
            self._snapshotters[record.snapshotter],
            namespace,
            pins=pins,
        )
        await self._puller.repair(request, name.target)


def _source(image: Image) -> ImageName:
    """The name to pull by: with a digest if there is one, so that the image stays the same."""
    named = [name for name in image.names if "/" in name.name]
    by_digest = [name for name in named if "@" in name.name]
    return (by_digest or named or list(image.names))[0]
