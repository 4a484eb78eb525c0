"""Sparse members of an archive: where the data of a file with holes belongs.

A map is a tuple of regions, each an offset in the file and a length in bytes.
Source: the GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import ArchiveInvalid, LimitExceeded
from orlop.model.layerpath import shown
from orlop.model.tarnumber import MAX_DIGITS, decimal, number

if TYPE_CHECKING:
    from orlop.model.limits import Limits

_SLOT: Final = 24
_MAX_OFFSET: Final = 2**63 - 1


def slots(content: bytes | bytearray) -> tuple[tuple[int, int], ...]:
    """The map of the old GNU format: slots of two numbers, the unused ones empty.

    Raises:
        ArchiveInvalid: a number is malformed, or something follows an empty slot.
    """
    regions = []
    content = bytes(content)
    for at in range(0, len(content), _SLOT):
        offset, length = content[at : at + 12], content[at + 12 : at + _SLOT]
        if not offset[0] or not length[0]:
            if content[at:].strip(b"\0"):
                raise ArchiveInvalid("layer archive is malformed: hole in a sparse map")
            break
        regions.append(
            (
                number(offset, "sparse offset", _MAX_OFFSET),
                number(length, "sparse length", _MAX_OFFSET),
            )
        )
    return tuple(regions)


def map_in_data(content: bytes | bytearray, limits: Limits) -> tuple[tuple[int, int], ...] | None:
    """The map of format 1.0: a count, then offsets and lengths, each on a line.

    Returns:
        None while ``content`` does not hold all of it.
    """
    first, newline, _ = content.partition(b"\n")
    if not newline:
        if len(content) > MAX_DIGITS:
            raise ArchiveInvalid("layer archive is malformed: sparse map without a count")
        return None
    count = decimal(first, "sparse count")
    if count > limits.sparse_regions:
        raise too_many(limits)
    # Looked at block by block: only the last time may cost more than a search.
    if content.count(b"\n") < 1 + 2 * count:
        return None
    lines = content.split(b"\n", 1 + 2 * count)
    numbers = [decimal(line, "sparse map") for line in lines[1 : 1 + 2 * count]]
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def check(
    regions: tuple[tuple[int, int], ...], path: bytes, stored: int, real_size: int, limits: Limits
) -> None:
    """Hold a map against its member.

    Args:
        regions: the map.
        path: of the member, for messages.
        stored: bytes of data in the archive.
        real_size: length of the file in bytes.
        limits: bound the number of regions and the length.

    Raises:
        ArchiveInvalid: regions overlap, are out of order, or do not fit the member.
        LimitExceeded: there are too many, or the file is too long.
    """
    if len(regions) > limits.sparse_regions:
        raise too_many(limits)
    end = total = 0
    for offset, length in regions:
        if offset < end or offset + length > real_size:
            raise ArchiveInvalid(
                f"layer archive is malformed: sparse regions of {shown(path)} overlap or run over"
            )
        end = offset + length
        total += length
    if total != stored:
        raise ArchiveInvalid(
            f"layer archive is malformed: sparse regions of {shown(path)} do not match its data"
        )
    if real_size > limits.layer_bytes:
        raise LimitExceeded(
            f"sparse file {shown(path)} of {real_size} bytes is longer than a layer may be",
            limit="layer_bytes",
        )


def too_many(limits: Limits) -> LimitExceeded:
    """The error for a map with more regions than allowed."""
    return LimitExceeded(
        f"layer archive has a file with more than {limits.sparse_regions} sparse regions",
        limit="sparse_regions",
    )
