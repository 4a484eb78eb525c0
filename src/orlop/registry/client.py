"""``orlop.ports.registry.Registry`` over HTTP: all registries through one set of connections.

Puts the parts of this room together; what is asked and what answers mean is in ``remote``.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from orlop.model.limits import DEFAULTS, Limits
from orlop.registry.credentials import CredentialFinder
from orlop.registry.exchange import Exchange
from orlop.registry.finder import HostFinder
from orlop.registry.hosts import canonical, credentials_for, split
from orlop.registry.remote import HTTPRemote
from orlop.registry.settings import RegistrySettings
from orlop.registry.tokens import TokenCache
from orlop.registry.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.reference import Reference
    from orlop.ports.clock import Clock
    from orlop.ports.registry import Credentials, Traffic
    from orlop.registry.hosts import Plan


def _silent(_: str) -> None:
    """For those who do not want to hear of unknown keys."""


class RegistryClient:
    """Implements ``orlop.ports.registry.Registry``.

    Use it on one event loop; connections are made when they are needed. ``close``
    must be awaited at the end.

    Args:
        settings: hosts, time-outs, patience.
        clock: expiry of tokens, dates in Retry-After.
        limits: sizes of documents, tokens, errors and heads.
        jitter: random values from 0 to 1 that spread retries.
        warn: is told what is odd about a ``hosts.toml``, one line each, when it is read.
    """

    def __init__(
        self,
        settings: RegistrySettings | None = None,
        *,
        clock: Clock,
        limits: Limits = DEFAULTS,
        jitter: Callable[[], float] = random.random,
        warn: Callable[[str], None] = _silent,
    ) -> None:
        self._settings = settings or RegistrySettings()
        self._limits = limits
        self._clock = clock
        self._jitter = jitter
        self._warn = warn
        self._transport = Transport(self._settings, limits, clock)
        self._exchange = self._new_exchange()
        self._finder = HostFinder(self._settings)
        self._tokens = TokenCache()

    def reload(self, settings: RegistrySettings) -> None:
        """Use other settings for pulls that start from now on; read files again."""
        self._settings = settings
        self._transport.reload(settings)
        self._exchange = self._new_exchange()
        self._finder = HostFinder(settings)

    def remote(
        self, reference: Reference, *, credentials: Credentials | None, traffic: Traffic
    ) -> HTTPRemote:
        """A view of one repository; costs nothing until it is used.

        Raises:
            InvalidReference: the reference's domain cannot be a host.
        """
        split(reference.domain)
        finder, warn = self._finder, self._warn

        async def hosts() -> Plan:
            planned = await asyncio.to_thread(finder.find, reference)
            if planned.fresh:
                for warning in planned.warnings:
                    warn(warning)
            return planned.plan

        return HTTPRemote(
            reference,
            hosts,
            credentials=CredentialFinder(
                credentials_for(reference, credentials),
                registry=canonical(reference.domain.lower()),
                configured=self._settings.auths,
            ),
            exchange=self._exchange,
            tokens=self._tokens,
            traffic=traffic,
        )

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        await self._transport.close()

    def _new_exchange(self) -> Exchange:
        return Exchange(
            self._transport,
            self._settings,
            limits=self._limits,
            clock=self._clock,
            jitter=self._jitter,
        )
