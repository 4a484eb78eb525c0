"""Plugins of third parties: real distributions on the import path."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from orlop.plugins.discover import GROUP, discover

MODULE = """
from contextlib import nullcontext
from orlop.plugins.registration import Registration

one = Registration("example.snapshotter.v1", "one", nullcontext)
several = [Registration("example.snapshotter.v1", name, nullcontext) for name in ("two", "three")]
neither = 5
mixed = (one, 5)
"""
BROKEN = "raise RuntimeError('two\\nlines')"


@pytest.fixture
def distribution(tmp_path: Path) -> Iterator[Path]:
    """An installed distribution with working and broken entry points."""
    (tmp_path / "orlop_example_plugin.py").write_text(MODULE)
    (tmp_path / "orlop_example_broken.py").write_text(BROKEN)
    info = tmp_path / "orlop_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: orlop-example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\n"
        "a = orlop_example_plugin:several\n"
        "b = orlop_example_plugin:one\n"
        "c = orlop_example_broken:anything\n"
        "d = orlop_example_plugin:neither\n"
        "e = orlop_example_plugin:mixed\n"
        "f = orlop_example_plugin:absent\n"
        "[other.group]\n"
        "g = orlop_example_plugin:one\n"
    )
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    for name in ("orlop_example_plugin", "orlop_example_broken"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("distribution")
def test_installed_plugins_are_found_and_broken_ones_recorded() -> None:
    found = discover()
    ours = [plugin.id for plugin in found.registrations if plugin.type == "example.snapshotter.v1"]
    assert ours == ["two", "three", "one"]
    assert all(plugin.optional for plugin in found.registrations)
    reasons = {state.id: state.reason for state in found.failed if "orlop_ex" in state.reason}
    assert reasons == {
        "c": "orlop_example_broken:anything: RuntimeError: two lines",
        "d": "orlop_example_plugin:neither: TypeError: it is neither a Registration "
        "nor a list of them",
        "e": "orlop_example_plugin:mixed: TypeError: one of the list is no Registration",
        "f": "orlop_example_plugin:absent: AttributeError: module 'orlop_example_plugin' "
        "has no attribute 'absent'",
    }
    assert {(state.type, state.state) for state in found.failed} == {(GROUP, "failed")}


@pytest.mark.usefixtures("distribution")
def test_a_name_that_is_taken_is_not_taken_over() -> None:
    points = [
        EntryPoint(name, f"orlop_example_plugin:{target}", GROUP)
        for name, target in (("a", "several"), ("b", "one"), ("c", "one"))
    ]
    found = discover(points, taken=["example.snapshotter.v1.two"])
    assert [plugin.id for plugin in found.registrations] == ["three", "one"]
    assert [(state.id, state.reason) for state in found.failed] == [
        ("two", "orlop_example_plugin:several: another plugin has this name"),
        ("one", "orlop_example_plugin:one: another plugin has this name"),
    ]


@pytest.mark.usefixtures("distribution")
def test_the_order_is_that_of_the_names() -> None:
    points = [
        EntryPoint(name, f"orlop_example_plugin:{target}", GROUP)
        for name, target in (("z", "one"), ("a", "several"))
    ]
    assert [plugin.id for plugin in discover(points).registrations] == ["two", "three", "one"]


def test_nothing_is_installed() -> None:
    found = discover([])
    assert found.registrations == ()
    assert found.failed == ()
