"""What the daemon, the fork-server and a worker say to each other.

Every frame is one message of a ``SOCK_SEQPACKET`` socket: one byte of kind,
then the kind's own fields, little-endian. Pure: bytes to values and back.

::

    daemon → fork-server   JOB        with descriptors (control, source, target, manifest)
    fork-server → daemon   STARTED    on the control socket, with the worker's pidfd;
                                      or FAILED, when there can be none
    daemon → worker        AVAILABLE  so many bytes of the source may be read
                           END        the source is complete
    worker → daemon        UNFENCED   what of its isolation is missing; before any byte is read
                           PROGRESS   so many bytes of the source have become files
                           IMPLIED, OPAQUE   some paths
                           DROPPED    how many attributes of one kind were left out
                           DONE, NEEDS_PARENT, FAILED   the last frame

A worker has read a stranger's bytes, so the daemon parses its frames as if the
stranger had written them: whatever is not exactly well formed is ``Internal``.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from orlop.errors import Internal
from orlop.model.limits import Limits
from orlop.model.mediatype import Compression

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orlop.ports.snapshots import ApplyMode

MAX_FRAME: Final = 64 * 1024
"""Longest frame in bytes; fits the socket buffer of any Linux."""

_MAX_MESSAGE: Final = 2000


class Kind(enum.IntEnum):
    """First byte of every frame."""

    JOB = 1
    STARTED = 2
    AVAILABLE = 3
    END = 4
    PROGRESS = 5
    IMPLIED = 6
    OPAQUE = 7
    DROPPED = 8
    DONE = 9
    NEEDS_PARENT = 10
    FAILED = 11
    UNFENCED = 12


_COUNT: Final = struct.Struct("<BQ")
_DONE: Final = struct.Struct("<BQQqq")
_LENGTH: Final = struct.Struct("<H")
_FAILED_HEAD: Final = 3  # kind, length of the reference, length of the limit's name
_LIMIT_NAMES: Final = tuple(field.name for field in fields(Limits))
_JOB: Final = struct.Struct(f"<BBBHBBIIQ{len(_LIMIT_NAMES)}Q")
_COMPRESSIONS: Final = (Compression.NONE, Compression.GZIP, Compression.ZSTD)
_MODES: Final[tuple[ApplyMode, ...]] = ("overlay", "direct")
_ALGORITHMS: Final = ("sha256", "sha512")


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to know besides its descriptors.

    ``size`` is the length of the compressed blob, ``algorithm`` the diffID's, ``fences``
    the bits of ``jail.Fence``. With ``strict`` nothing is read unless all are there.
    ``devices`` says that they can be made; entries of other owners than the first ``uids``
    and ``gids`` become root's, with 0 none.
    """

    compression: Compression
    mode: ApplyMode
    algorithm: str
    size: int
    limits: Limits
    fences: int = 0
    strict: bool = False
    devices: bool = True
    uids: int = 0
    gids: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The counts at the end; ``diff_hex`` is the hash of the uncompressed bytes."""

    uncompressed: int
    entries: int
    disk_bytes: int
    inodes: int
    diff_hex: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An error in the worker, by its ``OrlopError.reference``.

    ``limit`` is that of a ``LimitExceeded``, and empty otherwise.
    """

    reference: str
    message: str
    limit: str = ""


def job(value: Job) -> bytes:
    """The JOB frame."""
    choice = _MODES.index(value.mode) * 2 + _ALGORITHMS.index(value.algorithm)
    limits = [getattr(value.limits, name) for name in _LIMIT_NAMES]
    return _JOB.pack(
        Kind.JOB,
        _COMPRESSIONS.index(value.compression),
        choice,
        value.fences,
        value.strict,
        value.devices,
        value.uids,
        value.gids,
        value.size,
        *limits,
    )


def parse_job(frame: bytes) -> Job:
    """Read a JOB frame (which comes from the daemon and is trusted)."""
    _, compression, choice, fences, strict, devices, uids, gids, size, *limits = _JOB.unpack(frame)
    return Job(
        compression=_COMPRESSIONS[compression],
        mode=_MODES[choice >> 1],
        algorithm=_ALGORITHMS[choice & 1],
        size=size,
        limits=Limits(**dict(zip(_LIMIT_NAMES, limits, strict=True))),
        fences=fences,
        strict=bool(strict),
        devices=bool(devices),
        uids=uids,
        gids=gids,
    )


def count(kind: Kind, number: int) -> bytes:
    """An AVAILABLE, END or PROGRESS frame."""
    return _COUNT.pack(kind, number)


def parse_count(frame: bytes) -> int:
    """The number in an AVAILABLE, END or PROGRESS frame.

    Raises:
        Internal: it is malformed.
    """
    return int(_unpack(_COUNT, frame)[1])


