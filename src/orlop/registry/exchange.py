"""One question to a registry: sent, redirected and repeated until there is an answer.

Follows redirects by hand, so that nothing secret crosses an origin, and repeats
what ``retry`` says is worth repeating. Knows nothing of challenges or of what
an answer means.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from yarl import URL

from orlop.errors import RegistryProtocol, RegistryUnavailable
from orlop.registry.failure import GarbledAnswer
from orlop.registry.policy import check_redirect
from orlop.registry.response import Response, origin_of
from orlop.registry.retry import RETRYABLE, Outcome, delay
from orlop.registry.transport import Request, Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from orlop.model.limits import Limits
    from orlop.ports.clock import Clock
    from orlop.ports.registry import Traffic
    from orlop.registry.hosts import Origin
    from orlop.registry.reach import Neighbourhood
    from orlop.registry.settings import HostSettings, RegistrySettings, TLSSettings

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NANOSECONDS: Final = 1e9


@dataclass(frozen=True, slots=True)
class Question:
    """What to send, and what of it may travel.

    Attributes:
        method: GET, HEAD or POST.
        url: where to send it first.
        tls: how to check that server.
        headers: fields that may follow a redirect anywhere.
        private: fields for the first origin only: authorization, the operator's own.
        home: as in ``Request``.
        form: as in ``Request``; a question with a form is never redirected.
        connect_timeout: as in ``Request``, for the first origin.
    """

    method: str
    url: str
    tls: TLSSettings
    headers: Mapping[str, str] = field(default_factory=dict)
    private: Mapping[str, str] = field(default_factory=dict, repr=False)
    home: Neighbourhood | None = None
    form: Mapping[str, str] | None = field(default=None, repr=False)
    connect_timeout: float | None = None


class Exchange:
    """Asks questions over a transport.

    Args:
        transport: sends; closed by its owner.
        settings: the retry policy, and TLS of hosts that redirects lead to.
        limits: how many redirects.
        clock: reads dates in Retry-After.
        jitter: random values from 0 to 1.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        transport: Transport,
        settings: RegistrySettings,
        *,
        limits: Limits,
        clock: Clock,
        jitter: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.transport = transport
        self.settings = settings
        self.limits = limits
        self.clock = clock
        self._jitter = jitter
        self._sleep = sleep

    async def ask(self, question: Question, traffic: Traffic) -> Response:
        """The answer, whatever its status; the caller closes it.

        An answer with a status worth repeating is the last of several.

        Raises:
            RegistryUnavailable: no answer, also after several attempts.
            TLSFailed, RegistryProtocol, AuthPolicy: as the transport and ``policy`` say.
        """
        attempt = 1
        while True:
            try:
                response = await self._follow(question, traffic)
            except RegistryUnavailable:
                wait = self._delay(Outcome(None), attempt)
                if wait is None:
                    raise
            except GarbledAnswer:
                # A kept connection may bring what was left of an answer that lied about
                # its length: once more, over another one.
                if attempt > 1:
                    raise
                wait = 0.0
            else:
                if response.status not in RETRYABLE:
                    return response
                outcome = Outcome(response.status, response.header("Retry-After"))
                wait = self._delay(outcome, attempt)
                if wait is None:
                    return response
                await response.discard()
            await self._sleep(wait)
            attempt += 1

    def _delay(self, outcome: Outcome, attempt: int) -> float | None:
        return delay(
            self.settings.retry,
            outcome,
            attempt=attempt,
            jitter=self._jitter(),
            now=self.clock.now() / _NANOSECONDS,
        )

    async def _follow(self, question: Question, traffic: Traffic) -> Response:
        url = URL(question.url, encoded=True)
        first = origin_of(url)
        request = Request(
            question.method,
            url,
            question.tls,
            headers={**question.headers, **question.private},
            home=question.home,
            form=question.form,
            connect_timeout=question.connect_timeout,
        )
        for _ in range(self.limits.redirects + 1):
            response = await self.transport.send(request, traffic)
            location = response.header("Location")
            if response.status not in _REDIRECTS or not location:
                return response
            await response.discard()
            if question.form is not None:
                raise RegistryProtocol(f"registry {response.host} redirects a posted form")
            request = self._redirected(request, question, first, location)
        raise RegistryProtocol(
            f"registry {first.address} redirects more than {self.limits.redirects} times"
        )

    def _redirected(
        self, request: Request, question: Question, first: Origin, location: str
    ) -> Request:
        """The next request; once it has left the first origin it never gets private fields again.

        Raises:
            RegistryProtocol, AuthPolicy: the redirect must not be followed.
        """
        source = origin_of(request.url)
        try:
            url = request.url.join(URL(location, encoded=True)).with_fragment(None)
            target = origin_of(url)
            has_userinfo = url.user is not None or url.password is not None
        except ValueError as error:
            raise RegistryProtocol(
                f"registry {source.address} redirects to something that is no URL"
            ) from error
        home = self.transport.neighbourhood(first.host) if question.home is None else question.home
        check_redirect(source, target, home=home, has_userinfo=has_userinfo)
        if target == source:
            return replace(request, url=url, form=None)
        known = self._settings_of(target)
        return Request(
            request.method,
            url,
            known.tls if known else question.tls.elsewhere,
            headers=question.headers,
            home=None if known else home,
        )

    def _settings_of(self, origin: Origin) -> HostSettings | None:
        """What the operator says about a host by this very name and port, if anything."""
        return self.settings.hosts.get(origin.address)
