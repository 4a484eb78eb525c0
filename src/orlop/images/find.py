"""Which image a text means: an id, a part of one, a reference.

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


async def find(records: ImageRecords, namespace: str, text: str) -> Image | None:
    """The image that ``text`` names; None when it names none, or makes no sense.

    Raises:
        InvalidArgument: several ids begin with it.
    """
    whole = _WHOLE_ID.fullmatch(text)
    if whole:
        return await records.image_by_id(namespace, Digest("sha256", whole[1]))
    image = await _by_reference(records, namespace, text)
    if image is not None:
        return image
    part = _PART_OF_ID.fullmatch(text)
    if part is None:
        return None
    found = await records.images_by_id_prefix(namespace, part[1], 2)
    if len(found) > 1:
        raise InvalidArgument(
            f"can not resolve {text!r} locally: several image ids begin with it",
            hint="give more characters of the id",
        )
    return found[0] if found else None


async def name_of(records: ImageRecords, namespace: str, text: str) -> str | None:
    """The name under which ``text`` is stored; None when it is no stored reference."""
    try:
        name = str(from_user(text))
    except InvalidReference:
        return None
    return name if await records.image_by_name(namespace, name) is not None else None


async def _by_reference(records: ImageRecords, namespace: str, text: str) -> Image | None:
    try:
        reference = from_user(text)
    except InvalidReference:
        return None
    image = await records.image_by_name(namespace, str(reference))
    if image is None and reference.digest is not None:
        # A manifest's digest also names it when it was pulled by its index, or by tag.
        for candidate in await records.images(namespace):
            if candidate.record.manifest == reference.digest and any(
                name.name.startswith(reference.name + ":")
                or name.name.startswith(reference.name + "@")
                for name in candidate.names
            ):
                return candidate
    return image