def paths(kind: Kind, values: Iterable[bytes]) -> Iterator[bytes]:
    """As many IMPLIED or OPAQUE frames as the paths need."""
    frame = bytearray([kind])
    for path in values:
        if len(frame) + _LENGTH.size + len(path) > MAX_FRAME:
            yield bytes(frame)
            frame = bytearray([kind])
        frame += _LENGTH.pack(len(path)) + path
    if len(frame) > 1:
        yield bytes(frame)


def parse_paths(frame: bytes) -> list[bytes]:
    """The paths of an IMPLIED or OPAQUE frame.

    Raises:
        Internal: it is malformed, or a path is not relative and plain.
    """
    found = []
    at = 1
    while at < len(frame):
        if at + _LENGTH.size > len(frame):
            raise _malformed()
        (length,) = _LENGTH.unpack_from(frame, at)
        at += _LENGTH.size
        path = frame[at : at + length]
        at += length
        if len(path) != length or not _is_plain(path):
            raise _malformed()
        found.append(path)
    return found


def dropped(kind: str, number: int) -> bytes:
    """A DROPPED frame."""
    return _COUNT.pack(Kind.DROPPED, number) + kind.encode()[:64]


def parse_dropped(frame: bytes) -> tuple[str, int]:
    """Kind and count of a DROPPED frame.

    Raises:
        Internal: it is malformed.
    """
    number = parse_count(frame[: _COUNT.size])
    name = frame[_COUNT.size :]
    if not name.isascii() or not 0 < len(name) <= 64:
        raise _malformed()
    return name.decode(), number


def done(value: Done) -> bytes:
    """The DONE frame."""
    return (
        _DONE.pack(Kind.DONE, value.uncompressed, value.entries, value.disk_bytes, value.inodes)
        + value.diff_hex.encode()
    )


def parse_done(frame: bytes) -> Done:
    """Read a DONE frame.

    Raises:
        Internal: it is malformed.
    """
    _, uncompressed, entries, disk_bytes, inodes = _unpack(_DONE, frame[: _DONE.size])
    diff_hex = frame[_DONE.size :]
    if len(diff_hex) not in (64, 128) or diff_hex.strip(b"0123456789abcdef"):
        raise _malformed()
    return Done(uncompressed, entries, max(disk_bytes, 0), max(inodes, 0), diff_hex.decode())


def unfenced(fences: int, reason: str) -> bytes:
    """The UNFENCED frame: bits of what is missing, and the first reason."""
    return count(Kind.UNFENCED, fences) + reason.encode("utf-8", "replace")[:_MAX_MESSAGE]


def parse_unfenced(frame: bytes) -> tuple[int, str]:
    """Bits and reason of an UNFENCED frame.

    Raises:
        Internal: it is malformed.
    """
    return parse_count(frame[: _COUNT.size]), _printable(frame[_COUNT.size :])


def failed(value: Failed) -> bytes:
    """The FAILED frame; the message is cut to a readable length."""
    reference = value.reference.encode()[:64]
    limit = value.limit.encode()[:64]
    message = value.message.encode("utf-8", "replace")[:_MAX_MESSAGE]
    return bytes([Kind.FAILED, len(reference), len(limit)]) + reference + limit + message


def parse_failed(frame: bytes) -> Failed:
    """Read a FAILED frame.

    Raises:
        Internal: it is malformed.
    """
    if len(frame) < _FAILED_HEAD or len(frame) < _FAILED_HEAD + frame[1] + frame[2]:
        raise _malformed()
    limit_at = _FAILED_HEAD + frame[1]
    message_at = limit_at + frame[2]
    reference, limit = frame[_FAILED_HEAD:limit_at], frame[limit_at:message_at]
    if (
        not reference
        or not reference.isascii()
        or (limit and limit.decode("ascii", "replace") not in _LIMIT_NAMES)
    ):
        raise _malformed()
    return Failed(reference.decode(), _printable(frame[message_at:]), limit.decode())


def kind_of(frame: bytes) -> Kind:
    """What a frame is.

    Raises:
        Internal: nothing that is known.
    """
    try:
        return Kind(frame[0])
    except (IndexError, ValueError):
        raise _malformed() from None


def _printable(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown[:_MAX_MESSAGE]


def _is_plain(path: bytes) -> bool:
    """What ``layerpath.normalise`` returns: no escape, nothing empty, no NUL."""
    if path == b".":
        return True
    if b"\0" in path:
        return False
    return all(component not in (b"", b".", b"..") for component in path.split(b"/"))


def _unpack(form: struct.Struct, frame: bytes) -> tuple[int, ...]:
    try:
        return form.unpack(frame)
    except struct.error:
        raise _malformed() from None


def _malformed() -> Internal:
    return Internal("unpack worker sent a malformed frame")
