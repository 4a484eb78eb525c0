"""Tokens of token services: read from an answer, kept until they expire.

Asks nobody: ``auth`` does. Holds tokens in memory only, under names that cannot be
turned back into credentials.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from orlop.errors import AuthFailed

if TYPE_CHECKING:
    from orlop.ports.registry import Credentials
    from orlop.registry.hosts import Origin

_DEFAULT_LIFE: Final = 60.0
"""Seconds; what the token specification says when ``expires_in`` is missing."""
_LONGEST_LIFE: Final = 3600.0
_CACHED_TOKENS: Final = 1024
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")  # what may stand in a header field


@dataclass(frozen=True, slots=True)
class TokenKey:
    """What a token is good for; ``account`` tells credentials apart without holding them."""

    origin: Origin
    realm: str
    service: str
    scope: str
    account: str


class TokenCache:
    """Tokens until they expire; the oldest goes when there are too many."""

    def __init__(self) -> None:
        self._tokens: dict[TokenKey, tuple[str, float]] = {}
        self._key = secrets.token_bytes(32)

    def account(self, credentials: Credentials | None) -> str:
        """A name for these credentials, meaningless outside this process."""
        if credentials is None:
            return ""
        keyed = hashlib.blake2b(key=self._key, digest_size=16)
        for part in (
            credentials.username,
            credentials.password,
            credentials.identity_token,
            credentials.registry_token,
        ):
            data = part.encode("utf-8", "surrogateescape")
            keyed.update(len(data).to_bytes(8, "big") + data)
        return keyed.hexdigest()

    def get(self, key: TokenKey, now: float) -> str | None:
        """The token, if it is still good at ``now`` (monotonic seconds)."""
        token, expires = self._tokens.get(key, ("", 0.0))
        return token if token and now < expires else None

    def put(self, key: TokenKey, token: str, expires: float) -> None:
        """Keep a token until ``expires`` (monotonic seconds)."""
        self._tokens.pop(key, None)
        self._tokens[key] = (token, expires)
        if len(self._tokens) > _CACHED_TOKENS:
            del self._tokens[next(iter(self._tokens))]

    def drop(self, key: TokenKey) -> None:
        """Forget a token that a registry did not accept."""
        self._tokens.pop(key, None)


class _TokenAnswer(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


def parse(body: bytes, host: str) -> tuple[str, float]:
    """Token and life in seconds; the life is what the service says, within reason.

    Raises:
        AuthFailed: there is no usable token in the answer of ``host``.
    """
    try:
        answer = msgspec.json.decode(body, type=_TokenAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AuthFailed(f"token service {host}: the answer is no token document") from error
    token = checked(answer.token or answer.access_token, f"token service {host}")
    life = answer.expires_in
    if life is None or not life > 0:
        life = _DEFAULT_LIFE
    return token, min(life, _LONGEST_LIFE)


def checked(token: str, who: str) -> str:
    """``token``, when it may stand in a header field.

    Raises:
        AuthFailed: it is empty, or holds spaces or control characters.
    """
    if not token:
        raise AuthFailed(f"{who}: no token in the answer")
    if _TOKEN.fullmatch(token) is None:
        raise AuthFailed(f"{who}: the token holds characters that no token has")
    return token
