"""An answer whose head has arrived, and its body.

Reads from the connection that it was given and gives that back; opens none, and does
not know what an answer means.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import aiohttp

from orlop.errors import LimitExceeded, OrlopError, RegistryProtocol
from orlop.registry.failure import Silent, translate
from orlop.registry.framing import guard, put_off
from orlop.registry.hosts import Origin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from yarl import URL

    from orlop.ports.registry import Traffic
    from orlop.registry.health import Report
    from orlop.registry.settings import RegistrySettings

_DRAINED: Final = 64 << 10
"""Bytes of an unwanted body that are read so that the connection can be used again."""
_DRAIN_SECONDS: Final = 1.0
_FAILING: Final = 500
"""Statuses from here on say that the host is failing."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a body may bring nothing.

    Attributes:
        silence: seconds; None is for as long as it likes.
        reports: are told when it was too long.
    """

    silence: float | None = None
    reports: tuple[Report, ...] = ()


class Flight:
    """One request in flight: its slots and its place in the traffic counter.

    Args:
        host: who was asked, to be shown.
        slots: released when it ends.
        traffic: is told.
        report: is told how the host fares.
    """

    __slots__ = ("_host", "_paused", "_slots", "_traffic", "report")

    def __init__(
        self,
        host: str,
        slots: Sequence[asyncio.Semaphore],
        traffic: Traffic,
        report: Report,
    ) -> None:
        self.report = report
        self._host = host
        self._slots: Sequence[asyncio.Semaphore] | None = slots
        self._traffic = traffic
        self._paused = False
        traffic.request_started(host)

    def pause(self) -> None:
        """Nobody reads on at the moment."""
        if self._slots is not None and not self._paused:
            self._paused = True
            self._traffic.request_paused(self._host)

    def resume(self) -> None:
        """Somebody waits for the next bytes."""
        if self._slots is not None and self._paused:
            self._paused = False
            self._traffic.request_resumed(self._host)

    def received(self, count: int) -> None:
        """``count`` bytes of the body have been read."""
        self._traffic.received(count)

    def end(self) -> None:
        """The last byte has been read, or nobody wants the rest; again does nothing."""
        self.resume()
        slots, self._slots = self._slots, None
        if slots is not None:
            for slot in slots:
                slot.release()
            self._traffic.request_finished(self._host)


def origin_of(url: URL) -> Origin:
    """The origin of an absolute URL."""
    return Origin(url.scheme, (url.host or "").lower(), url.port or 0)


class Response:
    """An answer whose head has arrived; ``async with`` closes it.

    Closing before the end of the body closes the connection. The request counts
    as in flight until the last byte is read, or until it is closed.
    """

    def __init__(
        self,
        raw: aiohttp.ClientResponse,
        *,
        flight: Flight,
        settings: RegistrySettings,
        patience: Patience | None = None,
    ) -> None:
        self._raw = raw
        self._patience = patience or Patience()
        self._flight = flight
        self._settings = settings
        self.origin = origin_of(raw.url)
        self.url = raw.url
        self._taken = 0
        self._failure: BaseException | None = None  # for when what came before it is read
        guard(raw, host=self.host)
        if self._is_good:
            flight.report.answered()
        else:
            flight.report.broke()
        self._received()

    @property
    def _is_good(self) -> bool:
        return self.status < _FAILING

    def _received(self) -> None:
        """All that has arrived has been read."""
        if not self._raw.content.at_eof():
            self._flight.pause()
            return
        if self._is_good:
            self._flight.report.completed()
        self._flight.end()

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._raw.status

    @property
    def host(self) -> str:
        """Who answered, as ``host[:port]``."""
        return self.origin.address

    def header(self, name: str) -> str:
        """Value of a header field; "" if it is missing."""
        return self._raw.headers.get(name, "")

    def headers(self, name: str) -> list[str]:
        """Values of a header field that may come several times."""
        return self._raw.headers.getall(name, [])

    @property
    def length(self) -> int | None:
        """Content-Length; None if it is missing.

        Raises:
            RegistryProtocol: it is no number.
        """
        value = self.header("Content-Length")
        if not value:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 19):
            raise RegistryProtocol(f"registry {self.host}: Content-Length is not a length")
        return int(value)

    async def read(self) -> bytes:
        """The next bytes that have arrived, at least one; ``b""`` at the end.

        Raises:
            RegistryUnavailable, TLSFailed: the connection broke.
            Silent: nothing came for too long, and there is another host.
        """
        try:
            data = await (self._next() if self.waiting else self._arriving())
        except TimeoutError as error:
            raise self._silent() from error
        except (aiohttp.ClientError, OSError) as error:
            self._flight.report.broke()
            self.close()
            raise translate(error, host=self.host, settings=self._settings) from error
        except BaseException:
            self.close()
            raise
        if data:
            self._taken += len(data)
            self._flight.received(len(data))
        self._received()
        return data

    @property
    def waiting(self) -> int:
        """Bytes that have arrived and wait to be read."""
        return self._raw.content.total_bytes - self._taken

    async def _arriving(self) -> bytes:
        """Wait for bytes; counts as waiting for the host. Raises TimeoutError."""
        self._flight.resume()
        async with asyncio.timeout(self._patience.silence):
            return await self._next()

    async def _next(self) -> bytes:
        """The parser's own buffers, one by one: joining them would be one more copy.

        What arrived before the connection broke is not lost.
        """
        content = self._raw.content
        if self.waiting:
            self._failure = self._failure or put_off(content)
        elif self._failure is not None:
            raise self._failure
        data, ends = await content.readchunk()
        while ends and not data and not content.at_eof():  # an HTTP chunk's end alone
            data, ends = await content.readchunk()
        return data

    def _silent(self) -> Silent:
        """Let go of the connection, and have others be asked first."""
        for report in self._patience.reports:
            report.unreachable()
        self.close()
        return Silent(f"registry {self.host}: no byte for {self._patience.silence:g} s")

    async def at_end(self) -> bool:
        """True when nothing more comes; for a reader that has all it wants.

        Waits a moment for the end of a body that does not tell its length, so that
        the connection can be used again; without an end it is closed.
        """
        if self._raw.content.at_eof():
            return True
        with contextlib.suppress(TimeoutError, OrlopError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                return not await self.read()
        self.close()
        return True

    def broke(self) -> None:
        """Tell that the body ended before it should have; closes it."""
        self._flight.report.broke()
        self.close()

    async def read_all(self, limit: int, *, name: str, within: float | None) -> bytes:
        """The whole body of a small answer; closes it.

        Args:
            limit: bytes that it may have.
            name: field of ``Limits`` that says so.
            within: seconds that it may take; None for as long as it likes.

        Raises:
            LimitExceeded: it is longer.
            RegistryUnavailable: the connection broke, or it took too long.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(within):
                while data := await self.read():
                    body += data
                    if len(body) > limit:
                        raise LimitExceeded(
                            f"registry {self.host}: an answer exceeds {limit} bytes", limit=name
                        )
        except TimeoutError as error:
            raise translate(error, host=self.host, settings=self._settings) from error
        finally:
            self.close()
        return bytes(body)

    async def discard(self) -> None:
        """Be done with the answer; keeps the connection if little is left to read."""
        with contextlib.suppress(Exception):  # nobody wants this body; the next request tells
            if (self.length or 0) <= _DRAINED:
                await self.read_all(_DRAINED, name="error_bytes", within=_DRAIN_SECONDS)
        self.close()

    def close(self) -> None:
        """Let go of the connection; again does nothing."""
        self._raw.close()
        self._flight.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
