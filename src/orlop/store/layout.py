r"""Where the blob store keeps things, as names; pure.

::

    ROOT/                            0700
    ├── blobs/
    │   ├── sha256/                  0700, made when the store is opened
    │   │   └── <64 hex digits>      0400, never changes
    │   └── sha512/
    │       └── <128 hex digits>
    └── ingest/
        └── <sha256 of the ref>/     one partial blob
            ├── ref                  its reference, UTF-8
            ├── data                 the bytes so far
            ├── startedat            RFC 3339, nanoseconds, UTC
            ├── updatedat            the same, written when it is closed
            └── total                expected length in decimal, if it is known

It is the layout of containerd's content store, so that people and tools that
know one know the other. Nothing here touches the disk.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Final

from orlop.errors import InvalidArgument, InvalidReference
from orlop.model.digest import HEX_LENGTHS, Digest

BLOBS: Final = "blobs"
INGEST: Final = "ingest"
ALGORITHMS: Final = tuple(HEX_LENGTHS)

REF: Final = "ref"
DATA: Final = "data"
STARTED_AT: Final = "startedat"
UPDATED_AT: Final = "updatedat"
TOTAL: Final = "total"
INGEST_FILES: Final = (DATA, REF, STARTED_AT, UPDATED_AT, TOTAL)
"""Every file of an ingest, in the order of removal: without ``data`` it is nothing."""

REF_CHARACTERS: Final = 1024
"""Longest reference of an ingest; the pull's are below 200."""

_BILLION: Final = 1_000_000_000
_TIMESTAMP: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def directories() -> tuple[str, ...]:
    """Every directory below the root that must exist, parents first."""
    return (BLOBS, *(f"{BLOBS}/{algorithm}" for algorithm in ALGORITHMS), INGEST)


def ingest_name(ref: str) -> str:
    """Name of the directory of the ingest ``ref``.

    Raises:
        InvalidArgument: the reference is empty, too long, or no text.
    """
    if not 0 < len(ref) <= REF_CHARACTERS:
        raise InvalidArgument(
            f"an ingest reference has 1 to {REF_CHARACTERS} characters, not {len(ref)}"
        )
    try:
        return hashlib.sha256(ref.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise InvalidArgument("an ingest reference must be valid Unicode") from error


def is_ingest_of(name: str, ref: str) -> bool:
    """True when ``name`` is what ``ingest_name`` makes of ``ref``; never raises."""
    try:
        return ingest_name(ref) == name
    except InvalidArgument:
        return False


def blob_digest(algorithm: str, name: str) -> Digest | None:
    """The digest that a file of ``blobs/<algorithm>`` is named by; None if it is no blob."""
    try:
        return Digest(algorithm, name)
    except InvalidReference:
        return None


def format_time(nanoseconds: int) -> str:
    """RFC 3339 in UTC of a time since the Unix epoch, without trailing zeros."""
    seconds, fraction = divmod(nanoseconds, _BILLION)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


def parse_time(text: str) -> int:
    """Read what ``format_time`` wrote; 0 for anything else, since it is for display only."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return 0
    try:
        moment = datetime.fromisoformat(f"{match[1]}+00:00")
    except ValueError:
        return 0
    return int(moment.timestamp()) * _BILLION + int((match[2] or "0").ljust(9, "0"))


def parse_total(text: str) -> int:
    """Read a total; 0 (unknown) for anything that is no number."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0
