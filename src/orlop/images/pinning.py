"""Labels of pinned images, for those who read the store without the configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.model.pins import relabelled

if TYPE_CHECKING:
    from orlop.model.pins import Pins
    from orlop.ports.metadata import ImageRecords


async def label_pinned(pins: Pins, records: ImageRecords, namespace: str) -> None:
    """At start: have the labels of all images say what the configuration says now.

    Raises:
        StoreFull, StoreIO: the database.
    """
    for image in await records.images(namespace):
        pinned = pins.cover((name.name for name in image.names), image.record.manifest)
        for name in image.names:
            labels = relabelled(name.labels, pinned=pinned)
            if labels != name.labels:
                await records.put_name(namespace, replace(name, labels=labels, updated_at=0))
