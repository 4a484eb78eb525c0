"""Row H25: back-off, Retry-After in both forms, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.registry.retry import RETRYABLE, Outcome, RetryPolicy, delay, retry_after

NOW = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT
POLICY = RetryPolicy(attempts=4, base=0.25, cap=8.0, longest_wait=60.0)


def ask(status: int | None, after: str = "", attempt: int = 1, jitter: float = 1.0) -> float | None:
    return delay(POLICY, Outcome(status, after), attempt=attempt, jitter=jitter, now=NOW)


def test_the_window_doubles_and_jitter_fills_it() -> None:
    assert [ask(503, attempt=n) for n in (1, 2, 3)] == [0.25, 0.5, 1.0]
    assert [ask(503, jitter=j) for j in (0.0, 0.5)] == [0.0, 0.125]


def test_the_cap_holds() -> None:
    patient = RetryPolicy(attempts=10_000)
    for attempt in (10, 100, 9999):
        assert delay(patient, Outcome(500), attempt=attempt, jitter=1.0, now=NOW) == patient.cap


@pytest.mark.parametrize("status", [None, *sorted(RETRYABLE)])
def test_attempts_are_bounded(status: int | None) -> None:
    assert ask(status, attempt=3) is not None
    assert ask(status, attempt=4) is None
    assert ask(status, attempt=5) is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 416, 421, 451, 501, 505])
def test_answers_that_will_not_change_are_final(status: int) -> None:
    assert ask(status) is None
    assert ask(status, "1") is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("9999999999", 9999999999.0),
    ],
)
def test_retry_after_is_read(value: str, seconds: float) -> None:
    assert retry_after(value, now=NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "", "soon", "-1", "1.5", "1e3", "99999999999", "٣", "Wed, 21 Oct 2015 07:28:30",
        "Wed, 41 Oct 2015 07:28:30 GMT", "Wed, 21 Xxx 2015 07:28:30 GMT",
        "Wednesday, 21-Oct-15 07:28:30 GMT", "Wed, 00 Oct 0000 99:99:99 GMT",
    ],
)  # fmt: skip
def test_retry_after_that_makes_no_sense(value: str) -> None:
    assert retry_after(value, now=NOW) is None
    assert ask(429, value) == 0.25


def test_retry_after_is_honoured_on_top_of_jitter() -> None:
    assert ask(429, "60") == 60.25
    assert ask(503, "Wed, 21 Oct 2015 07:28:10 GMT", jitter=0.0) == 10.0
    assert ask(429, "0", jitter=0.0) == 0.0


@pytest.mark.parametrize("value", ["61", "1000000000", "Wed, 21 Oct 2026 07:28:10 GMT"])
def test_a_registry_that_wants_too_much_patience_gets_none(value: str) -> None:
    assert ask(429, value) is None


@given(
    st.one_of(st.none(), st.integers(100, 599)),
    st.text(max_size=40),
    st.integers(1, 10),
    st.floats(0, 1),
)
def test_the_delay_is_always_bounded(
    status: int | None, after: str, attempt: int, jitter: float
) -> None:
    wait = ask(status, after, attempt, jitter)
    assert wait is None or 0 <= wait <= POLICY.longest_wait + POLICY.cap
