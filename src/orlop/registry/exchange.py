"""One question to a registry: sent, redirected and repeated until there is an answer.

Follows redirects by hand, so that nothing secret crosses an origin, and repeats
what ``retry`` says is worth repeating. Knows nothing of challenges or of what
an answer means.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from yarl import URL

from orlop.errors import RegistryProtocol, RegistryUnavailable
from orlop.registry.failure import GarbledAnswer
from orlop.registry.policy import check_redirect
from orlop.registry.response import Response, origin_of
from orlop.registry.retry import RETRYABLE, Outcome, delay, retry_after
from orlop.registry.transport import Request, Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from orlop.model.limits import Limits
    from orlop.ports.clock import Clock
    from orlop.ports.registry import Traffic
    from orlop.registry.hosts import Endpoint, Origin
    from orlop.registry.reach import Neighbourhood
    from orlop.registry.retry import RetryPolicy
    from orlop.registry.settings import HostSettings, RegistrySettings, TLSSettings

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NANOSECONDS: Final = 1e9
_TOO_MANY: Final = 429
_PATIENCE: Final = frozenset({_TOO_MANY, 503})
"""Statuses whose Retry-After is a wish for all requests (RFC 9110 15.6.4, RFC 6585 4)."""
_SPREAD: Final = 1.0
"""Seconds over which those who waited for the same moment are spread."""


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
        attempts: requests altogether; 0 is as many as the settings say.
        silence: as in ``Request``.
        waits: wait while a host asks for patience; else fail at once: there is another host.
    """

    method: str
    url: str
    tls: TLSSettings
    headers: Mapping[str, str] = field(default_factory=dict)
    private: Mapping[str, str] = field(default_factory=dict, repr=False)
    home: Neighbourhood | None = None
    form: Mapping[str, str] | None = field(default=None, repr=False)
    connect_timeout: float | None = None
    attempts: int = 0
    silence: float | None = None
    waits: bool = True


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
        policy = self.settings.retry
        if question.attempts:
            policy = replace(policy, attempts=question.attempts)
        attempt = 1
        while True:
            try:
                response = await self._follow(question, traffic)
            except RegistryUnavailable:
                wait = self._delay(policy, Outcome(None), attempt)
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
                wait = self._delay(policy, outcome, attempt)
                self._close_gate(response.origin, outcome, wait)
                if wait is None:
                    return response
                await response.discard()
            await self._sleep(wait)
            attempt += 1

    def silence(self, others: Sequence[Endpoint]) -> float | None:
        """Seconds without a byte after which one of ``others`` is asked; None is never."""
        origins = [one.origin for one in others]
        well = self.transport.health.any_well(origins, self.clock.monotonic())
        return self.settings.silence if well else None

    def in_order(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """The same endpoints, but those that are down last."""
        now = self.clock.monotonic()
        return self.transport.health.in_order(endpoints, now, lambda one: one.origin)

    def _delay(self, policy: RetryPolicy, outcome: Outcome, attempt: int) -> float | None:
        return delay(
            policy, outcome, attempt=attempt, jitter=self._jitter(), now=self._wall_clock()
        )

    def _wall_clock(self) -> float:
        return self.clock.now() / _NANOSECONDS

    def _close_gate(self, origin: Origin, outcome: Outcome, wait: float | None) -> None:
        """Have everybody wait for a host that asks for patience."""
        asked = retry_after(outcome.retry_after, now=self._wall_clock()) or 0.0
        if outcome.status == _TOO_MANY:
            asked = max(asked, wait if wait is not None else self.settings.retry.base)
        if asked and outcome.status in _PATIENCE:
            now = self.clock.monotonic()
            self.transport.health.of(origin, now).close_gate(now, asked)

    async def _pass_gate(self, origin: Origin, question: Question) -> None:
        """Wait until a host may be asked.

        Raises:
            RegistryUnavailable: that is too long, or another host can be asked meanwhile.
        """
        longest = self.settings.retry.longest_wait
        waited = 0.0
        while wait := self.transport.health.wait(origin, self.clock.monotonic()):
            if not question.waits or waited + wait > longest:
                raise RegistryUnavailable(
                    f"registry {origin.address}: too many requests from here:"
                    f" it asks to wait for {math.ceil(wait)} s"
                )
            # Not all at the same moment.
            wait += self._jitter() * min(_SPREAD, wait)
            await self._sleep(wait)
            waited += wait

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
            silence=question.silence,
            asked=first,
        )
        for _ in range(self.limits.redirects + 1):
            await self._pass_gate(origin_of(request.url), question)
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
            silence=request.silence,
            asked=request.asked,
        )

    def _settings_of(self, origin: Origin) -> HostSettings | None:
        """What the operator says about a host by this very name and port, if anything."""
        return self.settings.hosts.get(origin.address)
