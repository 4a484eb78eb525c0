"""What an operator means by the name of a plugin."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from orlop.builtin import builtin
from orlop.errors import InvalidArgument
from orlop.plugins.host import PluginState
from orlop.plugins.names import select
from orlop.plugins.registration import Registration

SQLITE = "io.containerd.metadata.v1.sqlite"
BOLT = "io.containerd.metadata.v1.bolt"
NATIVE = "io.containerd.snapshotter.v1.native"


def test_own_names_mean_themselves() -> None:
    found = select(builtin(), disabled=[NATIVE], required=[SQLITE])
    assert found.disabled == {NATIVE}
    assert found.required == {SQLITE}
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        (BOLT, SQLITE),
        ("io.containerd.server.v1.metrics", "io.orlop.observer.v1.prometheus"),
    ],
)
def test_a_counterpart_in_containerd_means_ours(alias: str, name: str) -> None:
    found = select(builtin(), disabled=[alias], required=[alias])
    assert found.disabled == found.required == {name}
    assert found.warnings == ()


@pytest.mark.parametrize(
    "name",
    [
        "io.containerd.cri.v1.runtime",
        "io.containerd.grpc.v1.images",
        "io.containerd.grpc.v1.tasks",
        "io.containerd.snapshotter.v1.erofs",
        "io.containerd.runtime.v2.task",
        "io.containerd.nri.v1.nri",
        "io.containerd.transfer.v1.local",
        "io.containerd.differ.v1.walking",
        "io.containerd.of-tomorrow.v1.thing",
    ],
)
def test_what_is_containerds_alone_stops_nobody(name: str) -> None:
    found = select(builtin(), disabled=[name], required=[name])
    assert found.disabled == found.required == frozenset()
    assert found.warnings == (
        f"required_plugins: {name} is no plugin of an image service, ignored",
    )


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("io.containerd.snapshotter.v1.overlayf", "io.containerd.snapshotter.v1.overlayfs"),
        ("io.containerd.snapshoter.v1.native", NATIVE),
        ("io.containerd.metadata.v1.blot", BOLT),
        ("io.containerd.cri.v1.image", "io.containerd.cri.v1.images"),
    ],
)
def test_a_slip_is_told_with_what_was_meant(slip: str, meant: str) -> None:
    found = select(builtin(), disabled=[slip], required=[])
    assert found.disabled == frozenset()
    assert found.warnings == (f"disabled_plugins: no plugin {slip}, did you mean {meant}?",)
    with pytest.raises(InvalidArgument, match=rf"required plugin {slip} cannot start") as caught:
        select(builtin(), disabled=[], required=[slip])
    assert caught.value.hint == f"did you mean {meant}?"


def test_a_stranger_may_be_disabled_and_not_required() -> None:
    assert select(builtin(), disabled=["com.example.thing.v1.x"], required=[]).warnings == ()
    with pytest.raises(InvalidArgument, match="there is no such plugin") as caught:
        select(builtin(), disabled=[], required=["com.example.thing.v1.x"])
    assert "orlop plugins" in caught.value.hint


def test_what_could_not_be_imported_is_mentioned() -> None:
    failed = PluginState("orlop.plugins", "mine", "failed", "mine:PLUGIN: ImportError: no libfoo")
    with pytest.raises(InvalidArgument) as caught:
        select(builtin(), disabled=[], required=["com.example.thing.v1.x"], failed=[failed])
    assert "mine: mine:PLUGIN: ImportError: no libfoo" in caught.value.hint


def test_a_name_of_ones_own_wins_over_an_alias() -> None:
    plugins = (
        Registration("a.v1", "x", nullcontext),
        Registration("b.v1", "x", nullcontext, aliases=("a.v1.x",)),
    )
    assert select(plugins, disabled=["a.v1.x"], required=[]).disabled == {"a.v1.x"}
