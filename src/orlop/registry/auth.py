"""Answers challenges: Basic, and bearer tokens from a token service.

One ``Authorizer`` per pull and endpoint holds the credentials. Nothing is sent
before a challenge, nothing is written anywhere, and no message names a secret.

Sources: distribution's token specification (GET, and POST with OAuth2), RFC 6749,
RFC 6750, RFC 7617.
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Final

from yarl import URL

from orlop.errors import AuthFailed, LimitExceeded, OrlopError, RegistryProtocol
from orlop.registry import challenge as challenges
from orlop.registry.exchange import Question
from orlop.registry.policy import check_realm, trusts_realm
from orlop.registry.refusal import detail, refusal
from orlop.registry.response import origin_of
from orlop.registry.retry import RETRYABLE
from orlop.registry.tokens import TokenCache, TokenKey, checked, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.ports.registry import Credentials, Traffic
    from orlop.registry.challenge import Challenge
    from orlop.registry.exchange import Exchange
    from orlop.registry.hosts import Endpoint
    from orlop.registry.response import Response

_CLIENT_ID: Final = "orlop"
_MARGIN: Final = 5.0
"""Seconds before its end at which a token is no longer sent."""


class Authorizer:
    """Authorization for one endpoint, on behalf of one pull.

    Args:
        endpoint: who challenges.
        repository: what to ask a token for when the challenge names no scope.
        credentials: None for anonymous; only ever those meant for this endpoint.
        exchange: to ask token services.
        tokens: shared by all pulls.
        traffic: counts requests to token services too.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        repository: str,
        credentials: Credentials | None,
        exchange: Exchange,
        tokens: TokenCache,
        traffic: Traffic,
    ) -> None:
        self._endpoint = endpoint
        self._repository = repository
        self._credentials = credentials
        self._exchange = exchange
        self._tokens = tokens
        self._traffic = traffic
        self._account = tokens.account(credentials)
        self._challenge: Challenge | None = None
        self._token = ""  # the last one that was sent
        self._lock = asyncio.Lock()

    @property
    def anonymous(self) -> bool:
        """True when there are no credentials to show."""
        return self._credentials is None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must not appear in a message: all that the endpoint is sent in confidence."""
        known = [self._token, *(value for _, value in self._endpoint.headers)]
        held = self._credentials
        if held is not None:
            basic = _basic(held.username, held.password).partition(" ")[2]
            known += [held.password, held.identity_token, held.registry_token, basic]
        return tuple(filter(None, known))

    async def header(self) -> str | None:
        """Value of the Authorization field for the next request; None before any challenge.

        Raises:
            AuthFailed: the token service gives no token.
            AuthPolicy: it must not be asked.
            RegistryUnavailable, RegistryProtocol, TLSFailed: it cannot be asked.
        """
        wanted = self._challenge
        if wanted is None:
            return None
        held = self._credentials
        if wanted.scheme == "basic":
            return None if held is None else _basic(held.username, held.password)
        if held is not None and held.registry_token:
            return f"Bearer {checked(held.registry_token, self._endpoint.origin.address)}"
        # The lock lets the layers of a pull share one token instead of fetching one each.
        async with self._lock:
            key = self._key(wanted)
            token = self._tokens.get(key, self._exchange.clock.monotonic())
            if token is None:
                token = await self._fetch(key)
        self._token = token
        return f"Bearer {token}"

    def challenged(self, fields: Sequence[str], *, sent: str | None) -> bool:
        """Take note of a 401; False when another attempt cannot end differently.

        Args:
            fields: the WWW-Authenticate fields.
            sent: the Authorization of the request that was refused.

        Raises:
            RegistryProtocol: the fields are malformed.
        """
        wanted = challenges.choose(challenges.parse(fields))
        if wanted is None:
            return False
        self._challenge = wanted
        held = self._credentials
        if wanted.scheme == "basic":
            return sent is None and held is not None and bool(held.username)
        if sent is None:
            return True
        if held is not None and held.registry_token:
            return False
        key = self._key(wanted)
        # Another layer may have fetched a fresh token meanwhile: keep that one.
        if sent == f"Bearer {self._tokens.get(key, self._exchange.clock.monotonic())}":
            self._tokens.drop(key)
        return True

    def _key(self, wanted: Challenge) -> TokenKey:
        return TokenKey(
            self._endpoint.origin,
            wanted.get("realm"),
            wanted.get("service"),
            wanted.get("scope") or f"repository:{self._repository}:pull",
            self._account,
        )

    async def _fetch(self, key: TokenKey) -> str:
        question = self._question(key)
        started = self._exchange.clock.monotonic()
        response = await self._exchange.ask(question, self._traffic)
        host = response.host
        async with response:
            try:
                body = await response.read_all(
                    self._exchange.limits.token_bytes,
                    name="token_bytes",
                    within=self._exchange.settings.header_timeout,
                )
            except LimitExceeded as error:
                raise AuthFailed(f"token service {host}: the answer is too long") from error
        if response.status != 200:
            raise self._refused(response, body)
        token, life = parse(body, host)
        self._tokens.put(key, token, started + life - _MARGIN)
        return token

    def _refused(self, response: Response, body: bytes) -> OrlopError:
        said = detail(body, response.header("Content-Type"), secrets=self.secrets)
        subject = f"token for {self._endpoint.origin.address}/{self._repository}"
        status = response.status
        if status in RETRYABLE or status >= 500:
            return refusal(
                status, subject=subject, host=response.host, words=said, anonymous=self.anonymous
            )
        words = f": {said}" if said else ""
        return AuthFailed(
            f"{subject}: token service {response.host} refuses (status {status}){words}",
            hint="check the user name, the password and their rights",
        )

    def _question(self, key: TokenKey) -> Question:
        """What to ask the token service; everything it may see, and nothing else.

        Raises:
            RegistryProtocol: the realm is no URL.
            AuthPolicy: the service must not be asked.
        """
        endpoint, held = self._endpoint, self._credentials
        try:
            realm = URL(key.realm).with_fragment(None)
            origin = origin_of(realm)
            has_userinfo = realm.user is not None or realm.password is not None
        except ValueError as error:
            raise RegistryProtocol(
                f"registry {endpoint.origin.address}: the realm of its challenge is no URL"
            ) from error
        check_realm(endpoint, origin, with_credentials=held is not None, has_userinfo=has_userinfo)
        known = self._exchange.settings.hosts.get(origin.address)
        own = origin.host == endpoint.origin.host
        tls = endpoint.tls if own else known.tls if known else endpoint.tls.elsewhere
        home = (
            None
            if trusts_realm(endpoint, origin)
            else self._exchange.transport.neighbourhood(endpoint.origin.host)
        )
        if held is not None and held.identity_token:
            form = {
                "grant_type": "refresh_token",
                "client_id": _CLIENT_ID,
                "service": key.service,
                "scope": key.scope,
                "refresh_token": held.identity_token,
            }
            return Question("POST", str(realm), tls, home=home, form=form)
        query = [("service", key.service)] if key.service else []
        query += [("scope", scope) for scope in key.scope.split()]
        private = {} if held is None else {"Authorization": _basic(held.username, held.password)}
        return Question("GET", str(realm.extend_query(query)), tls, private=private, home=home)


def _basic(username: str, password: str) -> str:
    pair = f"{username}:{password}".encode("utf-8", "surrogateescape")
    return f"Basic {base64.b64encode(pair).decode('ascii')}"
