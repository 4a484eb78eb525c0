"""Which images a text means: an id, a part of one, a reference.

Order, as containerd's CRI plugin has it: a whole id; a reference, filled in as
Docker does; the beginning of an id.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orlop.errors import InvalidArgument, InvalidReference
from orlop.model.digest import Digest
from orlop.model.reference import from_user

if TYPE_CHECKING:
    from orlop.ports.metadata import Image, ImageRecords

_WHOLE_ID = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_PART_OF_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,63})")


async def find(records: ImageRecords, namespace: str, text: str) -> list[Image]:
    """The images that ``text`` names, newest first; none when it makes no sense.

    There are several of one name when it was pulled for several platforms or
    snapshotters.

    Raises:
        InvalidArgument: several ids begin with it.
    """
    whole = _WHOLE_ID.fullmatch(text)
    if whole:
        return await records.images_by_id(namespace, Digest("sha256", whole[1]))
    images = await _by_reference(records, namespace, text)
    if images:
        return images
    part = _PART_OF_ID.fullmatch(text)
    if part is None:
        return []
    found = await records.images_by_id_prefix(namespace, part[1], 2)
    if len({image.record.id for image in found}) > 1:
        raise InvalidArgument(
            f"can not resolve {text!r} locally: several image ids begin with it",
            hint="give more characters of the id",
        )
    return found


async def name_of(records: ImageRecords, namespace: str, text: str) -> str | None:
    """The name under which ``text`` is stored; None when it is no stored reference."""
    try:
        name = str(from_user(text))
    except InvalidReference:
        return None
    return name if await records.images_by_name(namespace, name) else None


async def _by_reference(records: ImageRecords, namespace: str, text: str) -> list[Image]:
    try:
        reference = from_user(text)
    except InvalidReference:
        return []
    images = await records.images_by_name(namespace, str(reference))
    if images or reference.digest is None:
        return images
    # A manifest's digest also names it when it was pulled by its index, or by tag.
    return [
        candidate
        for candidate in await records.images(namespace)
        if candidate.record.manifest == reference.digest
        and any(
            name.name.startswith((f"{reference.name}:", f"{reference.name}@"))
            for name in candidate.names
        )
    ]
