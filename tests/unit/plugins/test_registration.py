"""The record of a plugin: its name, and what it sees of the others."""

from contextlib import AbstractAsyncContextManager, nullcontext

import msgspec
import pytest

from orlop.errors import InvalidArgument, NotFound
from orlop.plugins.registration import Commit, Context, Hook, Registration, state_of

SNAPSHOTTER = "io.containerd.snapshotter.v1"


class Settings(msgspec.Struct, frozen=True):
    level: int = 1


class Melting(msgspec.Struct):
    level: int = 1


class Demanding(msgspec.Struct, frozen=True):
    level: int
    depth: int
    width: int = 1


def init(context: Context) -> AbstractAsyncContextManager[object]:
    return nullcontext(context)


def test_name() -> None:
    assert Registration(SNAPSHOTTER, "overlayfs", init).name == f"{SNAPSHOTTER}.overlayfs"


@pytest.mark.parametrize("kind", ["", "snapshotter", "io.containerd.snapshotter", "a..v1", "A.v1"])
def test_malformed_types_are_refused(kind: str) -> None:
    with pytest.raises(InvalidArgument, match="not a type of plugins"):
        Registration(kind, "x", init)


@pytest.mark.parametrize("name", ["", "a.b", "-a", "a b", "ä"])
def test_malformed_ids_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="not the id of a plugin"):
        Registration(SNAPSHOTTER, name, init)


def test_context_finds_what_has_started() -> None:
    context = Context(
        None, "/root", "/state", {"a.v1.x": 1, "a.v1.y": 2, "b.v1.z": 3, "a.v10.x": 4}
    )
    assert context.all_of("a.v1") == {"x": 1, "y": 2}
    assert context.all_of("c.v1") == {}
    assert context.one_of("b.v1") == 3
    with pytest.raises(NotFound, match=r"c\.v1"):
        context.one_of("c.v1")
    with pytest.raises(InvalidArgument, match="x, y"):
        context.one_of("a.v1")


def test_a_plugin_reads_the_table_of_its_name_or_another() -> None:
    assert Registration(SNAPSHOTTER, "x", init).table == f"{SNAPSHOTTER}.x"
    assert Registration(SNAPSHOTTER, "x", init, section="a.v1.b").table == "a.v1.b"
    also = {"c.v1.d": Settings}
    assert Registration(SNAPSHOTTER, "x", init, also=also).schemas == also
    both = Registration(SNAPSHOTTER, "x", init, config=Settings, also=also).schemas
    assert list(both) == [f"{SNAPSHOTTER}.x", "c.v1.d"]


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (dict, "is no msgspec.Struct"),
        (Melting, "Melting is not frozen"),
        (Demanding, "level, depth of Demanding: no default"),
    ],
)
def test_a_configuration_that_cannot_be_one(kind: type[msgspec.Struct], cause: str) -> None:
    for given in ({"config": kind}, {"also": {"a.v1.b": kind}}):
        with pytest.raises(InvalidArgument, match=rf"plugin {SNAPSHOTTER}\.x: .*{cause}"):
            Registration(SNAPSHOTTER, "x", init, **given)


def test_facts_are_published() -> None:
    context = Context(None, "/root", "/state")
    context.export("root", "/somewhere")
    plugin = Registration(SNAPSHOTTER, "x", init, requires=("a.v1",))
    state = state_of(plugin, "loaded", exports=context.exports)
    assert (state.name, state.requires) == (plugin.name, ("a.v1",))
    assert state.exports == {"root": "/somewhere"}


def test_what_can_change_is_offered_for_the_plugins_own_table() -> None:
    def prepare(_: object) -> Commit:
        return lambda: None

    plugin = Registration(SNAPSHOTTER, "x", init, config=Settings, section="a.v1.b")
    context = Context(Settings(), "/root", "/state", registration=plugin)
    context.on_reload(prepare, keys=("level",))
    assert context.hooks == [Hook(plugin.name, "a.v1.b", ("level",), prepare)]
    bare = Context(None, "/root", "/state", registration=Registration(SNAPSHOTTER, "x", init))
    with pytest.raises(InvalidArgument, match="without a configuration"):
        bare.on_reload(prepare, keys=("level",))
