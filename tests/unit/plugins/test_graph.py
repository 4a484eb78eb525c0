"""The order of plugins, and what is said when there is none."""

from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import permutations

import pytest

from orlop.errors import AlreadyExists, InvalidArgument
from orlop.plugins.graph import plan, predecessors, requirements
from orlop.plugins.host import PluginState
from orlop.plugins.registration import Context, Registration


def init(context: Context) -> AbstractAsyncContextManager[object]:
    return nullcontext(context)


def plugin(name: str, *requires: str, optional: bool = False) -> Registration:
    """``name`` is a letter; its type is ``<letter>.v1`` and its id ``1``, or what follows it."""
    return Registration(
        f"{name[0]}.v1", name[1:] or "1", init, requires=requires, optional=optional
    )


def names(registrations: tuple[Registration, ...]) -> list[str]:
    return [registration.name for registration in registrations]


def test_nothing() -> None:
    assert plan(()).order == ()


def test_every_order_of_registration_gives_a_valid_order() -> None:
    plugins = (plugin("a", "b.v1", "c.v1.1"), plugin("b", "d.v1"), plugin("c", "d.v1"), plugin("d"))
    for shuffled in permutations(plugins):
        order = names(plan(shuffled).order)
        assert len(order) == 4
        for one in plugins:
            for needed in requirements(one, order):
                assert order.index(needed) < order.index(one.name)


def test_independent_plugins_keep_their_order() -> None:
    plugins = tuple(plugin(letter) for letter in "zmafb")
    assert plan(plugins).order == plugins


def test_a_type_means_all_of_that_type_but_oneself() -> None:
    order = names(plan((plugin("a", "a.v1"), plugin("a2"), plugin("a3"))).order)
    assert order == ["a.v1.2", "a.v1.3", "a.v1.1"]


def test_a_circle_names_its_members_and_nobody_else() -> None:
    plugins = (plugin("x", "a.v1"), plugin("a", "b.v1"), plugin("b", "c.v1"), plugin("c", "a.v1"))
    with pytest.raises(InvalidArgument) as caught:
        plan(plugins)
    assert caught.value.message == (
        "plugins require each other: a.v1.1 -> b.v1.1 -> c.v1.1 -> a.v1.1"
    )


def test_a_missing_requirement_names_both() -> None:
    with pytest.raises(
        InvalidArgument, match=r"plugin a\.v1\.1 requires z\.v1, which is not there"
    ):
        plan((plugin("a", "z.v1"),))


def test_only_oneself_is_not_enough() -> None:
    with pytest.raises(InvalidArgument, match=r"requires a\.v1"):
        plan((plugin("a", "a.v1"),))


def test_a_disabled_requirement_is_called_disabled() -> None:
    with pytest.raises(InvalidArgument, match=r"requires b\.v1\.1, which is disabled"):
        plan((plugin("a", "b.v1.1"), plugin("b")), disabled=frozenset({"b.v1.1"}))


def test_one_of_a_type_may_be_disabled() -> None:
    result = plan((plugin("a", "b.v1"), plugin("b"), plugin("b2")), disabled=frozenset({"b.v1.1"}))
    assert names(result.order) == ["b.v1.2", "a.v1.1"]
    assert result.skipped == (PluginState("b.v1", "1", "skipped", "disabled"),)


def test_optional_plugins_are_skipped_in_a_chain() -> None:
    plugins = (plugin("a", "b.v1", optional=True), plugin("b", "c.v1", optional=True), plugin("d"))
    result = plan(plugins)
    assert names(result.order) == ["d.v1.1"]
    assert {state.name: state.reason for state in result.skipped} == {
        "b.v1.1": "it requires c.v1, which is not there",
        "a.v1.1": "it requires b.v1, which is not there",
    }


def test_unknown_disabled_names_are_ignored() -> None:
    assert len(plan((plugin("a"),), disabled=frozenset({"io.containerd.nri.v1.nri"})).order) == 1


