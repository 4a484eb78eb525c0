"""Errors over the wire: the same class, message and hint come out at the other end. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop._proto import orlop_v1_pb2 as pb
from orlop.errors import Internal, LimitExceeded, OrlopError, RegistryRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    kinds = {kind.reference: kind for kind in _tree(OrlopError)}
    kind = kinds.get(message.reference) or _widest(message.code)
    if issubclass(kind, LimitExceeded):
        return kind(message.message, limit=message.limit, hint=message.hint)
    if issubclass(kind, RegistryRejected):
        return kind(message.message, status=message.status, hint=message.hint)
    return kind(message.message, hint=message.hint)


def _widest(code: str) -> type[OrlopError]:
    names = {kind.code.name: kind for kind in reversed(OrlopError.__subclasses__())}
    return names.get(code, Internal)


def _tree(kind: type[OrlopError]) -> Iterator[type[OrlopError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _tree(child)


def _text(text: str, limit: int = TEXT_BYTES) -> str:
    """``text`` as protobuf takes it: UTF-8, of at most ``limit`` bytes."""
    data = text.encode(errors="backslashreplace")
    if len(data) > limit:
        data = data[: limit - 3].decode(errors="ignore").encode() + b"..."
    return data.decode()
