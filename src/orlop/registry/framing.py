"""Makes the reader of a body learn how the body ended.

aiohttp closes a connection whose chunks make no sense, and tells nobody who waits
for the body: without this module the reader would wait until the pull has stalled. And it
drops what it has received when the connection breaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp.http_exceptions import HttpProcessingError

from orlop.errors import RegistryProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import aiohttp


def guard(raw: aiohttp.ClientResponse, *, host: str) -> None:
    """Fail the body of an answer from ``host`` as soon as its connection ends in such a way.

    Costs nothing while all is well. The error is ``RegistryProtocol``, raised to
    whoever reads.
    """
    connection, content = raw.connection, raw.content
    protocol = connection.protocol if connection is not None else None
    if protocol is None or content.is_eof():
        return
    closed = protocol.closed
    if closed is None:  # before anybody could look
        _fail(content, protocol.exception(), host)
        return

    def ended(_: asyncio.Future[None]) -> None:
        _fail(content, protocol.exception(), host)

    # A connection that is kept serves many answers; each watches it for its own body only.
    closed.remove_done_callback(_look)
    closed.add_done_callback(_look)
    closed.add_done_callback(ended)
    content.on_eof(lambda: _forget(closed, ended))


def put_off(content: aiohttp.StreamReader) -> BaseException | None:
    """Take the failure off a body, so that the bytes before it can be read; returns it.

    aiohttp raises it at once and forgets them.
    """
    failure = content.exception()
    if failure is not None:
        content.set_exception(None)  # type: ignore[arg-type]  # it is what it begins with
    return failure


def _look(closed: asyncio.Future[None]) -> None:
    """How a connection ended is its reader's business; asyncio wants it looked at."""
    if not closed.cancelled():
        closed.exception()


def _forget(closed: asyncio.Future[None], ended: Callable[[asyncio.Future[None]], None]) -> None:
    closed.remove_done_callback(ended)


def _fail(content: aiohttp.StreamReader, reason: BaseException | None, host: str) -> None:
    if isinstance(reason, HttpProcessingError) and not content.is_eof():
        content.set_exception(RegistryProtocol(f"registry {host}: the body is not valid HTTP"))
