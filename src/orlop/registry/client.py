"""``orlop.ports.registry.Registry`` over HTTP: all registries through one set of connections.

Puts the parts of this room together; what is asked and what answers mean is in ``remote``.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from orlop.model.limits import DEFAULTS, Limits
from orlop.registry.exchange import Exchange
from orlop.registry.hosts import credentials_for, endpoints
from orlop.registry.remote import HTTPRemote
from orlop.registry.settings import RegistrySettings
from orlop.registry.tokens import TokenCache
from orlop.registry.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.model.reference import Reference
    from orlop.ports.clock import Clock
    from orlop.ports.registry import Credentials, Traffic


class RegistryClient:
    """Implements ``orlop.ports.registry.Registry``.

    Use it on one event loop; connections are made when they are needed. ``close``
    must be awaited at the end.

    Args:
        settings: hosts, time-outs, patience.
        clock: expiry of tokens, dates in Retry-After.
        limits: sizes of documents, tokens, errors and heads.
        jitter: random values from 0 to 1 that spread retries.
    """

    def __init__(
        self,
        settings: RegistrySettings | None = None,
        *,
        clock: Clock,
        limits: Limits = DEFAULTS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings or RegistrySettings()
        self._limits = limits
        self._clock = clock
        self._jitter = jitter
        self._transport = Transport(self._settings, limits)
        self._exchange = self._new_exchange()
        self._tokens = TokenCache()

    def reload(self, settings: RegistrySettings) -> None:
        """Use other settings for pulls that start from now on; read certificate files again."""
        self._settings = settings
        self._transport.reload(settings)
        self._exchange = self._new_exchange()

    def remote(
        self, reference: Reference, *, credentials: Credentials | None, traffic: Traffic
    ) -> HTTPRemote:
        """A view of one repository; costs nothing until it is used.

        Raises:
            InvalidReference: the reference's domain cannot be a host.
        """
        return HTTPRemote(
            reference,
            endpoints(reference, self._settings.hosts),
            credentials=credentials_for(reference, credentials),
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
