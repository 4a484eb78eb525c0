"""Errors over the wire: the same class, message and hint come out at the other end. Pure."""

from __future__ import annotations

from typing import Final

from orlop._proto import orlop_v1_pb2 as pb
from orlop.errors import LimitExceeded, OrlopError, RegistryRejected, rebuild

METADATA_KEY: Final = "orlop-error-bin"
"""Trailing metadata that holds the ``Error`` message of a failed call."""

TEXT_BYTES: Final = 2048
"""Longest message and longest hint. gRPC refuses trailers of more than 8 KiB, base64 included."""

DETAILS_BYTES: Final = 512
"""Longest text of the gRPC status itself, which is there for clients of other makers."""


def to_message(error: OrlopError) -> pb.Error:
    """``error`` as a message."""
    return pb.Error(
        code=error.code.name,
        reference=error.reference,
        message=_text(error.message),
        hint=_text(error.hint),
        limit=error.limit if isinstance(error, LimitExceeded) else "",
        status=error.status if isinstance(error, RegistryRejected) else 0,
    )


def details(error: OrlopError) -> str:
    """The text of the gRPC status that a call ends with."""
    return _text(error.message, DETAILS_BYTES)


def from_message(message: pb.Error) -> OrlopError:
    """The error that ``to_message`` was given.

    A kind that is not known here, from a newer daemon, becomes the widest class
    of its code.
    """
    return rebuild(
        message.reference,
        message.message,
        hint=message.hint,
        code=message.code,
        limit=message.limit,
        status=message.status,
    )


def _text(text: str, limit: int = TEXT_BYTES) -> str:
    """``text`` as protobuf takes it: UTF-8, of at most ``limit`` bytes."""
    data = text.encode(errors="backslashreplace")
    if len(data) > limit:
        data = data[: limit - 3].decode(errors="ignore").encode() + b"..."
    return data.decode()
