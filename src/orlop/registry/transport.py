"""Connections to registries: one request, and the body of its answer.

Owns aiohttp's sessions. Follows no redirect, retries nothing and knows no
credentials but the header fields it is handed; no cookie or netrc file is used, no
proxy but the configured ones, and no body is decompressed. Writes down how hosts fare.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from orlop.errors import FailedPrecondition, RegistryProtocol, RegistryUnavailable, TLSFailed
from orlop.registry import tls
from orlop.registry.failure import AddressRefusedError, translate
from orlop.registry.health import HealthBook, Report
from orlop.registry.reach import Neighbourhood, classify, is_literal, may_reach, strictest
from orlop.registry.response import Flight, Patience, Response, origin_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from yarl import URL

    from orlop.model.limits import Limits
    from orlop.ports.clock import Clock
    from orlop.ports.registry import Traffic
    from orlop.registry.hosts import Origin
    from orlop.registry.proxy import Proxy
    from orlop.registry.settings import RegistrySettings, TLSSettings

_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""A peer that vanished is noticed after two minutes, even when no time-out is configured."""

_NEXT_FAMILY_AFTER: Final = 0.25
"""Seconds until the next address is tried beside the one that does not answer (RFC 8305 5)."""

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
        silence: seconds without a byte after which it fails; None is as long as it takes.
        asked: whose answer led here; is down as well when this one falls silent.
    """

    method: str
    url: URL
    tls: TLSSettings
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    home: Neighbourhood | None = None
    form: Mapping[str, str] | None = field(default=None, repr=False)
    connect_timeout: float | None = None
    silence: float | None = None
    asked: Origin | None = None


class Transport:
    """Sends requests; lives as long as the service. Use it on one event loop.

    Attributes:
        health: how the hosts fare, by ``Origin``.
    """

    def __init__(self, settings: RegistrySettings, limits: Limits, clock: Clock) -> None:
        self._settings = settings
        self._limits = limits
        self._clock = clock
        self.health = HealthBook(settings.health)
        self._sessions: dict[Neighbourhood | None, aiohttp.ClientSession] = {}
        self._contexts: dict[TLSSettings, ssl.SSLContext] = {}
        # Gone with the last request to an origin: redirects must not make it grow.
        self._slots: WeakValueDictionary[Origin, asyncio.Semaphore] = WeakValueDictionary()
        self._all_slots = _semaphore(settings.connections)
        self._known: dict[str, Neighbourhood] = {}
        self._closed = False

    def reload(self, settings: RegistrySettings) -> None:
        """Use other settings for requests from now on; those under way are not counted again."""
        self._settings = settings
        self._contexts = {}
        self._slots = WeakValueDictionary()
        self._all_slots = _semaphore(settings.connections)

    async def send(self, request: Request, traffic: Traffic) -> Response:
        """Send one request and wait for the head of its answer; the caller closes it.

        Raises:
            RegistryUnavailable: no connection, or no answer in time.
            TLSFailed: the server is not who it should be.
            RegistryProtocol: the answer is not HTTP, or its head is too large.
            AuthPolicy: the host has no address that ``request.home`` allows.
            FailedPrecondition: the proxy that it needs cannot be used.
        """
        origin = origin_of(request.url)
        slots = await self._take_slots(origin)
        report = Report(self.health, origin, self._clock.monotonic)
        flight = Flight(origin.address, slots, traffic, report)
        asked = Report(self.health, request.asked or origin, self._clock.monotonic)
        patience = Patience(request.silence, (report, asked))
        try:
            raw = await self._exchange(request)
            return Response(raw, flight=flight, settings=self._settings, patience=patience)
        except (aiohttp.ClientError, OSError) as error:
            flight.end()
            settings = replace(
                self._settings,
                connect_timeout=self._connect_timeout(request),
                header_timeout=self._header_timeout(request),
            )
            failure = translate(error, host=origin.address, settings=settings)
            if isinstance(failure, RegistryUnavailable | TLSFailed):
                report.unreachable()
            raise failure from error
        except BaseException:
            flight.end()
            raise

    async def _take_slots(self, origin: Origin) -> list[asyncio.Semaphore]:
        """A place among the requests to this host and among all; the narrower one first."""
        own = self._slots.setdefault(origin, asyncio.Semaphore(self._settings.connections_per_host))
        taken: list[asyncio.Semaphore] = []
        try:
            for slot in (own, self._all_slots):
                if slot is not None:
                    await slot.acquire()
                    taken.append(slot)
        except BaseException:
            for slot in taken:
                slot.release()
            raise
        return taken

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
        context = await self._context(request.tls) if request.url.scheme == "https" else True
        origin = origin_of(request.url)
        proxy = self._settings.proxies.proxy_for(origin.scheme, origin.host, origin.port)
        if proxy is not None and proxy.problem:
            raise FailedPrecondition(f"registry {origin.address}: {proxy.problem}")
        tunnel = _introduced(proxy)
        headers = {
            "Accept-Encoding": "identity",
            "User-Agent": self._settings.user_agent,
            **request.headers,
        }
        if origin.scheme == "http":
            # There is no tunnel: the request itself is the proxy's to read.
            headers, tunnel = headers | tunnel, {}
        # Through a proxy, the name that is resolved here is the proxy's: it may be anywhere.
        session = self._session(request.home if proxy is None else None)
        async with asyncio.timeout(self._header_timeout(request)):
            raw = await session.request(
                request.method,
                request.url,
                headers=headers,
                data=request.form,
                allow_redirects=False,
                ssl=context,
                proxy=proxy.url if proxy is not None else None,
                proxy_headers=tunnel,
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout(request)),
            )
        size = sum(len(name) + len(value) for name, value in raw.raw_headers)
        if size > self._limits.header_bytes:
            raw.close()
            raise RegistryProtocol(
                f"registry {origin.address}: the head of the answer is too large"
            )
        return raw

    def _connect_timeout(self, request: Request) -> float:
        if request.connect_timeout is None:
            return self._settings.connect_timeout
        return request.connect_timeout

    def _header_timeout(self, request: Request) -> float:
        longest = self._settings.header_timeout
        return longest if request.silence is None else min(longest, request.silence)

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
                happy_eyeballs_delay=_NEXT_FAMILY_AFTER,
                interleave=1,
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


def _semaphore(limit: int) -> asyncio.Semaphore | None:
    return asyncio.Semaphore(limit) if limit else None


def _introduced(proxy: Proxy | None) -> dict[str, str]:
    """The field that shows a proxy who we are (RFC 9110 11.7.2), if it wants to know."""
    if proxy is None or not (proxy.username or proxy.password):
        return {}
    pair = f"{proxy.username}:{proxy.password}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


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
