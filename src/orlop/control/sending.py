"""An import as the client runs it: it sends and listens at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc.aio

from orlop._proto import orlop_v1_pb2 as pb
from orlop.control import convert
from orlop.control.streams import archive
from orlop.ports.service import ImportOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def imported(
    call: grpc.aio.StreamStreamCall[pb.ImportRequest, pb.ImportResponse],
    source: int,
    options: ImportOptions | None,
) -> AsyncIterator[pb.ImportResponse]:
    """Send an archive, and yield what the daemon says meanwhile and afterwards.

    Args:
        call: of Import, just made.
        source: descriptor of the archive; stays the caller's.
        options: what to take.

    Raises:
        OSError: the archive cannot be read; the call is cancelled.
        AioRpcError: the call failed.
    """
    sending = asyncio.create_task(_send(call, source, options or ImportOptions()))
    try:
        async for answer in call:
            yield answer
    except asyncio.CancelledError:
        if sending.done() and not sending.cancelled():
            sending.result()  # why it was cancelled
        raise
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(
    call: grpc.aio.StreamStreamCall[pb.ImportRequest, pb.ImportResponse],
    source: int,
    options: ImportOptions,
) -> None:
    try:
        await call.write(pb.ImportRequest(options=convert.import_to(options)))
        async for piece in archive(source):
            await call.write(pb.ImportRequest(data=piece))
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return  # it has ended; who listens learns why
    except BaseException:
        call.cancel()
        raise
