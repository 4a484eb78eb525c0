"""Sends an answer byte by byte, with whatever a ``Fault`` makes happen on the way."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.testing.faults import Act, Drip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.testing.faults import Event, Fault

_PIECE: Final = 256 << 10
_REPEATED: Final = 64 << 10  # bytes that an endless answer hands over at once


@dataclass(slots=True)
class Delivery:
    """The way out of one connection.

    Attributes:
        reader, writer: the connection; its owner closes it.
        expire_tokens: called at ``Act.EXPIRE_TOKENS``.
        sent: bytes of the last body that were sent.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    expire_tokens: Callable[[], None]
    sent: int = 0

    async def send(self, head: bytes, body: bytes, fault: Fault, *, head_only: bool) -> bool:
        """Send an answer; False when the connection is spoiled.

        Raises:
            OSError: the client is gone.
        """
        self.sent = 0
        drip = _drip(fault)
        data = b"" if head_only else body
        for part, whole in (("head", head), ("body", data)):
            events = [event for event in fault.timeline if event.part == part]
            if part == "body" and head_only:
                break
            slowly = drip if drip and (drip.part == "head" or part == "body") else None
            chunked = part == "body" and fault.chunked
            at = 0
            for place, event in _placed(events, len(whole)):
                await self._write(memoryview(whole)[at:place], slowly, chunked=chunked)
                at = place
                self.sent = at if part == "body" else 0
                if not await self._act(event):
                    return False
            await self._write(memoryview(whole)[at:], slowly, chunked=chunked)
            if chunked:
                self.writer.write(b"0\r\n\r\n")
        self.sent = len(data)
        await self.writer.drain()
        return True

    async def _write(self, data: memoryview, drip: Drip | None, *, chunked: bool) -> None:
        size = drip.size if drip else _PIECE
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            if drip:
                await asyncio.sleep(drip.every)
            if chunked:
                self.writer.write(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)))
            else:
                self.writer.write(piece)
            await self.writer.drain()

    async def _act(self, event: Event) -> bool:
        """Let an event happen; False when nothing may follow it."""
        if event.act is Act.PAUSE:
            await self.writer.drain()
            await asyncio.sleep(event.seconds)
        elif event.act is Act.INSERT:
            self.writer.write(event.data)
        elif event.act is Act.EXPIRE_TOKENS:
            self.expire_tokens()
        elif event.act is Act.REPEAT:
            data = event.data * max(1, _REPEATED // len(event.data))
            while True:
                self.writer.write(data)
                await self.writer.drain()
                await asyncio.sleep(
                    0
                )  # draining may not wait, and the news of the end must come in
        else:
            await self.end(event.act)
            return False
        return True

    async def end(self, act: Act) -> None:
        """End the connection by STALL, RESET, HALF_CLOSE or CLOSE; the owner closes it after that.

        What was written before leaves first; by a RESET it may be lost on the other side.
        """
        held: socket.socket | None = self.writer.get_extra_info("socket")
        await self.writer.drain()
        if act is Act.RESET:
            if held is not None:  # SO_LINGER without time, socket(7)
                held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
            return
        if act is Act.HALF_CLOSE and held is not None:
            held.shutdown(socket.SHUT_WR)  # below TLS, which does not learn of it
        if act is not Act.CLOSE:
            while await self.reader.read(_PIECE):  # until the other side hangs up
                pass


def _drip(fault: Fault) -> Drip | None:
    if fault.drip is None and fault.rate:
        size = min(_PIECE, max(1, fault.rate // 20))
        return Drip(size, size / fault.rate)
    return fault.drip


def _placed(events: list[Event], length: int) -> Iterator[tuple[int, Event]]:
    """Events with their places in a part of this length, first things first."""
    found = []
    for event in events:
        at = length if event.at is None else event.at
        found.append((min(max(at + length if at < 0 else at, 0), length), event))
    yield from sorted(found, key=lambda pair: pair[0])
