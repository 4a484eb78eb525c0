"""Errors as CRI clients read them: one table, and the rules that kubelet relies on.

Sources: containerd's errdefs for codes and class texts; cri-api pkg/errors and
kubelet's image manager for pulls. kubelet shows a pull's message in the pod's
status and nowhere else, so it is short, one line, and has the cause in front.
Never decides what an error is; that is ``orlop.errors``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import grpc.aio
import structlog

from orlop.errors import (
    AuthFailed,
    Code,
    Internal,
    InvalidReference,
    OrlopError,
    RegistryError,
    RegistryUnavailable,
    SignatureRejected,
    Stalled,
)
from orlop.model.quote import quote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    Context: TypeAlias = grpc.aio.ServicerContext[object, object]
    """What a servicer's method is handed beside the request; messages pass through it unread."""

MESSAGE_LIMIT: Final = 512
"""Bytes of a message; kubelet repeats it in events and in the pod's status."""

REFERENCE_SHOWN: Final = 128
"""Characters of a reference that does not parse, so that the cause fits behind it."""

CODES: Final[Mapping[Code, tuple[grpc.StatusCode, str]]] = MappingProxyType(
    {
        Code.INVALID_ARGUMENT: (grpc.StatusCode.INVALID_ARGUMENT, "invalid argument"),
        Code.NOT_FOUND: (grpc.StatusCode.NOT_FOUND, "not found"),
        Code.ALREADY_EXISTS: (grpc.StatusCode.ALREADY_EXISTS, "already exists"),
        Code.FAILED_PRECONDITION: (grpc.StatusCode.FAILED_PRECONDITION, "failed precondition"),
        Code.UNIMPLEMENTED: (grpc.StatusCode.UNIMPLEMENTED, "not implemented"),
        Code.PERMISSION_DENIED: (grpc.StatusCode.PERMISSION_DENIED, "permission denied"),
        Code.UNAUTHENTICATED: (grpc.StatusCode.UNAUTHENTICATED, "unauthorized"),
        Code.RESOURCE_EXHAUSTED: (grpc.StatusCode.RESOURCE_EXHAUSTED, "resource exhausted"),
        Code.DATA_LOSS: (grpc.StatusCode.DATA_LOSS, "data loss"),
        Code.UNAVAILABLE: (grpc.StatusCode.UNAVAILABLE, "unavailable"),
        Code.DEADLINE_EXCEEDED: (grpc.StatusCode.DEADLINE_EXCEEDED, "context deadline exceeded"),
        Code.CANCELLED: (grpc.StatusCode.CANCELLED, "context canceled"),
        Code.INTERNAL: (grpc.StatusCode.INTERNAL, "internal"),
    }
)
"""gRPC code and errdefs class text of every code."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a failed call ends with."""

    code: grpc.StatusCode
    message: str


def status(error: OrlopError) -> Status:
    """The status of any call but PullImage: ``<message>: <class text>``."""
    code, class_text = CODES[error.code]
    return _classed(code, error.message, class_text)


def pull_status(reference: str, error: OrlopError) -> Status:
    """The status of a failed PullImage.

    kubelet recognises some failures by the start of the message, and looks at
    the bare message for code UNKNOWN only. The same code makes it show a
    registry's answer without ``rpc error: …`` in front.
    """
    unknown = grpc.StatusCode.UNKNOWN
    match error:
        case RegistryUnavailable():
            return Status(unknown, _line(f"RegistryUnavailable: {error.message}"))
        case SignatureRejected():
            return Status(unknown, _line(f"SignatureValidationFailed: {error.message}"))
        case InvalidReference():
            cause = error.message.removeprefix(f"invalid reference {quote(reference)}: ")
            parsing = f'failed to parse image reference "{reference[:REFERENCE_SHOWN]}": {cause}'
            return Status(unknown, _line(parsing))
        case RegistryError() | AuthFailed():
            return Status(unknown, _line(error.message))
        case Stalled():
            code, class_text = CODES[Code.CANCELLED]
            return _classed(code, error.message, class_text)
        case _:
            return status(error)


@contextlib.asynccontextmanager
async def answering(
    context: Context,
    call: str,
    *,
    image: str = "",
    watch: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    status_of: Callable[[OrlopError], Status] = status,
) -> AsyncIterator[None]:
    """End the call with a status when the block, run in ``watch``, fails; log that it did.

    An error that is not ours is a defect: it is logged with its traceback, and
    the client learns its type only. Cancellation passes.
    """
    log = structlog.get_logger().bind(call=call, image=image)
    begun = time.monotonic()
    try:
        with watch():
            yield
        return
    except asyncio.CancelledError:
        log.info("call cancelled", seconds=round(time.monotonic() - begun, 3))
        raise
    except OrlopError as error:
        failure = error
        log.warning(
            "call failed",
            code=error.code.value,
            error=error.message,
            seconds=round(time.monotonic() - begun, 3),
        )
    except Exception as error:
        log.exception("call failed by a defect")
        failure = Internal(f"{call}: unexpected {type(error).__name__}")
    answer = status_of(failure)
    await context.abort(answer.code, answer.message)


def _classed(code: grpc.StatusCode, message: str, class_text: str) -> Status:
    """Append the class text, unless it is there; cutting spares it."""
    text = _line(message)
    if text.endswith(class_text):
        return Status(code, text)
    suffix = f": {class_text}"
    return Status(code, _line(message, limit=MESSAGE_LIMIT - len(suffix)) + suffix)


def _line(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """``text`` on one line of at most ``limit`` bytes of UTF-8."""
    line = " ".join(text.split()).encode(errors="backslashreplace")
    if len(line) > limit:
        line = line[: limit - 3] + b"..."
    return line.decode(errors="ignore")  # half a character may be left
