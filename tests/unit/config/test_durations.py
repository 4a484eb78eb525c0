"""Durations agree with Go's own parser and printer."""

import pytest

from orlop.config.durations import Duration
from orlop.errors import InvalidArgument

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("0s", 0),
        ("5m0s", 300 * SECOND),
        ("1h2m3.5s", 3723 * SECOND + SECOND // 2),
        ("300ms", 300 * 10**6),
        ("+5s", 5 * SECOND),
        ("-1.5h", -5400 * SECOND),
        (".5s", SECOND // 2),
        ("1.s", SECOND),
        ("1us", 1000),
        ("1µs", 1000),
        ("1μs", 1000),
        ("1h1h", 7200 * SECOND),
        ("0.100000000000000000000h", 360 * SECOND),
        ("-9223372036854775808ns", -(2**63)),
        ("9223372036854775807ns", 2**63 - 1),
    ],
)
def test_parse(text: str, nanoseconds: int) -> None:
    assert Duration.parse(text).nanoseconds == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "-",
        "s",
        ".",
        "-.",
        ".s",
        "+.s",
        "1d",
        "1 s",
        " 1s",
        "1s ",
        "1s2",
        "--1s",
        "1e3s",
        "\u0661s",
    ],
)
def test_not_a_duration(text: str) -> None:
    with pytest.raises(InvalidArgument, match="not a duration"):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["9223372036854775808ns", "3000000h", "-9223372036854775809ns"])
def test_too_long(text: str) -> None:
    with pytest.raises(InvalidArgument, match="292 years"):
        Duration.parse(text)


def test_a_long_text_is_refused_at_once_and_cut_in_the_message() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Duration.parse("1s" * 100_000)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (245 * SECOND, "4m5s"),
        (245 * SECOND + 10**6, "4m5.001s"),
        (5 * 3600 * SECOND + 6 * 60 * SECOND + 7 * SECOND + 10**6, "5h6m7.001s"),
        (8 * 60 * SECOND + 1, "8m0.000000001s"),
        (3600 * SECOND, "1h0m0s"),
        (-300 * SECOND, "-5m0s"),
        (2**63 - 1, "2562047h47m16.854775807s"),
    ],
)
def test_text(nanoseconds: int, text: str) -> None:
    assert str(Duration(nanoseconds)) == text


def test_seconds_and_order() -> None:
    assert Duration.parse("1m30s").seconds == 90.0
    assert Duration.parse("1s") < Duration.parse("1m")
