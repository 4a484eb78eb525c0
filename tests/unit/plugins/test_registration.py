"""The record of a plugin: its name, and what it sees of the others."""

from contextlib import AbstractAsyncContextManager, nullcontext

import pytest

from orlop.errors import InvalidArgument, NotFound
from orlop.plugins.registration import Context, Registration

SNAPSHOTTER = "io.containerd.snapshotter.v1"


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
