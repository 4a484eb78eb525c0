"""Durations survive being written and read."""

from hypothesis import given
from hypothesis import strategies as st

from orlop.config.durations import Duration
from orlop.errors import InvalidArgument

nanoseconds = st.integers(-(2**63), 2**63 - 1)


@given(nanoseconds)
def test_round_trip(count: int) -> None:
    assert Duration.parse(str(Duration(count))) == Duration(count)


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from(["h", "m", "s", "ms", "us", "ns"]))))
def test_parts_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    if parts:
        total = sum(Duration.parse(f"{number}{unit}").nanoseconds for number, unit in parts)
        if len(text) <= 128:
            assert Duration.parse(text).nanoseconds == total


@given(st.text(alphabet="0123456789.hmnsuµ+- ") | st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        duration = Duration.parse(text)
    except InvalidArgument:
        return
    assert Duration.parse(str(duration)) == duration
