"""Whatever plugins require of each other, the plan keeps its word."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import InvalidArgument
from orlop.plugins.graph import Plan, plan, predecessors, requirements
from orlop.plugins.registration import Registration

TYPES = ("a.v1", "b.v1", "c.v1")
IDS = ("1", "2", "3")
NAMES = tuple(f"{kind}.{id_}" for kind in TYPES for id_ in IDS)

needs = st.lists(st.sampled_from((*TYPES, *NAMES)), max_size=2).map(tuple)


@st.composite
def plugins(draw: st.DrawFn) -> tuple[Registration, ...]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    return tuple(
        Registration(
            name.rpartition(".")[0],
            name[-1],
            nullcontext,
            requires=draw(needs),
            wants=draw(needs),
            optional=draw(st.booleans()),
            daemon=draw(st.integers(0, 3)) == 0,
        )
        for name in names
    )


some = st.frozensets(st.sampled_from(NAMES), max_size=2)


def check(result: Plan, registrations: tuple[Registration, ...]) -> None:
    """Each is there once, started or not, and stands after all that it requires and wants."""
    order = [one.name for one in result.order]
    assert sorted([*order, *(state.name for state in result.skipped)]) == sorted(
        one.name for one in registrations
    )
    assert all(state.reason for state in result.skipped)
    for number, one in enumerate(result.order):
        before = order[:number]
        assert set(predecessors(one, order)) <= set(before)
        met = requirements(one, before)
        for need in one.requires:
            assert any(need in (name, name.rpartition(".")[0]) for name in met)


@given(plugins(), some, some, st.booleans())
def test_a_plan_is_complete_and_in_order(
    registrations: tuple[Registration, ...],
    disabled: frozenset[str],
    required: frozenset[str],
    daemon: bool,
) -> None:
    try:
        result = plan(registrations, disabled=disabled, required=required, daemon=daemon)
    except InvalidArgument:
        return
    check(result, registrations)
    order = {one.name for one in result.order}
    assert disabled.isdisjoint(order)
    if daemon:
        assert required <= order
    else:
        assert not any(one.daemon for one in result.order)


@given(plugins(), some, st.booleans())
def test_optional_plugins_stop_nobody(
    registrations: tuple[Registration, ...], disabled: frozenset[str], daemon: bool
) -> None:
    optional = tuple(replace(one, optional=True) for one in registrations)
    check(plan(optional, disabled=disabled, daemon=daemon), optional)
