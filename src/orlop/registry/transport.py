"""Connections to registries: one request, and the body of its answer.

Owns aiohttp's sessions. Follows no redirect, retries nothing and knows no
credentials but the header fields it is handed; no cookie, proxy or netrc file is
used, and no body is decompressed.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from orlop.errors import RegistryProtocol
from orlop.registry import tls
from orlop.registry.failure import AddressRefusedError, translate
from orlop.registry.reach import Neighbourhood, classify, is_literal, may_reach, strictest
from orlop.registry.response import Flight, Response, origin_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from yarl import URL

    from orlop.model.limits import Limits
    from orlop.ports.registry import Traffic
    from orlop.registry.hosts import Origin
    from orlop.registry.settings import RegistrySettings, TLSSettings

_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""A peer that vanished is noticed after two minutes, even when no time-out is configured."""

_CONTEXTS: Final = 64
"""TLS contexts that are kept; each holds the system's authorities."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. ``headers`` and ``form`` may hold secrets and are never shown.

    Attributes:
        method: GET, HEAD or POST.
        url: absolute, already encoded.
        headers: all that this request carries besides the transport's own.
        tls: how to check the server.
        home: None for a host that the configuration or the reference names; else the
            neighbourhood of the registry that sent us there, which bounds the addresses.
        form: fields of a form to post.
        connect_timeout: seconds for the connection; None is as in the settings.
    """

    method: str
    url: URL
    tls: TLSSettings
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    home: Neighbourhood | None = None
    form: Mapping[str, str] | None = field(default=None, repr=False)
    connect_timeout: float | None = None


class Transport:
    """Sends requests; lives as long as the service. Use it on one event loop."""

    def __init__(self, settings: RegistrySettings, limits: Limits) -> None:
        self._settings = settings
        self._limits = limits
        self._sessions: dict[Neighbourhood | None, aiohttp.ClientSession] = {}
        self._contexts: dict[TLSSettings, ssl.SSLContext] = {}
        # Gone with the last request to an origin: redirects must not make it grow.
        self._slots: WeakValueDictionary[Origin, asyncio.Semaphore] = WeakValueDictionary()
        self._known: dict[str, Neighbourhood] = {}
        self._closed = False

    def reload(self, settings: RegistrySettings) -> None:
        """Use other settings for connections that are made from now on."""
        self._settings = settings
        self._contexts = {}

    async def send(self, request: Request, traffic: Traffic) -> Response:
        """Send one request and wait for the head of its answer; the caller closes it.

        Raises:
            RegistryUnavailable: no connection, or no answer in time.
            TLSFailed: the server is not who it should be.
            RegistryProtocol: the answer is not HTTP, or its head is too large.
            AuthPolicy: the host has no address that ``request.home`` allows.
        """
        origin = origin_of(request.url)
        slot = self._slots.setdefault(
            origin, asyncio.Semaphore(self._settings.connections_per_host)
        )
        await slot.acquire()
        flight = Flight(origin.address, slot, traffic)
        try:
            raw = await self._exchange(request)
            response = Response(raw, flight=flight, settings=self._settings)
        except (aiohttp.ClientError, OSError) as error:
            flight.end()
            settings = replace(self._settings, connect_timeout=self._connect_timeout(request))
            raise translate(error, host=origin.address, settings=settings) from error
        except BaseException:
            flight.end()
            raise
        return response

    def neighbourhood(self, host: str) -> Neighbourhood:
        """Where a host lives that ``send`` has connected to; of others, the strictest answer."""
        if is_literal(host):
            return classify(host)
        return self._known.get(host, Neighbourhood.PUBLIC)

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def _exchange(self, request: Request) -> aiohttp.ClientResponse:
        headers = {
            "Accept-Encoding": "identity",
            "User-Agent": self._settings.user_agent,
            **request.headers,
        }
        context = await self._context(request.tls) if request.url.scheme == "https" else True
        session = self._session(request.home)
        async with asyncio.timeout(self._settings.header_timeout):
            raw = await session.request(
                request.method,
                request.url,
                headers=headers,
                data=request.form,
                allow_redirects=False,
                ssl=context,
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout(request)),
            )
        size = sum(len(name) + len(value) for name, value in raw.raw_headers)
        if size > self._limits.header_bytes:
            raw.close()
            host = origin_of(request.url).address
            raise RegistryProtocol(f"registry {host}: the head of the answer is too large")
        return raw

    def _connect_timeout(self, request: Request) -> float:
        if request.connect_timeout is None:
            return self._settings.connect_timeout
        return request.connect_timeout

    async def _context(self, settings: TLSSettings) -> ssl.SSLContext:
        made = self._contexts.get(settings)
        if made is None:
            made = await asyncio.to_thread(tls.context, settings)
            if len(self._contexts) >= _CONTEXTS:  # those of files that have changed
                del self._contexts[next(iter(self._contexts))]
            made = self._contexts.setdefault(settings, made)
        return made

    def _session(self, home: Neighbourhood | None) -> aiohttp.ClientSession:
        """One session for each rule about addresses, so that no connection crosses rules."""
        session = self._sessions.get(home)
        if session is None:
            if self._closed:
                raise RuntimeError("the transport is closed")
            settings = self._settings
            connector = aiohttp.TCPConnector(
                limit=0,  # waiting for a slot happens before the clock starts, see send()
                resolver=_Resolver(home, self._known),
                socket_factory=_socket,
            )
            session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=settings.connect_timeout),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=settings.read_buffer,
                max_line_size=16 << 10,
                max_field_size=self._limits.header_bytes,
                max_headers=self._limits.header_fields,
            )
            self._sessions[home] = session
        return session


class _Resolver(AbstractResolver):
    """Resolves names; drops addresses that the registry's neighbourhood must not reach."""

    def __init__(self, home: Neighbourhood | None, known: dict[str, Neighbourhood]) -> None:
        self._home = home
        self._known = known
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await self._inner.resolve(host, port, family)
        if self._home is None:
            self._known[host] = strictest(result["host"] for result in results)
            return results
        allowed = [r for r in results if may_reach(self._home, classify(r["host"]))]
        if not allowed:
            where = strictest(result["host"] for result in results).value
            raise AddressRefusedError(
                f"its name leads to a {where} address, where it may not send us"
            )
        return allowed

    async def close(self) -> None:
        await self._inner.close()


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    for level, option, value in _KEEPALIVE:
        made.setsockopt(level, option, value)
    return made
