"""Turns an error answer of a registry into an error of ours, fit to be shown.

Pure. What the registry says is quoted: cut short, control characters escaped,
queries of URLs and the caller's secrets blotted out. Never acted upon.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from orlop.errors import (
    AuthFailed,
    NotFound,
    OrlopError,
    RegistryRejected,
    RegistryUnavailable,
)
from orlop.registry.retry import RETRYABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_QUOTE: Final = 200
"""Characters of a registry's own words in a message of ours."""

MAX_TOLD: Final = 8
"""Hosts that a message tells of; the first ones and the last one."""

_MAX_CAUSE: Final = 160  # characters; a message has to fit into an event
_SCANNED: Final = 4096  # characters looked at; the pattern below is quadratic at worst
_REDACTED: Final = "[REDACTED]"
_QUERY: Final = re.compile(r"(://[^\s\"'?#]*\?)[^\s\"']*")
_SHORTEST_SECRET: Final = 4  # blotting out "a" would leave no text


class _Entry(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Entry] = []
    details: str = ""
    error: str = ""
    error_description: str = ""
    message: str = ""


def quote(text: str, *, secrets: Iterable[str] = ()) -> str:
    """``text`` in one short line that is safe in a log, a terminal and an event."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, _REDACTED)
    line = " ".join(text[:_SCANNED].split())
    line = _QUERY.sub(rf"\g<1>{_REDACTED}", line)
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line[: MAX_QUOTE + 1])
    return line if len(line) <= MAX_QUOTE else line[: MAX_QUOTE - 1] + "…"


def detail(body: bytes, content_type: str, *, secrets: Iterable[str] = ()) -> str:
    """The registry's own words in an error body; "" when it says nothing of use.

    Knows the error document of the distribution specification ("Error codes"), those of
    token services (RFC 6749 5.2), and plain text.
    """
    if content_type.partition(";")[0].strip().lower() == "text/plain":
        words = body.decode("utf-8", "replace")
        if not words.lstrip().startswith("{"):
            return quote(words, secrets=secrets)
    try:
        document = msgspec.json.decode(body, type=_Errors)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    pairs = [(entry.code, entry.message) for entry in document.errors[:3]]
    pairs.append((document.error, document.error_description))
    said = [": ".join(filter(None, pair)) for pair in pairs]
    said += [document.details, document.message]
    return quote("; ".join(filter(None, said)), secrets=secrets)


def refusal(status: int, *, subject: str, host: str, words: str, anonymous: bool) -> OrlopError:
    """The error that an answer with a status of 300 or more means.

    Args:
        status: of the answer.
        subject: what was asked for: a reference, or a repository with a digest.
        host: who answered.
        words: from ``detail``.
        anonymous: True when no credentials were given.
    """
    said = f": {words}" if words else ""
    if status in (401, 403):
        why = "wants credentials" if anonymous else "does not accept the credentials"
        if status == 403:
            why = "denies access"
        hint = (
            "log in, or check that the repository exists"
            if anonymous
            else "check the user name, the password and their rights"
        )
        return AuthFailed(f"{subject}: registry {host} {why} (status {status}){said}", hint=hint)
    if status == 404:
        return NotFound(f"{subject}: not found in registry {host}{said}")
    if status in RETRYABLE or status >= 500:
        why = "has too many requests from here" if status == 429 else "is failing"
        return RegistryUnavailable(f"{subject}: registry {host} {why} (status {status}){said}")
    return RegistryRejected(f"{subject}: registry {host} answers {status}{said}", status=status)


def told(tried: Sequence[tuple[str, str]], subject: str) -> str:
    """One message about several hosts: the last one's cause, then those before it.

    Args:
        tried: address of each host and the message of its error, in the order of asking.
        subject: what was asked for; the messages may begin with it.
    """
    shown = [f"{host}: {_cause(message, host, subject)}" for host, message in tried]
    last, before = shown[-1], shown[:-1]
    if len(before) >= MAX_TOLD:
        left = len(before) - (MAX_TOLD - 1)
        before = [*before[: MAX_TOLD - 1], f"and {left} more"]
    return f"{subject}: {last} (before that: {'; '.join(before)})"


def _cause(message: str, host: str, subject: str) -> str:
    """The message without what stands beside it already."""
    text = message.removeprefix(f"{subject}: ").removeprefix(f"registry {host}")
    text = text.replace(f" in registry {host}", "").removeprefix(":").strip()
    return text if len(text) <= _MAX_CAUSE else f"{text[: _MAX_CAUSE - 1]}…"