@pytest.mark.parametrize(
    ("plugins", "disabled", "cause"),
    [
        ((), (), "there is no such plugin"),
        ((plugin("a"),), ("a.v1.1",), "disabled"),
        ((plugin("a", "b.v1", optional=True),), (), r"requires b\.v1"),
    ],
)
def test_required_plugins_must_be_able_to_start(
    plugins: tuple[Registration, ...], disabled: tuple[str, ...], cause: str
) -> None:
    with pytest.raises(InvalidArgument, match=rf"plugin a\.v1\.1 .*{cause}"):
        plan(plugins, disabled=frozenset(disabled), required=frozenset({"a.v1.1"}))


def test_two_plugins_of_one_name() -> None:
    with pytest.raises(AlreadyExists, match=r"a\.v1\.1 is registered twice"):
        plan((plugin("a"), plugin("a")))


def test_a_long_chain_needs_no_deep_stack() -> None:
    plugins = tuple(
        Registration("a.v1", str(n), init, requires=(f"a.v1.{n + 1}",) if n < 1200 else ())
        for n in range(1201)
    )
    order = plan(plugins[:1] + plugins[1:]).order
    assert order == plugins[::-1]


def test_what_is_wanted_comes_before_and_may_be_missing() -> None:
    wanting = Registration("a.v1", "1", init, requires=("c.v1",), wants=("b.v1", "z.v1"))
    order = names(plan((wanting, plugin("b"), plugin("c"))).order)
    assert order == ["b.v1.1", "c.v1.1", "a.v1.1"]
    assert requirements(wanting, order) == ("c.v1.1",)
    assert predecessors(wanting, order) == ("b.v1.1", "c.v1.1")
    assert names(plan((wanting, plugin("c"))).order) == ["c.v1.1", "a.v1.1"]


def test_a_type_whose_plugins_are_disabled_is_called_disabled() -> None:
    with pytest.raises(InvalidArgument, match=r"requires b\.v1, which is disabled"):
        plan((plugin("a", "b.v1"), plugin("b")), disabled=frozenset({"b.v1.1"}))


def test_an_optional_plugin_cannot_spoil_the_start_with_a_circle() -> None:
    plugins = (
        plugin("a", "b.v1"),
        plugin("b"),
        plugin("b2", "a.v1", optional=True),
        plugin("c", "b.v1.2", optional=True),
    )
    result = plan(plugins)
    assert names(result.order) == ["b.v1.1", "a.v1.1"]
    assert {state.name: state.reason for state in result.skipped} == {
        "b.v1.2": "plugins require each other: a.v1.1 -> b.v1.2 -> a.v1.1",
        "c.v1.1": "it requires b.v1.2, which is not there",
    }
    with pytest.raises(InvalidArgument, match="require each other"):
        plan(plugins, required=frozenset({"b.v1.2"}))


DOORS = (
    plugin("a"),
    Registration("d.v1", "1", init, requires=("a.v1",), daemon=True),
    plugin("e", "d.v1"),
    plugin("f", "e.v1"),
    Registration("g.v1", "1", init, wants=("d.v1",)),
)


def test_what_is_for_daemons_stays_out_of_other_programs() -> None:
    assert len(plan(DOORS).order) == len(DOORS)
    result = plan(DOORS, daemon=False, required=frozenset({"a.v1.1", "d.v1.1", "f.v1.1"}))
    assert names(result.order) == ["a.v1.1", "g.v1.1"]
    assert {state.name for state in result.skipped} == {"d.v1.1", "e.v1.1", "f.v1.1"}
    assert {state.reason for state in result.skipped} == {"only a daemon starts it"}


def test_what_lacks_something_lacks_it_without_a_daemon_too() -> None:
    with pytest.raises(InvalidArgument, match=r"h\.v1\.1 requires z\.v1, which is not there"):
        plan((*DOORS, plugin("h", "z.v1")), daemon=False)
