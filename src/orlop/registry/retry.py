"""Decides whether a failed request is sent again, and after which delay.

Pure: told the outcome, the number of attempts, a random value and the time. Never sleeps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

RETRYABLE = frozenset({408, 429, 500, 502, 503, 504, 522})
"""Statuses that may be different a moment later."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT", re.ASCII
)
_SECONDS = re.compile(r"\d{1,10}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently.

    Attributes:
        attempts: requests altogether, the first one included.
        base: seconds; the delay after the first attempt is between 0 and this.
        cap: seconds; the random part of a delay never exceeds it.
        longest_wait: seconds; a registry that asks for more patience gets none.
    """

    attempts: int = 4
    base: float = 0.25
    cap: float = 8.0
    longest_wait: float = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt failed: with a status, or (None) without any answer.

    ``retry_after`` is the value of the header of that name, "" if there was none.
    """

    status: int | None
    retry_after: str = ""


def delay(
    policy: RetryPolicy, outcome: Outcome, *, attempt: int, jitter: float, now: float
) -> float | None:
    """Seconds to wait before the next attempt; None to give up.

    Exponential back-off with full jitter, on top of what Retry-After asks for.

    Args:
        policy: the bounds.
        outcome: how the last attempt failed.
        attempt: number of that attempt, from 1.
        jitter: random value from 0 to 1.
        now: seconds since the Unix epoch, to read a Retry-After that is a date.
    """
    if outcome.status is not None and outcome.status not in RETRYABLE:
        return None
    if attempt >= policy.attempts:
        return None
    asked = retry_after(outcome.retry_after, now=now) or 0.0
    if asked > policy.longest_wait:
        return None
    # The exponent is bounded so that a generous policy cannot overflow a float.
    return asked + jitter * min(policy.cap, policy.base * 2.0 ** min(attempt - 1, 32))


def retry_after(value: str, *, now: float) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 10.2.3); None if it makes no sense."""
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    date = _HTTP_DATE.fullmatch(value)
    if date is None or date[2] not in _MONTHS:
        return None
    try:
        moment = datetime(
            int(date[3]),
            _MONTHS.index(date[2]) + 1,
            int(date[1]),
            int(date[4]),
            int(date[5]),
            int(date[6]),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - now)
